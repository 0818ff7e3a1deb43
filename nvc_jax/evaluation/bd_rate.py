"""Bjøntegaard delta rates between result files."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Literal

import bjontegaard
import numpy as np

from nvc_jax.errors import EvaluationError
from nvc_jax.evaluation.results import Point, Results, all_points, sequence_keys

Method = Literal["pchip", "akima", "cubic"]

METHODS: tuple[Method, ...] = ("pchip", "akima", "cubic")
_NAMES = ("psnr", "psnr_y", "psnr_u", "psnr_v", "msssim", "msssim_y", "msssim_u", "msssim_v")
QUALITIES = {name: f"ave_all_frame_{name}" for name in _NAMES}
RATES = {"all": "ave_all_frame_bpp", "payload": "ave_all_frame_payload_bpp"}
RATE_TITLES = {"all": "all bits", "payload": "coded pictures only, without headers and texts"}
_KINDS = {"psnr": "PSNR", "msssim": "MS-SSIM"}
MIN_POINTS = 4
LITTLE_OVERLAP = 0.5  # of the quality ranges; a BD-rate over less says little


@dataclasses.dataclass(frozen=True)
class Curve:
    """A rate-distortion curve, from low to high rate.

    Attributes:
        rates: bits per pixel.
        qualities: dB; MS-SSIM as -10 log10(1 - x).
    """

    rates: tuple[float, ...]
    qualities: tuple[float, ...]

    @classmethod
    def of(cls, points: Iterable[Point], quality: str = "psnr", rate: str = "all") -> "Curve":
        """Curve of the points of a sequence.

        Args:
            points: in any order.
            quality: a key of `QUALITIES`.
            rate: a key of `RATES`.

        Raises:
            EvaluationError: a point lacks the quality or the rate.
        """
        pairs = []
        for point in points:
            value = point_quality(point, quality)
            if value is None:
                raise EvaluationError(f"the results have no {QUALITIES[quality]}.")
            if quality.startswith("msssim"):
                value = msssim_decibels(value)
            bits = point.get(RATES[rate])
            if not isinstance(bits, float | int):
                raise EvaluationError(f"the results have no {RATES[rate]}; `rate` all compares all bits.")
            pairs.append((bits, value))
        pairs.sort()
        rates, qualities = zip(*pairs, strict=True) if pairs else ((), ())
        return cls(rates, qualities)


def quality_title(quality: str, results: Iterable[Results]) -> str:
    """Name a quality: of a plane, or the mean over planes as far as the results have planes."""
    kind, _, plane = quality.partition("_")
    planes = any(QUALITIES["psnr_y"] in point for result in results for point in all_points(result))
    return f"{_KINDS[kind]} {plane.upper() or '6:1:1' * planes}".strip()


def point_quality(point: Point, quality: str) -> float | None:
    """A quality of a point, by its key in `QUALITIES`; None if the point lacks it.

    Other programs, and earlier versions of this, average in 0 for chroma planes too small for MS-SSIM. Luma is taken
    alone then, as `results.summarise` does.
    """
    value = point.get(QUALITIES[quality])
    if quality == "msssim" and _chroma_counts_0(point):
        value = point.get(QUALITIES["msssim_y"]) or None
    return float(value) if isinstance(value, float | int) else None


def msssim_of_luma(point: Point) -> bool:
    """Tell whether MS-SSIM is that of luma alone, because the chroma planes are too small for it."""
    return point.get("msssim_planes") == "y" or (_chroma_counts_0(point) and bool(point.get(QUALITIES["msssim_y"])))


def _chroma_counts_0(point: Point) -> bool:
    return point.get(QUALITIES["msssim_u"]) == point.get(QUALITIES["msssim_v"]) == 0


def msssim_decibels(value: float) -> float:
    """MS-SSIM in dB, for comparison and plots."""
    return -10.0 * math.log10(max(1.0 - value, 1e-10))


@dataclasses.dataclass(frozen=True)
class BdRate:
    """BD-rate of one curve against another.

    Attributes:
        percent: mean rate difference at equal quality; negative is fewer bits than the anchor.
        overlap: share of the joint quality range that both curves cover, 0..1; the mean is over it only.
    """

    percent: float
    overlap: float


def bd_rate(anchor: Curve, test: Curve, method: Method = "pchip") -> BdRate:
    """Bjøntegaard delta rate of a curve.

    Raises:
        EvaluationError: too few points, curves that are not monotone, or no overlap.
    """
    for name, curve in (("anchor", anchor), ("test", test)):
        _check(name, curve)
    low = max(anchor.qualities[0], test.qualities[0])
    high = min(anchor.qualities[-1], test.qualities[-1])
    if low >= high:
        ranges = (f"{c.qualities[0]:.2f} to {c.qualities[-1]:.2f}" for c in (anchor, test))
        raise EvaluationError("the quality ranges do not overlap: {} dB (anchor), {} dB (test).".format(*ranges))
    lowest = min(anchor.qualities[0], test.qualities[0])
    highest = max(anchor.qualities[-1], test.qualities[-1])
    percent = bjontegaard.bd_rate(
        anchor.rates,
        anchor.qualities,
        test.rates,
        test.qualities,
        method,
        require_matching_points=False,
        min_overlap=0,  # reported as `overlap`
    )
    return BdRate(float(percent), (high - low) / (highest - lowest))


def _check(name: str, curve: Curve) -> None:
    if len(curve.rates) < MIN_POINTS:
        raise EvaluationError(f"the {name} curve has {len(curve.rates)} points; a BD-rate needs {MIN_POINTS}.")
    if not np.isfinite(curve.rates + curve.qualities).all() or curve.rates[0] <= 0:
        raise EvaluationError(f"the {name} curve has rates or qualities that are not positive numbers.")
    for lower, upper in zip(curve.qualities, curve.qualities[1:], strict=False):
        if upper <= lower:
            raise EvaluationError(
                f"the {name} curve is not monotone: quality goes from {lower:.2f} to {upper:.2f} dB at a higher rate."
            )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """BD-rates of one result file.

    Attributes:
        sequences: by class and sequence, or the reason that it is not defined.
        classes: mean over the sequences of each class with a BD-rate.
        average: mean of the classes, as in the papers; None if there is none.
        absent: sequences of the anchor that the result file lacks.
    """

    sequences: Mapping[tuple[str, str], BdRate | EvaluationError]
    classes: Mapping[str, float]
    average: float | None
    absent: tuple[tuple[str, str], ...] = ()

    def missing(self, dataset: str | None = None) -> int:
        """Count the sequences, of a class or of all, that the mean leaves out."""
        without = [key for key, value in self.sequences.items() if not isinstance(value, BdRate)]
        return sum(dataset in (None, d) for d, _ in (*without, *self.absent))


def compare(
    anchor: Results, test: Results, method: Method = "pchip", quality: str = "psnr", rate: str = "all"
) -> Comparison:
    """Compare every sequence of the test; a sequence that the anchor lacks has no BD-rate.

    Raises:
        EvaluationError: no sequence is in both.
    """
    sequences: dict[tuple[str, str], BdRate | EvaluationError] = {}
    matched = False
    for dataset, videos in test.items():
        for name, points in videos.items():
            reference = anchor.get(dataset, {}).get(name)
            try:
                if not reference:
                    raise EvaluationError("not in the anchor.")
                matched = True
                first, second = (Curve.of(p.values(), quality, rate) for p in (reference, points))
                sequences[dataset, name] = bd_rate(first, second, method)
            except EvaluationError as error:
                sequences[dataset, name] = error
    if not matched:
        raise EvaluationError("no sequence is in both results; classes and sequences are matched by name.")
    classes = {}
    for dataset in dict.fromkeys(dataset for dataset, _ in sequences):
        values = [v.percent for (d, _), v in sequences.items() if d == dataset and isinstance(v, BdRate)]
        if values:
            classes[dataset] = statistics.fmean(values)
    absent = tuple(key for key in sequence_keys(anchor) if key not in sequences)
    return Comparison(sequences, classes, statistics.fmean(classes.values()) if classes else None, absent)
