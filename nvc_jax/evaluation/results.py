"""Result files in the JSON schema of the official test: {class: {sequence: {rate: point}}}.

A point has every key that the official test writes with `--verbose_json 1`, and:

- `codec`, `settings` (of models: container, precision, schedule, encoder options), `versions`, `machine`
- `source`: hash of the video, and the size asked for
- `msssim_planes`: planes in the mean MS-SSIM, `yuv`, `y` or none; it is null for planes below 88 pixels on a side
- `frame_bits`: bits of every frame; `frame_payload_bits`: the part of its payload, without headers and texts
- `ave_all_frame_payload_bpp`: rate of the payloads
- `stream`, `picture`: files in the stream folder; no stream where the rate is estimated, as `settings` say
"""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nvc_jax.errors import EvaluationError
from nvc_jax.evaluation.metrics import Quality
from nvc_jax.io.files import PathLike, atomic_output, reason, same_file

Point = dict[str, Any]
Results = dict[str, dict[str, dict[str, Point]]]

_DIGITS = 6  # as in official files
_TYPES = ("I", "P")  # 0 and 1 in official files
_NUMBERS = re.compile(r"\[(?:[-\d.eE,\s]|null)*\]")  # lists that go on one line
_PARTS = {1: ("",), 4: ("", "_y", "_u", "_v")}


@dataclasses.dataclass(frozen=True)
class FrameResult:
    """One measured frame.

    Attributes:
        type: I or P.
        bits: of the stream, headers included.
        payload_bits: of its payload.
        quality: of the decoded picture.
    """

    type: str
    bits: int
    payload_bits: int
    quality: Quality


def summarise(frames: Sequence[FrameResult], pixels: int, seconds: float) -> Point:
    """Statistics of a point from its frames.

    Args:
        frames: at least one.
        pixels: of a frame.
        seconds: duration of the measurement.
    """
    point: Point = {"frame_pixel_num": pixels}
    point |= {f"{type_.lower()}_frame_num": sum(f.type == type_ for f in frames) for type_ in _TYPES}
    point |= _averages("i", [f for f in frames if f.type == "I"], frames, pixels)
    point["frame_bpp"] = [f.bits / pixels for f in frames]
    point["frame_type"] = [_TYPES.index(f.type) for f in frames]
    for index, part in enumerate(_parts(frames)):
        point[f"frame_psnr{part}"] = [f.quality.psnr[index] for f in frames]
        point[f"frame_msssim{part}"] = [f.quality.msssim[index] for f in frames]
    measured = frames[0].quality.msssim
    planes = "yuv" if len(measured) > 1 else ("rgb",)
    point["msssim_planes"] = "".join(p for p, v in zip(planes, measured[-len(planes) :], strict=True) if v is not None)
    point["frame_bits"] = [f.bits for f in frames]
    point["frame_payload_bits"] = [f.payload_bits for f in frames]
    point["test_time"] = seconds
    point |= _averages("p", [f for f in frames if f.type == "P"], frames, pixels)
    point |= _averages("all", frames, frames, pixels)
    point["ave_all_frame_payload_bpp"] = sum(f.payload_bits for f in frames) / (len(frames) * pixels)
    return point


def _parts(frames: Sequence[FrameResult]) -> tuple[str, ...]:
    return _PARTS[len(frames[0].quality.psnr)]


def _averages(prefix: str, chosen: Sequence[FrameResult], frames: Sequence[FrameResult], pixels: int) -> Point:
    """Mean rate and quality of the chosen frames; zeros if there are none, as in official files."""
    count = max(1, len(chosen))
    averages: Point = {f"ave_{prefix}_frame_bpp": sum(f.bits for f in chosen) / (count * pixels)}
    for index, part in enumerate(_parts(frames)):
        averages[f"ave_{prefix}_frame_psnr{part}"] = sum(f.quality.psnr[index] for f in chosen) / count
        values = [f.quality.msssim[index] for f in chosen]
        known = [value for value in values if value is not None]
        averages[f"ave_{prefix}_frame_msssim{part}"] = None if len(known) < len(values) else sum(known) / count
    return averages


def read_point(path: Path) -> Point | None:
    """Read a point that `write_json` wrote; None if it is missing or damaged."""
    try:
        point = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return point if isinstance(point, dict) else None


def write_json(path: PathLike, content: Mapping[str, Any]) -> None:
    """Write a point or results, floats with six decimals.

    Raises:
        OutputError: the file cannot be written.
    """
    text = json.dumps(_rounded(content), indent=1)
    text = _NUMBERS.sub(lambda match: "[" + " ".join(match[0][1:-1].split()) + "]", text)
    with atomic_output(path) as file:
        file.write((text + "\n").encode())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def collect(points: Iterable[Point]) -> Results:
    """Arrange points as in a result file."""
    results: Results = {}
    for point in points:
        results.setdefault(point["ds_name"], {}).setdefault(point["seq"], {})[f"{point['rate_idx']:03d}"] = point
    return results


def sequence_keys(results: Results) -> list[tuple[str, str]]:
    """List (class, name) of every sequence with a point."""
    return [(dataset, name) for dataset, videos in results.items() for name, points in videos.items() if points]


def all_points(results: Results) -> list[Point]:
    """List every point of a result file."""
    return [point for videos in results.values() for points in videos.values() for point in points.values()]


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Name result files for people: without folder and .json, where these tell them apart."""
    stems = Counter(Path(path).stem for path in dict.fromkeys(paths))
    return {path: stem if stems[stem := Path(path).stem] == 1 else path.removesuffix(".json") for path in paths}


def find_anchor(anchor: str, paths: Sequence[str]) -> str:
    """Find the path of the anchor: one of the result files by its name, or any other result file.

    Raises:
        EvaluationError: it is neither.
    """
    names = short_names(paths)
    for path, name in names.items():
        if anchor in (name, path) or same_file(anchor, path):
            return path
    if not Path(anchor).is_file():
        raise EvaluationError(
            f"the anchor {anchor} is neither a result file nor one of the results: {', '.join(names.values())}."
        )
    return anchor


def read_results(path: PathLike) -> Results:
    """Read a result file, ours or an official one.

    Raises:
        EvaluationError: the file cannot be read or is no result file.
    """
    try:
        results = json.loads(Path(path).read_text())
    except OSError as error:
        raise EvaluationError(f"{path}: cannot read the results ({reason(error)}).") from None
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{path}: is not JSON ({error}).") from None
    try:
        for dataset, sequences in results.items():
            for name, points in sequences.items():
                for point in points.values():
                    if not isinstance(point["ave_all_frame_bpp"], float | int):
                        raise EvaluationError(f"{path}: {dataset}/{name}: ave_all_frame_bpp is no number.")
    except (AttributeError, KeyError, TypeError):
        raise EvaluationError(f"{path}: is no result file: class, sequence and rate must lead to points.") from None
    return results
