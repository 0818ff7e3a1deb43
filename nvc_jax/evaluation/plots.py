"""Plots of the report, as PNG bytes."""

import io
import itertools
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from nvc_jax.evaluation.bd_rate import Curve
from nvc_jax.evaluation.results import Point

_COLOURS = ("#d1495b", "#00798c", "#edae49", "#30638e", "#6a994e", "#8d5a97", "#555555")
_MARKERS = "os^Dv<>"


def rd_figure(curves: Mapping[str, tuple[Curve, Curve | None]]) -> bytes:
    """Rate-distortion curves: (PSNR, MS-SSIM) of each codec, the second None where it was not measured."""
    labels = ("PSNR 6:1:1, dB", "MS-SSIM 6:1:1, dB")
    shown = [which for which in (0, 1) if any(pair[which] for pair in curves.values())]
    figure = Figure(figsize=(4.5 * len(shown), 3.8), layout="constrained")
    for axes, which in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        label = labels[which]
        for name, style in _styles(curves):
            curve = curves[name][which]
            if curve is not None:
                axes.plot(curve.rates, curve.qualities, label=name, **style)
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
        _label(axes, "bits per pixel (logarithmic)", label)
        axes.legend(frameon=False, fontsize=8)
    return png(figure)


def frame_figure(points: Mapping[str, Point]) -> bytes:
    """Bits and PSNR of every frame, one line per codec."""
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, style in _styles(points):
        point, style = points[name], {**style, "marker": "", "linewidth": 1.3}
        frames = range(len(point["frame_bpp"]))
        above.plot(frames, point["frame_bpp"], label=f"{name} ({point['ave_all_frame_bpp']:.3f} bpp)", **style)
        below.plot(frames, point["frame_psnr"], label=f"{name} ({point['ave_all_frame_psnr']:.2f} dB)", **style)
    above.set_yscale("log")
    _plain_ticks(above.yaxis)
    _label(above, "", "bits per pixel")
    _label(below, "frame", "PSNR, dB")
    for axes in (above, below):
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return png(figure)


def crop_window(picture: npt.NDArray[np.uint8], width: int, height: int) -> tuple[slice, slice]:
    """The most detailed part of a picture [H, W, 3]: rows and columns."""
    luma = picture.astype(np.float32).mean(axis=2)
    detail = np.abs(np.diff(luma, axis=0))[:, :-1] + np.abs(np.diff(luma, axis=1))[:-1]
    rows, columns = luma.shape
    height, width = min(height, rows), min(width, columns)
    places = itertools.product(range(0, rows - height + 1, 16), range(0, columns - width + 1, 16))
    top, left = max(places, key=lambda p: float(detail[p[0] : p[0] + height, p[1] : p[1] + width].sum()))
    return slice(top, top + height), slice(left, left + width)


def _styles(names: Iterable[str]) -> Iterable[tuple[str, dict[str, object]]]:
    for name, colour, marker in zip(names, itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), strict=False):
        yield name, {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.6}


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


def png(figure: Figure) -> bytes:
    """Draw a figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()
