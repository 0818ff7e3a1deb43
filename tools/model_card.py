"""Figures of models in the documentation, made from weights, results and the traced networks.

Each block of a page lies between two marks; `update` writes all of them, and tests/evaluation/test_package_model.py
detects figures that are out of date.
"""

import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nvc_jax.codec.store import load_model
from nvc_jax.errors import OutputError
from nvc_jax.evaluation.bd_rate import compare
from nvc_jax.evaluation.complexity import packet_complexity
from nvc_jax.evaluation.results import Point, read_results
from nvc_jax.models.codecs import CONFIGS
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.params import flatten

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS, DOCS, RESULTS = ROOT / "nvc_jax" / "weights", ROOT / "docs", ROOT / "benchmarks" / "results"
ANCHORS = ("x264-ultrafast", "mpeg4", "x264", "x265", "svt-av1")
SPEED_PRECISIONS = ("int16", "float32")
NOMINAL = 352 * 288 * 30 / 1000  # bits per pixel to kbit/s
BEGIN, END = "<!-- {}: made by tools/{} -->", "<!-- end of figures -->"


def model_figures(name: str) -> str:
    """Describe a packaged model: identity, size, BD-rates, rate and quality by qp."""
    model = load_model(WEIGHTS / name)
    counts = {key: sum(leaf.size for leaf in flatten(model.params[key]).values()) for key, _ in model.config.networks}
    size = sum(path.stat().st_size for path in (WEIGHTS / name).rglob("*") if path.is_file())
    costs = ", ".join(f"{key} {_kmacs(model.config, key)}" for key in counts)
    without = " (coded once, without the search for motion)" if model.config.side else ""
    ours = read_results(results_of(name))
    clips = _clips(ours)
    rows = [
        f"Identity `{model.identity[:12]}`, {model.source}; {size / 1e6:.1f} MB, licence MIT. Parameters: "
        f"{', '.join(f'{key} {count / 1e6:.1f} M' for key, count in counts.items())}. kMAC per pixel to encode "
        f"/ decode{without}: {costs}. {_measured_as(ours)}",
        "",
        _row(["BD-rate (PSNR 6:1:1, all bits) against", "mean", *(clip.partition("_")[0] for _, clip in clips)]),
        _row(["---"] * (len(clips) + 2)),
    ]
    for anchor in ANCHORS:
        found = compare(read_results(results_of(anchor)), ours)
        values = [found.sequences.get(key) for key in clips]
        shown = [f"{value.percent:+.0f} %" if hasattr(value, "percent") else "-" for value in values]
        rows.append(_row([anchor, shown_mean(found.average), *shown]))
    return "\n".join([*rows, "", *_rates(ours)]) + "\n"


def _rates(results: Mapping[str, Any]) -> list[str]:
    """Tabulate rate and quality by qp, means over the clips."""
    points: dict[int, list[Point]] = {}
    for dataset, clip in _clips(results):
        for point in results[dataset][clip].values():
            points.setdefault(point["qp_p"], []).append(point)
    qps = sorted(points)

    def mean(qp: int, key: str) -> float:
        return statistics.fmean(point[key] for point in points[qp])

    rows = {
        "bits per pixel": [f"{mean(qp, 'ave_all_frame_bpp'):.3f}" for qp in qps],
        "kbit/s of 352x288 at 30 Hz": [f"{mean(qp, 'ave_all_frame_bpp') * NOMINAL:.0f}" for qp in qps],
        "PSNR 6:1:1, dB": [f"{mean(qp, 'ave_all_frame_psnr'):.1f}" for qp in qps],
        "PSNR Y, dB": [f"{mean(qp, 'ave_all_frame_psnr_y'):.1f}" for qp in qps],
        "MS-SSIM": [f"{mean(qp, 'ave_all_frame_msssim'):.3f}" for qp in qps],
    }
    header = [f"qp (means over {len(_clips(results))} clips)", *map(str, qps)]
    return [_row(header), _row(["---"] * len(header)), *(_row([title, *values]) for title, values in rows.items())]


def speed_figures(name: str) -> str | None:
    """Tabulate frames per second of whole sequences; None if they were not measured."""
    files = {precision: speed_of(name, precision) for precision in SPEED_PRECISIONS}
    if not all(path.is_file() for path in files.values()):
        return None
    runs = {precision: json.loads(path.read_text()) for precision, path in files.items()}
    first = runs[SPEED_PRECISIONS[0]]
    backends = ", ".join(f"{precision} by {run['strategy']}" for precision, run in runs.items())
    lines = [f"{first['size']}, {first['cpu']}, {backends}; entropy coding included.", ""]
    lines += [_row(["frames per second", "encode", "decode"]), _row(["---"] * 3)]
    for precision, run in runs.items():
        lines.append(
            _row([precision, *(f"{run['end_to_end'][f'nvc_jax/{way}']['fps']:.0f}" for way in ("encode", "decode"))])
        )
    return "\n".join(lines) + "\n"


def architectures() -> str:
    """Tabulate parameters and operations of all configurations."""
    lines = [_row(["codec", "parameters, M", "kMAC per pixel, encode / decode"]), _row(["---"] * 3)]
    for name, config in CONFIGS.items():
        networks = [key for key, _ in config.networks]
        totals = {key: packet_complexity(config, key).total for key in networks}
        lines.append(
            _row([
                f"`{name}`",
                ", ".join(f"{key} {totals[key].parameters / 1e6:.2f}" for key in networks),
                ", ".join(f"{key} {_kmacs(config, key)}" for key in networks),
            ])
        )  # fmt: skip
    return "\n".join(lines) + "\n"


def blocks(name: str) -> dict[tuple[Path, str], Callable[[], str | None]]:
    """Map (page, title) of each block to what makes its text, None where there is nothing to say."""
    return {
        (DOCS / "MODELS.md", f"figures of {name}"): lambda: model_figures(name),
        (DOCS / "MODELS.md", "architectures"): architectures,
        (DOCS / "SPEED.md", f"speed of {name}"): lambda: speed_figures(name),
    }


def with_block(page: str, title: str, figures: str, tool: str = "package_model.py") -> str:
    """Replace a block of a page.

    Raises:
        OutputError: the page has no place for it.
    """
    begin = BEGIN.format(title, tool)
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise OutputError(f"the page has no lines {begin!r} and {END!r}.")
    return f"{before}{begin}\n\n{figures}\n{END}{after}"


def results_of(name: str) -> Path:
    """Locate the rate-distortion points of a model or a conventional encoder."""
    return RESULTS / "eval" / f"{name}.json"


def speed_of(name: str, precision: str) -> Path:
    """Locate the benchmark of whole sequences."""
    return RESULTS / f"bench_352x288_{name}_{precision}_cpu.json"


def shown_mean(percent: float | None) -> str:
    """Format a mean BD-rate."""
    return "-" if percent is None else f"{percent:+.1f} %"


def _kmacs(config: CodecConfig, network: str) -> str:
    total = packet_complexity(config, network).total
    return f"{total.encode / 1000:.1f} / {total.decode / 1000:.1f}"


def _measured_as(results: Mapping[str, Any]) -> str:
    dataset, clip = _clips(results)[0]
    settings = next(iter(results[dataset][clip].values()))["settings"]
    container = ".nvc" if settings.get("container") == "nvc" else ".bin"  # older results do not say it
    return f"Measured as `{container}` files in {settings['precision']} with RDOQ {settings['rdoq']:g}."


def _clips(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(dataset, clip) for dataset, clips in results.items() for clip in clips]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
