"""Print and plot the costs of programs compiled for absent chips."""

from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from nvc_jax.evaluation.plots import png

_BLUE, _RED, _GREY = "#30638e", "#d1495b", "#8a8a8a"


def print_table(result: dict[str, Any], console: Console) -> None:
    """Print a table per target, and below it the reasons for missing programs."""
    for name, target in result["targets"].items():
        table = Table(title=f"{name}: {result['model']}, {result['size']}, {result['precision']}")
        table.add_column("")
        for column in _COLUMNS:
            table.add_column(column, justify="right")
        for program, row in target["programs"].items():
            if "failed" not in row:
                table.add_row(program, *_cells(row))
        console.print(table)
        for program, row in target["programs"].items():
            if "failed" in row:
                console.print(f"{program}: {row['failed']}", markup=False, soft_wrap=True)


_COLUMNS = (
    "kernels", "products", "copies", "custom", "TFLOP", "MB", "on chip MB", "temporary MB", "sent MB", "compile s",
    "products ms", "memory ms", "roofline ms", "launched ms",
)  # fmt: skip


def _cells(row: dict[str, Any]) -> list[str]:
    classes = (row["classes"].get(name, 0) for name in ("products", "copies", "custom_calls"))
    sizes = ("bytes", "on_chip_bytes", "temporary_bytes", "collective_bytes")
    return [
        str(row["kernels"]),
        *map(str, classes),
        f"{row['flops'] / 1e12:.3f}",
        *(f"{row[key] / 1e6:.0f}" for key in sizes),
        f"{row['compile_s']:.1f}",
        *(f"{row[key]:.2f}" for key in ("products_ms", "memory_ms", "roofline_ms", "launched_ms")),
    ]


def print_comparison(before: dict[str, Any], result: dict[str, Any], console: Console) -> None:
    """Print the programs that two results share, the older result first."""
    columns = {"kernels": 1.0, "bytes": 1e6, "on_chip_bytes": 1e6, "temporary_bytes": 1e6, "roofline_ms": 1.0}
    table = Table(title=f"{result['model']}, {result['size']}: before and after")
    for name in ("", "", "kernels", "MB", "on chip MB", "temporary MB", "roofline ms"):
        table.add_column(name, justify="right" if name else "left")
    for name, target in result["targets"].items():
        older = before["targets"].get(name, {"programs": {}})["programs"]
        for program, row in target["programs"].items():
            old = older.get(program, {"failed": ""})
            if "failed" in row or "failed" in old:
                continue
            digits = {key: 2 if key == "roofline_ms" else 0 for key in columns}
            pairs = {key: [f"{r[key] / scale:.{digits[key]}f}" for r in (old, row)] for key, scale in columns.items()}
            table.add_row(name, program, *(" > ".join(pair) for pair in pairs.values()))
    console.print(table)


def plot(result: dict[str, Any]) -> bytes:
    """Plot roofline times as a PNG: products beside memory, one panel per target."""
    targets = result["targets"]
    longest = max(len(target["programs"]) for target in targets.values())
    figure = Figure(figsize=(5.0 * len(targets) + 1.0, 1.2 + 0.32 * longest), layout="constrained")
    figure.suptitle(f"{result['model']}, {result['size']}, {result['precision']}; compiled only", fontsize=10)
    for axes, (name, target) in zip(figure.subplots(1, len(targets), squeeze=False)[0], targets.items(), strict=True):
        rows = {program: row for program, row in target["programs"].items() if "failed" not in row}
        places = range(len(rows))
        kinds = [("products_ms", "products", _BLUE), ("memory_ms", "memory", _RED)]
        if any(row["launched_ms"] > row["roofline_ms"] for row in rows.values()):
            kinds.append(("launched_ms", "with launches", _GREY))
        for number, (key, label, colour) in enumerate(kinds):
            heights = [place + 0.27 * (number - 1) for place in places]
            bars = axes.barh(heights, [row[key] for row in rows.values()], 0.25, color=colour, label=label)
        axes.bar_label(bars, [f"{row['kernels']}" for row in rows.values()], fontsize=6, padding=2)
        axes.set_yticks(list(places), list(rows))
        axes.invert_yaxis()
        axes.set_title(f"{name}: ms at the published peaks (kernels)", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7)
    return png(figure)
