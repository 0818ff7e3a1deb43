"""HTML report of result files, in one self-contained page."""

import base64
import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from nvc_jax.errors import EvaluationError
from nvc_jax.evaluation.bd_rate import LITTLE_OVERLAP, QUALITIES, RATES, Curve, compare, msssim_decibels, point_quality
from nvc_jax.evaluation.complexity import Complexity, packet_complexity
from nvc_jax.evaluation.plots import crop_window, frame_figure, rd_figure
from nvc_jax.evaluation.results import Point, Results
from nvc_jax.evaluation.runner import source_picture
from nvc_jax.models.config import CodecConfig
from nvc_jax.video import read_png
from nvc_jax.video.png import encode_png

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
    for name, result in results.items():
        if any(point_quality(point, "psnr") is None for point in _points(result)):
            raise EvaluationError(f"{name}: a point has no {QUALITIES['psnr']}, which a report needs.")
    without_payload, without_msssim = (
        [name for name, result in results.items() if not all(map(says, _points(result)))]
        for says in (_says_payload, _says_msssim)
    )
    shown = _shown_sequence(results, sequence)
    near = _near_in_rate(results, *shown)
    pictures = {f"rd_{dataset}.png": rd_figure(curves) for dataset, curves in _class_curves(results).items()}
    framed = {name: point for name, point in near.items() if "frame_bpp" in point and "frame_psnr" in point}
    if framed:
        pictures["frames.png"] = frame_figure(framed)
    crops = _crops(framed, streams) if streams is not None else {}
    pictures |= {f"crop_{name}.png": data for name, (_, data) in crops.items()}
    others = {name: result for name, result in results.items() if name != anchor}
    loader = PackageLoader("nvc_jax.evaluation", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"percent": _percent, "data_uri": _data_uri}
    html = environment.get_template("report.html.jinja").render(
        anchor=anchor,
        results=results,
        points={name: list(_points(result)) for name, result in results.items()},
        pictures=pictures,
        bd_rates=[
            (title, {name: compare(results[anchor], result, rate=rate) for name, result in others.items()})
            for title, rate in (("All bits", "all"), ("Coded pictures only, without headers and texts", "payload"))
            if rate == "all" or not without_payload
        ],
        without_payload=without_payload,
        without_msssim=without_msssim,
        frames={name: sum(map(_frame_count, _points(result))) for name, result in results.items()},
        little_overlap=LITTLE_OVERLAP,
        shown="/".join(shown),
        near=near,
        crops=crops,
        complexities=_complexities(results),
        machines=_machines(results),
        speeds={name: _speed(result) for name, result in results.items()},
    )
    missing = (("MS-SSIM", without_msssim), ("the rate of the coded pictures alone", without_payload))
    notes = tuple(f"results without {what}: {', '.join(names)}" for what, names in missing if names)
    return Report(html, pictures, notes)


def _says_payload(point: Point) -> bool:
    return isinstance(point.get(RATES["payload"]), float | int)


def _says_msssim(point: Point) -> bool:
    return point_quality(point, "msssim") is not None


def _frame_count(point: Point) -> int:
    return int(sum(point.get(key) or 0 for key in ("i_frame_num", "p_frame_num")))


def _points(results: Results) -> Iterable[Point]:
    return (point for videos in results.values() for points in videos.values() for point in points.values())


def _shown_sequence(results: Mapping[str, Results], sequence: str | None) -> tuple[str, str]:
    """(class, name) of a sequence in all results."""
    common = set.intersection(*(set(_keys(result)) for result in results.values()))
    if not common:
        raise EvaluationError("no sequence is in all results; classes and sequences are matched by name.")
    if sequence is None:
        return min(common)
    for key in common:
        if sequence == "/".join(key):
            return key
    known = ", ".join(sorted(map("/".join, common)))
    raise EvaluationError(f"the sequence {sequence} is not in all results; these are: {known}.")


def _keys(results: Results) -> Iterable[tuple[str, str]]:
    """(class, name) of every sequence that was measured."""
    return ((dataset, name) for dataset, videos in results.items() for name, points in videos.items() if points)


def _near_in_rate(results: Mapping[str, Results], dataset: str, name: str) -> dict[str, Point]:
    """Pick the point of each codec nearest to the middle of the common range of rates, or of the gap between them."""
    points = {codec: list(result[dataset][name].values()) for codec, result in results.items()}
    rates = [[math.log(point["ave_all_frame_bpp"]) for point in of_codec] for of_codec in points.values()]
    target = (max(map(min, rates)) + min(map(max, rates))) / 2

    def distance(point: Point) -> float:
        return abs(math.log(point["ave_all_frame_bpp"]) - target)

    return {codec: min(of_codec, key=distance) for codec, of_codec in points.items()}


def _class_curves(results: Mapping[str, Results]) -> dict[str, dict[str, tuple[Curve, Curve | None]]]:
    """Mean (PSNR, MS-SSIM) curves over the sequences, by class and codec, in order of quality."""
    curves: dict[str, dict[str, tuple[Curve, Curve | None]]] = {}
    for codec, result in results.items():
        for dataset, videos in result.items():
            measured = [points for points in videos.values() if points]
            keys = sorted(set.intersection(*(set(points) for points in measured))) if measured else []
            if not keys:
                continue
            rates, psnr = (
                [statistics.fmean(points[key][f"ave_all_frame_{what}"] for points in measured) for key in keys]
                for what in ("bpp", "psnr")
            )
            msssim = [[point_quality(points[key], "msssim") for points in measured] for key in keys]
            known = [[value for value in values if value is not None] for values in msssim]
            similarity = None
            if known == msssim:
                similarity = Curve(tuple(rates), tuple(msssim_decibels(statistics.fmean(values)) for values in known))
            curves.setdefault(dataset, {})[codec] = Curve(tuple(rates), tuple(psnr)), similarity
    return curves


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


def _complexities(results: Mapping[str, Results]) -> dict[str, dict[str, Complexity]]:
    """By result and network, of the results that a model made."""
    complexities = {}
    for name, result in results.items():
        settings = next(iter(_points(result))).get("settings", {})
        if "config" in settings:
            config = CodecConfig.from_dict(settings["config"])
            complexities[name] = {key: packet_complexity(config, key, xla=True) for key, _ in config.networks}
    return complexities


def _machines(results: Mapping[str, Results]) -> list[str]:
    """Distinct machines of the measurements."""
    found = (point["machine"] for result in results.values() for point in _points(result) if "machine" in point)
    return list(dict.fromkeys(f"{machine['cpu']} ({machine['device']})" for machine in found))


def _speed(results: Results) -> _Speed | None:
    times = [
        (point["frame_pixel_num"], point["avg_frame_encoding_time"], point["avg_frame_decoding_time"])
        for point in _points(results)
        if "avg_frame_encoding_time" in point
    ]
    if not times:
        return None
    pixels, encode, decode = (statistics.fmean(column) for column in zip(*times, strict=True))
    return _Speed(1000 * encode, 1000 * decode, pixels / encode / 1e6, pixels / decode / 1e6)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f} %"


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
