"""Write the figures of docs/UI2C.md: from the traced networks, and from result files where there are any.

python tools/ui2c_page.py

Results, below benchmarks/results, and the commands that make them: docs/UI2C.md.
"""

import argparse
import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from model_card import DOCS, RESULTS, results_of, shown_mean, with_block

from nvc_jax.cli.program import run_command
from nvc_jax.evaluation.bd_rate import BdRate, compare
from nvc_jax.evaluation.complexity import Module, packet_complexity
from nvc_jax.evaluation.results import all_points, read_results
from nvc_jax.evaluation.scene_cuts import Drift, Recovery, cuts_row, drift_row
from nvc_jax.io.files import atomic_output
from nvc_jax.models.codecs import ui2c
from nvc_jax.models.config import CodecConfig, Stack
from nvc_jax.training.settings import load_config

PAGE = DOCS / "UI2C.md"
ABSENT = "Not measured yet.\n"
# From the paper, arXiv 2510.14431: parameters in M, kMAC per pixel to encode and to decode.
PAPER = 46.7, 157, 233
PARTS = {
    "AD_I, from a picture (at a start only)": ("adaptor_picture", "adaptor_blocks"),
    "adaptor, FE1, FE2": ("adaptor_feature", "extractor_prior", "extractor_context"),
    "E1, E2, E3": ("encoder_in", "encoder_blocks", "encoder_down"),
    "D1, D2": ("decoder_up", "decoder_blocks", "decoder_out"),
    "R1, R2": ("recon_blocks", "recon_out"),
    "hyperprior encoder": ("hyper_encoder",),
    "hyperprior decoder, temporal prior, fusion, spatial prior": (
        "hyper_decoder", "temporal_prior", "fusion_blocks", "fusion_out", "spatial_blocks", "spatial_out",
    ),
    "banks and prior of z": ("q_feature", "q_encoder", "q_decoder", "q_recon", "z_prior"),
}  # fmt: skip
# BD-rates against the full model in the paper's Table 3, without a refresh and with one every 64 pictures.
TABLE_3 = {
    "separate": ("+93.9 %", "+33.8 %"),
    "unified": ("+29.0 %", "+66.4 %"),
    "two_pictures": ("+5.3 %", "+32.0 %"),
    "hybrid": ("0", "+33.7 %"),
    "late_blank": ("", ""),
    "separate_heads": ("", ""),
}
CONFIGURATION = "ui2c_ablation"


def modules() -> str:
    """Tabulate parameters and operations of `ui2c` by module."""
    found = packet_complexity(ui2c, "pair")
    assert {name for names in PARTS.values() for name in names} == found.modules.keys()
    rows = [["module", "parameters, M", "kMAC/pixel, encode", "decode"]]
    for title, names in PARTS.items():
        rows.append([title, *_counts(_sum(found.modules[name] for name in names))])
    rows.append(["**all**", *_counts(found.total)])
    rows.append(["the paper", *map(str, PAPER)])
    theirs = zip((found.total.parameters / 1e6, found.total.encode / 1e3, found.total.decode / 1e3), PAPER, strict=True)
    rows.append(["ours against it", *(f"{100 * (ours / paper - 1):+.1f} %" for ours, paper in theirs)])
    return _table(rows)


def heads() -> str:
    """Tabulate the reconstruction of `ui2c` by one joint stack and by one for each picture."""
    rows = [["reconstruction", "R, M", "R, kMAC/pixel", "all, M", "all, decode"]]
    for title, count, width in (
        ("`heads=1`, 640 wide together", 1, 640),
        ("`heads=2`, 320 wide each", 2, 640),
        ("`heads=2`, 448 wide each: the cost of the first", 2, 896),
    ):
        network = dataclasses.replace(ui2c["pair"], heads=count, recon=Stack(4, width))
        found = packet_complexity(ui2c.replace("pair", network), "pair")
        mine = _sum(found.modules[name] for name in PARTS["R1, R2"])
        values = mine.parameters / 1e6, mine.decode / 1e3, found.total.parameters / 1e6, found.total.decode / 1e3
        rows.append([title, *(f"{value:.1f}" for value in values)])
    return _table(rows)


def ablation() -> str:
    """Tabulate the rows of the ablation: costs, and BD-rates against the full model where there are results."""
    rows = [["row", "parameters, M", "kMAC/pixel, encode / decode", "BD-rate", "paper", "paper, refreshed"]]
    files = {row: RESULTS / CONFIGURATION / f"{row}.json" for row in TABLE_3}
    for row, (plain, refreshed) in TABLE_3.items():
        codec: CodecConfig = load_config(f"{CONFIGURATION}:{row}").codec
        found = {name: packet_complexity(codec, name).total for name, _ in codec.networks}
        costs = (f"{name} {total.encode / 1e3:.1f} / {total.decode / 1e3:.1f}" for name, total in found.items())
        parameters = sum(total.parameters for total in found.values()) / 1e6
        rate = "–"
        if files[row].is_file() and files["hybrid"].is_file():
            rate = shown_mean(compare(read_results(files["hybrid"]), read_results(files[row])).average)
        rows.append([f"`{row}`", f"{parameters:.2f}", ", ".join(costs), rate, plain, refreshed])
    return _table(rows)


def rates() -> str:
    """Tabulate BD-rates of the two small models, and the points of all, means over the clips."""
    pairs = ("x264-ultrafast", "rt_small"), ("x264-ultrafast", "ui2c_small"), ("rt_small", "ui2c_small")
    if not all(results_of(name).is_file() for pair in pairs for name in pair):
        return ABSENT
    rows = []
    for anchor, name in pairs:
        found = compare(read_results(results_of(anchor)), read_results(results_of(name)))
        values = {clip.partition("_")[0]: value for (_, clip), value in found.sequences.items()}
        rows = rows or [["BD-rate (PSNR 6:1:1, all bits)", "mean", *values]]
        shown = (f"{value.percent:+.0f} %" if isinstance(value, BdRate) else "–" for value in values.values())
        rows.append([f"`{name}` against `{anchor}`", shown_mean(found.average), *shown])
    points = [["bits per pixel, PSNR", *(f"point {n + 1}" for n in range(6))]]
    for name in ("x264-ultrafast", "rt_small", "ui2c_small"):
        points.append([f"`{name}`", *(f"{rate:.3f}, {psnr:.1f} dB" for rate, psnr in _mean_curve(name))])
    return f"{_table(rows)}\n{_table(points)}"


def _mean_curve(name: str) -> list[tuple[float, float]]:
    """Rate and PSNR of each qp, means over the clips, from low to high rate."""
    by_qp: dict[int, list[tuple[float, float]]] = {}
    for point in all_points(read_results(results_of(name))):
        by_qp.setdefault(point["qp_p"], []).append((point["ave_all_frame_bpp"], point["ave_all_frame_psnr"]))
    means = ((statistics.fmean(column) for column in zip(*pairs, strict=True)) for pairs in by_qp.values())
    return sorted((rate, psnr) for rate, psnr in means)


def cuts() -> str:
    """Tabulate what tools/scene_cuts.py measured."""
    path = RESULTS / "scene_cuts.json"
    if not path.is_file():
        return ABSENT
    data = json.loads(path.read_text())
    recoveries = {label: [Recovery(**cut) for cut in run["cuts"]] for label, run in data["runs"].items()}
    about = f"{len(data['cuts'])} cuts in {data['pictures']} pictures of {'x'.join(map(str, data['size']))}.\n\n"
    return about + _labelled({label: cuts_row(run, recoveries[label]) for label, run in data["runs"].items()})


def stability() -> str:
    """Tabulate the drift that tools/scene_cuts.py --loop measured."""
    path = RESULTS / "ui2c_stability.json"
    if not path.is_file():
        return ABSENT
    data = json.loads(path.read_text())
    rows = {}
    for label, run in data["runs"].items():
        values = {field.name: run["drift"][field.name] for field in dataclasses.fields(Drift)}
        rows[label] = drift_row(run, Drift(**values))
    return f"{', '.join(data['clips'])}, {data['pictures']} pictures.\n\n" + _labelled(rows)


def speed() -> str:
    """Tabulate the speed per picture as a multiple of that of `dcvc_rt`."""
    rows = [["times as fast as `dcvc_rt`", "encode", "decode"]]
    about = ""
    for precision in ("int16", "float32"):
        path = RESULTS / f"bench_352x288_ui2c_{precision}_cpu.json"
        if not path.is_file():
            return ABSENT
        result = json.loads(path.read_text())
        about = f"352x288, {result['cpu']}: the network without entropy coding, medians of runs in turns.\n\n"
        base, ours = (result["codecs"][name]["network"] for name in ("dcvc_rt", "ui2c"))
        rows.append([precision, *(f"{base[side]['median_s'] / ours[side]['median_s']:.2f}" for side in base)])
    rows.append(["the paper, GPU", "1.15", "0.90"])
    return about + _table(rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "modules": modules,
    "heads": heads,
    "ablation": ablation,
    "rates": rates,
    "scene cuts": cuts,
    "stability": stability,
    "speed": speed,
}


def page() -> str:
    """The page as it should be."""
    text = PAGE.read_text()
    for title, figures in BLOCKS.items():
        text = with_block(text, title, figures(), "ui2c_page.py")
    return text


def _sum(parts: Any) -> Module:
    rows = [dataclasses.astuple(part) for part in parts]
    return Module(*(sum(column) for column in zip(*rows, strict=True)))


def _counts(module: Module) -> list[str]:
    return [f"{module.parameters / 1e6:.2f}", f"{module.encode / 1e3:.1f}", f"{module.decode / 1e3:.1f}"]


def _labelled(rows: Mapping[str, Mapping[str, str]]) -> str:
    return _table([["model", *next(iter(rows.values()))], *([label, *row.values()] for label, row in rows.items())])


def _table(rows: list[list[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return run_command(parser, write_page)


def write_page(_: argparse.Namespace) -> None:
    """Write the page."""
    written = page()
    with atomic_output(PAGE) as file:
        file.write(written.encode())


if __name__ == "__main__":
    raise SystemExit(main())
