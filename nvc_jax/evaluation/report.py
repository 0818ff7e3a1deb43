"""HTML report of result files, in one self-contained page."""

import base64
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from nvc_jax.codec.report import TIMED_PACKETS, WARM_UP_PACKETS
from nvc_jax.errors import EvaluationError
from nvc_jax.evaluation.bd_rate import QUALITIES, RATES, compare, point_quality, quality_title
from nvc_jax.evaluation.complexity import Complexity, packet_complexity
from nvc_jax.evaluation.curves import SHOWN, class_curves, near_in_rate, rate_spread
from nvc_jax.evaluation.plots import crop_window, frame_figure, rd_figure, styles
from nvc_jax.evaluation.results import Point, Results, all_points, sequence_keys
from nvc_jax.evaluation.runner import source_picture
from nvc_jax.evaluation.tables import bd_table, bd_title, luma_note, settings_table
from nvc_jax.models.config import CodecConfig
from nvc_jax.video import read_png
from nvc_jax.video.png import encode_png

_NEARLY_EQUAL = 0.1  # largest difference of rates that are called so
_PAYLOAD = "the rate of the coded pictures alone"
_PARTS = {  # of a point, that some results lack
    "MS-SSIM": lambda point: point_quality(point, "msssim") is not None,
    _PAYLOAD: lambda point: isinstance(point.get(RATES["payload"]), float | int),
    "values of every frame": lambda point: "frame_bpp" in point and "frame_psnr" in point,
    "times": lambda point: "avg_frame_encoding_time" in point,
}
_FRAMES = (("bpp", "bits per pixel (logarithmic)"), ("psnr", "PSNR, dB"))
_CROP = 208, 160


@dataclasses.dataclass(frozen=True)
class Report:
    """The page and its pictures.

    Attributes:
        html: self-contained.
        pictures: PNG bytes by file name, also embedded in the page.
        notes: sentences about missing parts.
    """

    html: str
    pictures: Mapping[str, bytes]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Speed:
    """Means over all timed points; in megapixels, because sequences differ in size."""

    encode_ms: float
    decode_ms: float
    encode_mpixel_s: float
    decode_mpixel_s: float


def make_report(
    results: Mapping[str, Results], anchor: str, streams: Path | None = None, sequence: str | None = None
) -> Report:
    """Compare results side by side.

    Args:
        results: by display name; frame plots leave out results without values per frame.
        anchor: of BD-rates.
        streams: stream folder of the results, for crops of their last frames; None leaves them out.
        sequence: class/name of the sequence in frame plots and crops, by default the first.

    Raises:
        EvaluationError: the anchor or the sequence is not in the results, or the results share no sequence.
    """
    if anchor not in results:
        raise EvaluationError(f"the anchor {anchor} is not among the results; they are {', '.join(results)}.")
    points = {name: all_points(result) for name, result in results.items()}
    for name, of_codec in points.items():
        if any(point_quality(point, "psnr") is None for point in of_codec):
            raise EvaluationError(f"{name}: a point has no {QUALITIES['psnr']}, which a report needs.")
    without = {
        part: [name for name, of_codec in points.items() if not all(map(says, of_codec))]
        for part, says in _PARTS.items()
    }
    style, titles = styles(results), {quality: quality_title(quality, results.values()) for quality in SHOWN}
    classes, curve_notes = class_curves(results)
    rd_pictures = {
        dataset: {
            f"rd_{dataset}_{quality}.png": rd_figure({f"{titles[quality]}, dB": curves}, style)
            for quality, curves in panels.items()
        }
        for dataset, panels in classes.items()
    }
    shown = _shown_sequence(results, sequence)
    framed = {
        name: found
        for name, result in results.items()
        if (found := [p for p in result[shown[0]][shown[1]].values() if {"frame_bpp", "frame_psnr"} <= p.keys()])
    }
    near = near_in_rate(framed)
    frame_pictures = {
        f"frames_{key}.png": frame_figure(near, style, f"frame_{key}", title) for key, title in _FRAMES if near
    }
    crops = {} if streams is None else _crops(near, streams)
    others = {name: result for name, result in results.items() if name != anchor}
    tables = [
        bd_table(
            bd_title(anchor, results.values(), "psnr", rate),
            {name: compare(results[anchor], result, rate=rate) for name, result in others.items()},
        )
        for rate in RATES
        if others and (rate == "all" or not without[_PAYLOAD])
    ]
    notes = [f"results without {part}: {', '.join(names)}." for part, names in without.items() if names]
    notes += luma_note(results) + curve_notes
    html = _template().render(
        anchor=anchor,
        results=results,
        points=points,
        frames={name: sum(map(_frame_count, of_codec)) for name, of_codec in points.items()},
        titles=titles,
        rd_pictures=rd_pictures,
        notes=notes,
        tables=tables,
        shown="/".join(shown),
        frame_pictures=frame_pictures,
        near=near,
        spread=rate_spread(near) if near else 0.0,
        nearly_equal=_NEARLY_EQUAL,
        crops=crops,
        complexities=_complexities(points),
        machines=_machines(points),
        speeds={name: _speed(of_codec) for name, of_codec in points.items()},
        warm_up=WARM_UP_PACKETS,
        timed_packets=TIMED_PACKETS,
        settings={name: settings_table(of_codec) for name, of_codec in points.items()},
    )
    pictures = {name: data for panels in rd_pictures.values() for name, data in panels.items()}
    pictures |= frame_pictures | {f"crop_{name.replace('/', '_')}.png": data for name, (_, data) in crops.items()}
    return Report(html, pictures, tuple(notes))


def _template() -> Template:
    loader = PackageLoader("nvc_jax.evaluation", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["data_uri"] = _data_uri
    environment.tests["is_architecture"] = lambda name: name.startswith("config.")
    return environment.get_template("report.html.jinja")


def _frame_count(point: Point) -> int:
    return int(sum(point.get(key) or 0 for key in ("i_frame_num", "p_frame_num")))


def _shown_sequence(results: Mapping[str, Results], sequence: str | None) -> tuple[str, str]:
    """(class, name) of a sequence in all results."""
    common = set.intersection(*(set(sequence_keys(result)) for result in results.values()))
    if not common:
        raise EvaluationError("no sequence is in all results; classes and sequences are matched by name.")
    if sequence is None:
        return min(common)
    for key in common:
        if sequence == "/".join(key):
            return key
    known = ", ".join(sorted(map("/".join, common)))
    raise EvaluationError(f"the sequence {sequence} is not in all results; these are: {known}.")


def _crops(points: Mapping[str, Point], streams: Path) -> dict[str, tuple[str, bytes]]:
    """Caption and PNG crop of the last frame by name, the source first; empty without pictures."""
    points = {name: point for name, point in points.items() if "picture" in point}
    if not points:
        return {}
    source = read_png(streams / source_picture(next(iter(points.values()))))
    window = crop_window(source, *_CROP)
    crops = {"source": ("source", encode_png(source[window]))}
    for name, point in points.items():
        caption = f"{name}: {point['frame_psnr'][-1]:.2f} dB, {point['ave_all_frame_bpp']:.3f} bpp"
        crops[name] = caption, encode_png(read_png(streams / point["picture"])[window])
    return crops


def _complexities(points: Mapping[str, Sequence[Point]]) -> dict[str, dict[str, Complexity]]:
    """By result and network, of the results that a model made."""
    complexities = {}
    for name, of_codec in points.items():
        settings = of_codec[0].get("settings", {})
        if "config" in settings:
            config = CodecConfig.from_dict(settings["config"])
            complexities[name] = {key: packet_complexity(config, key, xla=True) for key, _ in config.networks}
    return complexities


def _machines(points: Mapping[str, Sequence[Point]]) -> list[str]:
    """Distinct machines of the measurements."""
    found = (point["machine"] for of_codec in points.values() for point in of_codec if "machine" in point)
    return list(dict.fromkeys(f"{machine['cpu']} ({machine['device']})" for machine in found))


def _speed(points: Sequence[Point]) -> _Speed | None:
    times = [
        (point["frame_pixel_num"], point["avg_frame_encoding_time"], point["avg_frame_decoding_time"])
        for point in points
        if "avg_frame_encoding_time" in point
    ]
    if not times:
        return None
    pixels, encode, decode = (statistics.fmean(column) for column in zip(*times, strict=True))
    return _Speed(1000 * encode, 1000 * decode, pixels / encode / 1e6, pixels / decode / 1e6)


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
