"""Plots of a search, as PNG bytes."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nvc_jax.evaluation.plots import png
from nvc_jax.search.variants import WHOLE

_BLUE, _RED, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#9a9a9a"
_DPI = 140


def frontier_figure(result: Mapping[str, Any]) -> bytes:
    """Plot loss against speed-up of the variants of each module, a panel for each, with its frontier."""
    modules = result["frontiers"]
    figure = Figure(figsize=(4.2 * len(modules), 3.8), layout="constrained")
    for axes, (module, on_frontier) in zip(
        figure.subplots(1, len(modules), squeeze=False)[0], modules.items(), strict=True
    ):
        rows = [row for row in result["candidates"] if row["module"] == module and row["loss"] is not None]
        points = {WHOLE: (0.0, 0.0)} | {row["name"]: (100 * (row["speedup"] - 1), row["loss"]) for row in rows}
        line = [points[name] for name in on_frontier]
        axes.plot(*zip(*line, strict=True), color=_BLUE, linewidth=1.4, zorder=1)
        for name, point in points.items():
            axes.plot(*point, "o", color=_BLUE if name in on_frontier else _GREY, markersize=5)
            axes.annotate(name, point, xytext=(4, 4), textcoords="offset points", fontsize=8)
        _finish(axes, module)
    return png(figure, _DPI)


def architecture_figure(result: Mapping[str, Any]) -> bytes:
    """Plot predicted loss against speed-up of all architectures, with the chosen ones and the measured losses."""
    figure = Figure(figsize=(7.6, 4.8), layout="constrained")
    axes: Axes = figure.subplots()
    points = [_point(row) for row in result["architectures"]]
    axes.plot(*zip(*points, strict=True), "o", color=_GREY, markersize=3.5, label="architectures, predicted")
    for row in result.get("check", []):
        if row["loss"] is not None:
            x, y = _point(row)
            axes.plot([x, x], [y, row["loss"]], color=_GREEN, linewidth=1.0, zorder=1)
            axes.plot(x, row["loss"], "s", color=_GREEN, markersize=4.5, label=_once(axes, "measured"))
    for target, row in result["chosen"].items():
        axes.axvline(100 * float(target), color="#cccccc", linewidth=0.9, zorder=0)
        if row is not None:
            axes.plot(*_point(row), "o", color=_BLUE, markersize=8, label=_once(axes, "chosen"))
            axes.annotate(row["label"], _point(row), xytext=(6, -12), textcoords="offset points", fontsize=8)
    for name, row in result["paper"].items():
        if "efficiency" in row:
            axes.plot(*_point(row), "D", color=_RED, markersize=6, label=_once(axes, "the paper's choices"))
            axes.annotate(name, _point(row), xytext=(6, 5), textcoords="offset points", fontsize=8)
    axes.legend(frameon=False, fontsize=8)
    _finish(axes, "")
    return png(figure, _DPI)


def _point(row: Mapping[str, Any]) -> tuple[float, float]:
    return 100 * (row["speedup"] - 1), row["predicted_loss"]


def _once(axes: Axes, label: str) -> str:
    """A label for the first of several marks."""
    return "" if label in axes.get_legend_handles_labels()[1] else label


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("decodes faster by, %")
    axes.set_ylabel("BD-rate against the teacher, %")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
