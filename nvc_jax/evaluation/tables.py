"""Tables of BD-rates and of settings, for the terminal and the report."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nvc_jax.evaluation.bd_rate import (
    LITTLE_OVERLAP,
    METHODS,
    RATE_TITLES,
    BdRate,
    Comparison,
    msssim_of_luma,
    quality_title,
)
from nvc_jax.evaluation.results import Point, Results

_NONE = {"frames": "all"}  # meanings of null other than "none"
_NAMED = 4  # sequences named in a note, the others are counted
_OPTIONS = re.compile(r"[\w-]+=[^=:]*(:[\w-]+=[^=:]*)*")  # of x264, x265 and SVT-AV1


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of BD-rates.

    Attributes:
        label: sequence, class or average.
        cells: one of each result file.
        is_mean: it is over other rows.
    """

    label: str
    cells: tuple[str, ...]
    is_mean: bool = False


@dataclasses.dataclass(frozen=True)
class BdTable:
    """BD-rates of several result files.

    Attributes:
        title: anchor, metric and rate.
        columns: names of the result files.
        rows: by class, each followed by its mean; then the mean of the classes.
        notes: sentences on what is missing or to be read with care.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def bd_title(anchor: str, results: Iterable[Results], quality: str, rate: str, method: str = METHODS[0]) -> str:
    """Make the title of a table: anchor, metric, rate, and the interpolation where it is not the default."""
    parts = [f"BD-rate against {anchor}", quality_title(quality, results), RATE_TITLES[rate]]
    return ", ".join([*parts, method] if method != METHODS[0] else parts)


def bd_table(title: str, comparisons: Mapping[str, Comparison], digits: int = 1) -> BdTable:
    """Arrange comparisons with one anchor, by name of the result file, as a table in percent."""
    every = list(comparisons.values())

    def cell(value: object) -> str:
        if not isinstance(value, BdRate):
            return "–"
        return f"{value.percent:+.{digits}f} %" + ("*" if value.overlap < LITTLE_OVERLAP else "")

    def mean(label: str, percents: Iterable[float | None], missing: Iterable[int]) -> Row:
        shown = ("–" if percent is None else f"{percent:+.{digits}f} %" for percent in percents)
        without = (f" (without {count})" if count else "" for count in missing)
        return Row(label, tuple(map("".join, zip(shown, without, strict=True))), True)

    rows = []
    keys = list(dict.fromkeys(key for comparison in every for key in comparison.sequences))
    datasets = list(dict.fromkeys(dataset for dataset, _ in keys))
    for dataset in datasets:
        for key in (key for key in keys if key[0] == dataset):
            rows.append(Row("/".join(key), tuple(cell(comparison.sequences.get(key)) for comparison in every)))
        percents = (comparison.classes.get(dataset) for comparison in every)
        rows.append(mean(f"{dataset}, mean", percents, (comparison.missing(dataset) for comparison in every)))
    if len(datasets) > 1:
        averages = (comparison.average for comparison in every)
        rows.append(mean("mean of classes", averages, (comparison.missing() for comparison in every)))
    return BdTable(title, tuple(comparisons), tuple(rows), tuple(_notes(comparisons)))


def _notes(comparisons: Mapping[str, Comparison]) -> Iterator[str]:
    values = [value for comparison in comparisons.values() for value in comparison.sequences.values()]
    if any(isinstance(value, BdRate) and value.overlap < LITTLE_OVERLAP for value in values):
        yield f"* the curves share less than {LITTLE_OVERLAP:.0%} of their qualities."
    for name, comparison in comparisons.items():
        reasons: dict[str, list[tuple[str, str]]] = {}
        for key, value in comparison.sequences.items():
            if not isinstance(value, BdRate):
                reasons.setdefault(str(value), []).append(key)
        for reason, keys in reasons.items():
            yield f"{name}: {named(keys)}: {reason}"
        if absent := comparison.absent:
            yield f"{name}: sequences of the anchor that are not in it: {named(absent)}."


def luma_note(results: Mapping[str, Results]) -> list[str]:
    """Name the sequences whose MS-SSIM is of luma in a sentence; none if there are no such."""
    keys = [
        (dataset, name)
        for result in results.values()
        for dataset, videos in result.items()
        for name, points in videos.items()
        if any(map(msssim_of_luma, points.values()))
    ]
    distinct = tuple(dict.fromkeys(keys))
    return [f"MS-SSIM is of luma alone where chroma is too small for it: {named(distinct)}."] if distinct else []


def named(keys: Sequence[tuple[str, str]]) -> str:
    """Name some sequences, and count the others."""
    rest = len(keys) - _NAMED
    return ", ".join(map("/".join, keys[:_NAMED])) + (f" and {rest} more" if rest > 0 else "")


def settings_table(points: Sequence[Point]) -> dict[str, str]:
    """Collect settings, versions and machine of all points by name, nested ones by path.

    Where they differ, all values in the order of the points.
    """
    found: dict[str, dict[str, None]] = {}
    for point in points:
        shown = point.get("settings", {}) | {key: point[key] for key in ("versions", "machine") if key in point}
        for name, value in _flat(shown):
            found.setdefault(name, {})[value] = None
    return {name: ", ".join(values) for name, values in found.items()}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and _OPTIONS.fullmatch(value):
        value = dict(option.split("=", 1) for option in value.split(":"))
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and not any(isinstance(inner, Mapping | list) for inner in value):
        yield path, " ".join(map(str, value))
    elif value is None or isinstance(value, bool):
        yield path, _NONE.get(path, "none") if value is None else "yes" if value else "no"
    else:
        yield path, str(value)
