"""What programs cost on chips that are not there, as a table and as a plot."""

import io
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

_BLUE, _RED, _GREY = "#30638e", "#d1495b", "#8a8a8a"


def print_table(result: dict[str, Any], console: Console) -> None:
    """One table for each target."""
    for name, target in result["targets"].items():
        table = Table(title=f"{name}: {result['model']}, {result['size']}, {result['precision']}")
        table.add_column("")
        for column in _COLUMNS:
            table.add_column(column, justify="right")
        for program, row in target["programs"].items():
            table.add_row(program, *([row["failed"]] if "failed" in row else _cells(row)))
        console.print(table)


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


def plot(result: dict[str, Any]) -> bytes:
    """Roofline times as a PNG: products beside memory, one panel for each target."""
    targets = result["targets"]
    longest = max(len(target["programs"]) for target in targets.values())
    figure = Figure(figsize=(5.0 * len(targets) + 1.0, 1.2 + 0.32 * longest), layout="constrained")
    figure.suptitle(f"{result['model']}, {result['size']}, {result['precision']}; compiled only", fontsize=10)
    for axes, (name, target) in zip(figure.subplots(1, len(targets), squeeze=False)[0], targets.items(), strict=True):
        rows = {program: row for program, row in target["programs"].items() if "failed" not in row}
        places = range(len(rows))
        for shift, key, label, colour in (
            (-0.27, "products_ms", "products", _BLUE),
            (0.0, "memory_ms", "memory", _RED),
            (0.27, "launched_ms", "with launches", _GREY),
        ):
            values = [row[key] for row in rows.values()]
            bars = axes.barh([place + shift for place in places], values, 0.25, color=colour, label=label)
            if key == "launched_ms":
                axes.bar_label(bars, [f"{row['kernels']}" for row in rows.values()], fontsize=6, padding=2)
        axes.set_yticks(list(places), list(rows))
        axes.invert_yaxis()
        axes.set_title(f"{name}: ms at the published peaks (kernels)", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()
