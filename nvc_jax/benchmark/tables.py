"""Print and plot the result of a benchmark."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from nvc_jax.evaluation.plots import png

_BLUE, _RED, _GREY, _GOLD = "#30638e", "#d1495b", "#8a8a8a", "#edae49"
_COLOURS = {"device": _BLUE, "copies": _GOLD, "coder": _RED, "python": _GREY}


def print_tables(result: dict[str, Any], console: Console) -> None:
    """Print tables of modules, stages, fusion, and end to end."""
    title = f"{result['model']}, {result['size']}, {result['precision']} ({result['strategy']}), {result['device']}"
    if result["pictures_per_packet"] > 1:
        title = f"a packet of {result['pictures_per_packet']} pictures, {title}"
    table = Table("", "ms", "kMAC/pixel", "MB", "of the product peak", "of the copy peak", title=f"P frame, {title}")
    for name, row in result["modules"].items():
        table.add_row(name, _ms(row), f"{row['kmacs']:.1f}", *_shares(row))
    for number, (name, row) in enumerate(result["stages"].items()):
        if number == 0:
            table.add_section()
        table.add_row(name, _ms(row), "", *_shares(row))
    if table.rows:
        console.print(table)

    table = Table("", "ms", "programs", "kernels", "fusions", "MB", "temporary MB", "close", title=f"Fusion, {title}")
    for name, row in result["fusion"].items():
        counts = (str(row[key]) for key in ("programs", "kernels", "fusions"))
        temporary = "" if row["temporary_bytes"] is None else f"{row['temporary_bytes'] / 1e6:.1f}"
        table.add_row(name, _ms(row), *counts, f"{row['bytes'] / 1e6:.1f}", temporary, "yes" if row["close"] else "NO")
    if table.rows:
        console.print(table)

    table = Table("network of a P frame", "ms", "GFLOP/s", "of the product peak", "times ours per picture", title=title)
    peak = result["matmul_peak_gflops"]
    for name, row in result["points"].items():
        times = row["median_s"] / result["points"]["nvc_jax/" + name.split("/")[1]]["median_s"]
        if name.startswith("official"):  # of one picture
            times *= result["pictures_per_packet"]
        table.add_row(name, _ms(row), f"{row['gflops']:.0f}", f"{row['gflops'] / peak:.0%}", f"{times:.2f}")
    console.print(table)
    for side in ("encode", "decode"):
        if f"speedup_{side}" in result:
            best = result[f"best_official_{side}"]
            console.print(f"{side}: {result[f'speedup_{side}']:.2f} times as fast as the official code's best, {best}")

    table = Table("end to end", "fps", "over the network", *_COLOURS, title=title)
    for name, row in result["end_to_end"].items():
        shares = row.get("shares", {})
        overhead = f"{row['overhead']:+.1%}" if "overhead" in row else ""
        table.add_row(name, f"{row['fps']:.2f}", overhead, *(f"{shares[k]:.1%}" if shares else "" for k in _COLOURS))
    if table.rows:
        console.print(table)
    console.print(
        f"peaks: matrix product {peak:.0f} GFLOP/s, copy {result['copy_peak_gbs']:.1f} GB/s; "
        "MB are what XLA's kernels read and write, in caches or memory"
    )


def plot(result: dict[str, Any]) -> bytes:
    """Plot them as a PNG."""
    figure = Figure(figsize=(10.0, 6.4), layout="constrained")
    figure.suptitle(
        f"{result['model']}, {result['size']}, {result['precision']} ({result['strategy']}), {result['device']}",
        fontsize=10,
    )
    (modules, stages), (fusion, sequence) = figure.subplots(2, 2)
    _bars(modules, result["modules"], "modules, ms")
    _bars(stages, result["stages"], "stages, ms")
    _bars(fusion, result["fusion"], "fusion, ms per frame (kernels)", "kernels")
    left = dict.fromkeys(result["end_to_end"], 0.0)
    for part, colour in _COLOURS.items():
        for name, row in result["end_to_end"].items():
            milliseconds = 1000.0 / row["fps"] * (row["shares"][part] if "shares" in row else part == "device")
            sequence.barh(name, milliseconds, left=left[name], color=colour if "shares" in row else "#c9c9c9")
            left[name] += milliseconds
    if left:
        sequence.legend(_COLOURS, frameon=False, fontsize=7)
        for handle, colour in zip(sequence.get_legend().legend_handles, _COLOURS.values(), strict=True):  # type: ignore[union-attr]
            handle.set_color(colour)  # type: ignore[union-attr]
    _finish(sequence, "end to end, ms per frame")
    return png(figure)


def _bars(axes: Axes, rows: dict[str, Any], title: str, label: str | None = None) -> None:
    names = list(rows)
    bars = axes.barh(names, [1000.0 * row["median_s"] for row in rows.values()], color=_BLUE)
    if label is not None and rows:
        axes.bar_label(bars, [str(row[label]) for row in rows.values()], fontsize=7, padding=2)
        axes.set_xscale("log")
    _finish(axes, title)


def _finish(axes: Axes, title: str) -> None:
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _ms(row: dict[str, Any]) -> str:
    return f"{1000.0 * row['median_s']:.2f}"


def _shares(row: dict[str, Any]) -> tuple[str, ...]:
    product = f"{row['product_share']:.0%}" if "product_share" in row else ""
    return f"{row['bytes'] / 1e6:.1f}", product, f"{row['copy_share']:.0%}"
