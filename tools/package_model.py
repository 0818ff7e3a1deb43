"""Package a training run: its weights, and all files derived from them.

python tools/package_model.py RUN --clips '../shared/data/clips/eval/*.mkv' [--name embedded] [--only PART ...]

RUN is the folder of train.py, or one with its `model` and `metrics.jsonl`. The parts, in order:

weights    nvc_jax/weights/NAME; with --deblocking N the model is given that filter of block edges, and streams made
           without it still decode
training   benchmarks/results/NAME_training.json and docs/NAME_training.png, from metrics.jsonl
results    benchmarks/results/eval/NAME.json: real streams of the clips at six qps
figures    docs/NAME_rd.png, of all results in that folder
demo       docs/demo.png: the demo sequence, and below it x264 medium in about as many bytes
report     docs/example_report.html: the demo sequence beside x264 medium and x264 ultrafast
speed      benchmarks/results/bench_352x288_NAME_*.json: frames per second of the demo sequence
card       the figures of docs/MODELS.md and docs/SPEED.md, between their marks (model_card.py)

`card` reads only the other parts; tests/evaluation/test_package_model.py detects when they have changed since.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from model_card import DOCS, RESULTS, ROOT, SPEED_PRECISIONS, WEIGHTS, blocks, results_of, speed_of, with_block

from nvc_jax.cli.program import run_command
from nvc_jax.codec.store import load_model, save_description, save_model
from nvc_jax.demo.labels import labelled
from nvc_jax.demo.run import QPS
from nvc_jax.demo.sequence import FPS, write_demo
from nvc_jax.errors import ConfigError, ModelError, OutputError
from nvc_jax.evaluation.baselines import BASELINES
from nvc_jax.evaluation.bd_rate import quality_title
from nvc_jax.evaluation.coders import Measured
from nvc_jax.evaluation.curves import class_curves
from nvc_jax.evaluation.plots import rd_figure, styles
from nvc_jax.evaluation.results import read_results
from nvc_jax.evaluation.sequences import Video
from nvc_jax.io.files import atomic_output
from nvc_jax.models.config import CodecConfig
from nvc_jax.video import read_png, write_png

MEANS = 100  # steps averaged for a point of the training curve


def main() -> int:
    """Make the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--clips", nargs="+", default=[], metavar="GLOB", help="for `results`")
    parser.add_argument("--name", default="embedded")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--deblocking", type=int, metavar="N", help="strength of the filter, for `weights`")
    parser.add_argument("--stream-dir", type=Path, metavar="DIR", help="keep streams there, and reuse them")
    return run_command(parser, make_parts)


def make_parts(options: argparse.Namespace) -> None:
    """Make the parts in their order."""
    for part in options.only:
        print(f"{part} ...", flush=True)
        PARTS[part](options)


def ship_weights(options: argparse.Namespace) -> None:
    """Copy the model directory of the run."""
    model, folder = load_model(options.run / "model"), WEIGHTS / options.name
    if folder.is_dir():
        packaged = load_model(folder)
        if packaged.with_deblocking(0).contents == model.with_deblocking(0).contents:
            model = packaged  # it knows by which identities older streams name it
    if options.deblocking is not None:
        model = model.with_deblocking(options.deblocking)
    try:
        save_description(folder, model)  # parameters written again would be other files, and the repository grows
    except ModelError:
        save_model(folder, model)


def training_curve(options: argparse.Namespace) -> None:
    """Average the metrics over some steps, and plot them."""
    path = options.run / "metrics.jsonl"
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give the folder of a training run.")
    config = load_model(options.run / "model").config
    curve = summarised([json.loads(line) for line in path.read_text().splitlines()], config)
    _write(RESULTS / f"{options.name}_training.json", json.dumps(curve) + "\n")
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    axes = figure.subplots(1, len(curve["stages"]), squeeze=False)[0]
    for axis, stage in zip(axes, curve["stages"], strict=True):
        column = stage["columns"].index("loss")
        axis.plot([row[0] for row in stage["rows"]], [row[column] for row in stage["rows"]], color="#00798c", lw=1.2)
        axis.set(title=stage["stage"], xlabel="step", yscale="log")
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("loss")
    figure.savefig(DOCS / f"{options.name}_training.png", dpi=100)


def summarised(records: Sequence[dict[str, Any]], config: CodecConfig) -> dict[str, Any]:
    """Average loss, rate and PSNR over every `MEANS` steps, by stage, of the network that goes on if it is there."""
    stages = []
    for name in dict.fromkeys(record["stage"] for record in records):
        mine = [record for record in records if record["stage"] == name]
        network = config.network_of(start=f"bpp_{config.rest}" not in mine[0])
        columns = ["learning_rate", "loss", f"bpp_{network}", f"psnr_y_{network}"]
        rows = []
        for group in (mine[i : i + MEANS] for i in range(0, len(mine), MEANS)):
            known = [[record[column] for record in group if record[column] is not None] for column in columns]
            means = [float(f"{statistics.fmean(values):.5g}") if values else None for values in known]
            rows.append([group[-1]["step"] + 1, *means])
        stages.append({"stage": name, "columns": ["step", *columns], "rows": rows})
    return {"means_over_steps": MEANS, "stages": stages}


def evaluate(options: argparse.Namespace) -> None:
    """Evaluate the clips with real streams."""
    if not options.clips:
        raise ConfigError("results needs --clips.")
    with tempfile.TemporaryDirectory() as temporary:
        streams = options.stream_dir or Path(temporary)
        _run(
            "eval.py", "--model", options.name, "--videos", *options.clips,
            "--stream-dir", str(streams / "eval"), "--check-existing", "--output", str(results_of(options.name)),
        )  # fmt: skip


def figures(options: argparse.Namespace) -> None:
    """Plot the curves of all results."""
    results = {path.stem: read_results(path) for path in sorted((RESULTS / "eval").glob("*.json"))}
    (panels,) = class_curves(results)[0].values()
    titled = {f"{quality_title(quality, results.values())}, dB": curves for quality, curves in panels.items()}
    with atomic_output(DOCS / f"{options.name}_rd.png") as file:
        file.write(rd_figure(titled, styles(results)))


def demo(options: argparse.Namespace) -> None:
    """Make the picture of the README."""
    with tempfile.TemporaryDirectory() as folder:
        _run(_NVC_JAX, "demo", "--model", options.name, "--out", folder)
        source, ours = Path(folder) / "source.y4m", read_png(Path(folder) / "side_by_side.png")
        sizes = [(Path(folder) / f"qp{qp}.nvc").stat().st_size for qp in QPS]
        original = ours[:, : ours.shape[1] // (1 + len(sizes))]
        theirs = np.concatenate([original, *(_x264_picture(source, size) for size in sizes)], axis=1)
    write_png(DOCS / "demo.png", np.concatenate([ours, theirs]))


def _x264_picture(source: Path, size: int) -> np.ndarray:
    """The labelled last frame as x264 medium codes it in about `size` bytes."""
    video = Video("demo", source.stem, source, None, None, False, -1)
    larger, smaller = 1, 52  # quantisers: 51 is the coarsest
    made: dict[int, tuple[int, Measured]] = {}

    def size_of(qp: int) -> int:
        stream = source.with_name(f"{qp}.h264")
        measured = BASELINES["x264"].measure(video, qp, stream)
        made[qp] = stream.stat().st_size, measured
        return made[qp][0]

    while smaller - larger > 1:
        middle = (smaller + larger) // 2
        larger, smaller = (middle, smaller) if size_of(middle) > size else (larger, middle)
    length, measured = min(made.values(), key=lambda found: abs(np.log(found[0] / size)))
    seconds = len(measured.frames) / float(FPS)
    psnr = statistics.mean(frame.quality.psnr[0] for frame in measured.frames)
    _, decoded = measured.pictures
    return labelled(decoded.rgb, f"x264  {length * 8e-3 / seconds:.0f} kbit/s  {psnr:.1f} dB")


def example_report(options: argparse.Namespace) -> None:
    """Report the demo sequence."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _run(_NVC_JAX, "demo", "--model", options.name, "--out", str(folder / "demo"))
        video = folder / "demo" / "demo.y4m"  # the report names both
        (folder / "demo" / "source.y4m").rename(video)
        _run(
            "eval.py", "--model", options.name, "x264", "x264-ultrafast", "--videos", str(video),
            "--stream-dir", str(folder / "streams"), "--output", str(folder / "results"),
        )  # fmt: skip
        results = sorted(map(str, (folder / "results").glob("*.json")))
        _run(
            "tools/make_report.py", *results, "--anchor", "x264", "--stream-dir", str(folder / "streams"),
            "--output", str(DOCS / "example_report.html"),
        )  # fmt: skip


def speed(options: argparse.Namespace) -> None:
    """Measure frames per second of the demo sequence; nothing else should run on the machine."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip = write_demo(folder / "demo.y4m", 352, 288, 60)
        for precision in SPEED_PRECISIONS:
            output = folder / f"{precision}.json"  # bench.py adds a plot
            _run(
                "tools/bench.py", "--model", options.name, "--size", "352x288", "--precision", precision,
                "--parts", "sequence", "--clip", str(clip), "--frames", "60", "--sequences", "5",
                "--output", str(output),
            )  # fmt: skip
            shutil.copyfile(output, speed_of(options.name, precision))


def card(options: argparse.Namespace) -> None:
    """Update the figures between the marks of the pages."""
    for (page, title), figures in blocks(options.name).items():
        text = figures()
        if text is not None:
            _write(page, with_block(page.read_text(), title, text))


_NVC_JAX = str(Path(sys.executable).with_name("nvc-jax"))


def _run(program: str, *arguments: str) -> None:
    """Run one of our programs.

    Raises:
        OutputError: the program has failed and said why.
    """
    command = [str(ROOT / program), *arguments]
    if program != _NVC_JAX:
        command.insert(0, sys.executable)
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise OutputError(f"{program} {' '.join(arguments[:3])} ... has failed.")


def _write(path: Path, text: str) -> None:
    with atomic_output(path) as file:
        file.write(text.encode())


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "weights": ship_weights,
    "training": training_curve,
    "results": evaluate,
    "figures": figures,
    "demo": demo,
    "report": example_report,
    "speed": speed,
    "card": card,
}


if __name__ == "__main__":
    raise SystemExit(main())
