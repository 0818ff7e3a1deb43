"""A model directory to an int16 model directory (docs/INT16.md), with a look at what does not fit."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nvc_jax.codec.integers import clamped_parameters, integerise
from nvc_jax.codec.saturation import Range, measure_ranges
from nvc_jax.codec.schedule import Schedule
from nvc_jax.codec.store import StoredModel, load_model, save_model
from nvc_jax.spec import QP_LEVELS
from nvc_jax.video import open_video

CALIBRATION_FRAMES = 3  # an intra frame, an inter frame from its picture, and one from what that leaves behind
CALIBRATION_QPS = (0, QP_LEVELS - 1)


@dataclasses.dataclass(frozen=True)
class Int16Report:
    """What does not fit int16.

    Attributes:
        clamped: number of values at the end of their range, by parameter.
        ranges: what the layers computed, if there were clips to see.
    """

    clamped: dict[str, int]
    ranges: dict[str, Range]

    @property
    def saturated(self) -> dict[str, Range]:
        """The layers whose numbers did not fit."""
        return {name: found for name, found in self.ranges.items() if found.saturated}

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON."""
        ranges = {name: dataclasses.asdict(found) for name, found in self.ranges.items()}
        return {"clamped_parameters": self.clamped, "saturated_layers": list(self.saturated), "layers": ranges}

    def sentences(self) -> list[str]:
        """For people."""
        lines = [f"{name}: {count} values are clamped" for name, count in self.clamped.items()]
        lines += [
            f"{name}: {found.saturated} of {found.values} numbers do not fit "
            f"(the largest takes {found.peak:.0%} of the range)"
            for name, found in self.saturated.items()
        ]
        if self.ranges and not self.saturated:
            name = max(self.ranges, key=lambda layer: self.ranges[layer].peak)
            lines.append(
                f"all numbers of {len(self.ranges)} layers fit; the largest takes {self.ranges[name].peak:.0%} of the "
                f"range, in {name}"
            )
        return lines


def convert_to_int16(
    model: str | Path, folder: Path, clips: Iterable[str | Path] = ()
) -> tuple[StoredModel, Int16Report]:
    """Make the int16 model of a model and save it.

    Args:
        model: a packaged model by name, or a model directory.
        folder: the directory to make.
        clips: videos whose first frames are coded to see whether all numbers fit.

    Raises:
        ModelError: there is no such model, or its sums cannot be bounded.
        VideoError: a clip cannot be read.
        OutputError: the directory cannot be written.
    """
    integers = integerise(load_model(model))
    ranges: dict[str, Range] = {}
    for clip in clips:
        for qp in CALIBRATION_QPS:
            with open_video(clip, frames=CALIBRATION_FRAMES) as reader:
                found = measure_ranges(integers, reader, reader.info.width, reader.info.height, Schedule(qp, qp))
            for name, one in found.items():
                ranges.setdefault(name, Range()).merge(one)
    save_model(folder, integers)
    return integers, Int16Report(clamped_parameters(integers), ranges)
