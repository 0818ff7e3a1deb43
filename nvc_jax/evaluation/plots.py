"""Plots of the report, as PNG bytes."""

import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from nvc_jax.evaluation.bd_rate import Curve
from nvc_jax.evaluation.results import Point

# Distinct for people of any colour vision (Okabe and Ito, 2008), the palest left out; then again with other dashes.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS = "os^Dv<>"
_DASHES = ("-", "--", ":", "-.")
_DPI = 160  # twice the pixels of a page, for screens that have them
_LEGEND = 32  # characters of a name
_SIZE = 4.2, 3.4  # inches of a panel: its text is still read at the width of a phone
Style = Mapping[str, Any]


def styles(names: Iterable[str]) -> dict[str, Style]:
    """Choose a style for each codec, the same in all plots."""
    drawn = zip(itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), strict=False)
    dashes = (dash for dash in itertools.cycle(_DASHES) for _ in _COLOURS)
    return {
        name: {"color": colour, "marker": marker, "linestyle": dash, "markersize": 4.5, "linewidth": 1.6}
        for name, (colour, marker), dash in zip(names, drawn, dashes, strict=False)
    }


def _legend(name: str) -> str:
    """Keep the end of a long name, the part of paths that differs, so that the legend leaves room for the plot."""
    return name if len(name) <= _LEGEND else f"…{name[1 - _LEGEND :]}"


def rd_figure(panels: Mapping[str, Mapping[str, Curve]], style: Mapping[str, Style]) -> bytes:
    """Plot rate-distortion curves by codec, a panel for each quality by its title."""
    figure, axes = _panels(len(panels))
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        for name, curve in curves.items():
            axis.plot(curve.rates, curve.qualities, label=_legend(name), **style[name])
        axis.set_xscale("log")
        _plain_ticks(axis.xaxis)
        _label(axis, "bits per pixel (logarithmic)", title)
        axis.legend(frameon=False, fontsize=9)
    return png(figure, _DPI)


def frame_figure(points: Mapping[str, Point], style: Mapping[str, Style], key: str, title: str) -> bytes:
    """Plot a value of every frame by codec.

    Args:
        points: by codec.
        style: by codec.
        key: of the values in a point; a logarithmic axis for rates.
        title: of the values.
    """
    figure, (axis,) = _panels(1)
    for name, point in points.items():
        axis.plot(point[key], label=_legend(name), **{**style[name], "marker": "", "linewidth": 1.3})
    if key.endswith("bpp"):
        axis.set_yscale("log")
        _plain_ticks(axis.yaxis)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axis, "frame", title)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return png(figure, _DPI)


def cuts_figure(points: Mapping[str, Point], cuts: Sequence[int]) -> bytes:
    """Plot bits and PSNR of every picture by codec, one above the other, with the cuts.

    Args:
        points: by codec.
        cuts: first picture of every scene but the first.
    """
    figure = Figure(figsize=(2.2 * _SIZE[0], 1.6 * _SIZE[1]), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for axis, key, title in zip(axes, ("frame_bits", "frame_psnr"), ("bits", "PSNR, dB"), strict=True):
        for (name, point), style in zip(points.items(), styles(points).values(), strict=True):
            axis.plot(point[key], label=_legend(name), **{**style, "marker": "", "linewidth": 1.1})
        for cut in cuts:
            axis.axvline(cut - 0.5, color="#999999", linewidth=0.6)
        _label(axis, "", title)
    axes[0].set_yscale("log")
    axes[1].set_xlabel("picture")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return png(figure, _DPI)


def crop_window(picture: npt.NDArray[np.uint8], width: int, height: int) -> tuple[slice, slice]:
    """The most detailed part of a picture [H, W, 3]: rows and columns."""
    luma = picture.astype(np.float32).mean(axis=2)
    detail = np.abs(np.diff(luma, axis=0))[:, :-1] + np.abs(np.diff(luma, axis=1))[:-1]
    rows, columns = luma.shape
    height, width = min(height, rows), min(width, columns)
    places = itertools.product(range(0, rows - height + 1, 16), range(0, columns - width + 1, 16))
    top, left = max(places, key=lambda p: float(detail[p[0] : p[0] + height, p[1] : p[1] + width].sum()))
    return slice(top, top + height), slice(left, left + width)


def _panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(count * _SIZE[0], _SIZE[1]), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _plain_ticks(axis: Axis) -> None:
    """Ticks at 0.1, 0.2, 0.5 and so on along a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Draw a figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return file.getvalue()
