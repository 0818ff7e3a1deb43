"""Mean rate-distortion curves of classes, and points of like rate, of several result files."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from nvc_jax.evaluation.bd_rate import Curve, msssim_decibels, point_quality
from nvc_jax.evaluation.results import Point, Results
from nvc_jax.evaluation.tables import named

SHOWN = "psnr", "msssim"
Panels = Mapping[str, Mapping[str, Curve]]  # by quality and codec


def class_curves(results: Mapping[str, Results]) -> tuple[dict[str, Panels], list[str]]:
    """Compute mean curves over the sequences of each class that all codecs with the class have.

    Returns:
        Panels by class, and notes on what the means leave out.
    """
    classes: dict[str, Panels] = {}
    notes: list[str] = []
    for dataset in dict.fromkeys(dataset for result in results.values() for dataset in result):
        measured = {
            codec: videos
            for codec, result in results.items()
            if (videos := {name: points for name, points in result.get(dataset, {}).items() if points})
        }
        every = list(dict.fromkeys(name for videos in measured.values() for name in videos))
        common = [name for name in every if all(name in videos for videos in measured.values())]
        if rest := [(dataset, name) for name in every if name not in common]:
            notes.append(f"curves of {dataset} leave out what not all codecs have: {named(rest)}.")
        if not common:
            continue
        points = {codec: _by_rate([videos[name] for name in common]) for codec, videos in measured.items()}
        for codec, videos in measured.items():
            keys = {key for name in common for key in videos[name]}
            if left := len(keys) - len(points[codec]):
                notes.append(f"the curve of {codec} over {dataset} leaves out {left} points that some sequences lack.")
        panels = {
            quality: {
                codec: curve for codec, rates in points.items() if (curve := _mean_curve(rates, quality)) is not None
            }
            for quality in SHOWN
        }
        classes[dataset] = {quality: curves for quality, curves in panels.items() if curves}
    return classes, notes


def _by_rate(sequences: Sequence[Mapping[str, Point]]) -> list[list[Point]]:
    """Group the points of all sequences by the rates that all of them have, in order of quality."""
    keys = sorted(set.intersection(*(set(points) for points in sequences)))
    return [[points[key] for points in sequences] for key in keys]


def _mean_curve(rates: Sequence[Sequence[Point]], quality: str) -> Curve | None:
    """Average over sequences; None where a quality was not measured."""
    values = [[point_quality(point, quality) for point in points] for points in rates]
    known = [[value for value in points if value is not None] for points in values]
    if not known or known != values:
        return None
    means = map(statistics.fmean, known)
    bpp = (statistics.fmean(point["ave_all_frame_bpp"] for point in points) for points in rates)
    return Curve(tuple(bpp), tuple(map(msssim_decibels, means) if quality == "msssim" else means))


def near_in_rate(points: Mapping[str, Sequence[Point]]) -> dict[str, Point]:
    """Choose a point of each codec so that the rates differ least."""
    return min(_choices(points), key=rate_spread, default={})


def _choices(points: Mapping[str, Sequence[Point]]) -> Iterator[dict[str, Point]]:
    """Take each point as the one of lowest rate, with those of the other codecs just above it."""
    for lowest in (_rate(point) for of_codec in points.values() for point in of_codec):
        above = {codec: [point for point in of_codec if _rate(point) >= lowest] for codec, of_codec in points.items()}
        if all(above.values()):
            yield {codec: min(found, key=_rate) for codec, found in above.items()}


def _rate(point: Point) -> float:
    return float(point["ave_all_frame_bpp"])


def rate_spread(points: Mapping[str, Point]) -> float:
    """Divide the highest rate of some points by the lowest, less 1."""
    rates = [_rate(point) for point in points.values()]
    return max(rates) / min(rates) - 1 if min(rates) > 0 else math.inf
