"""Quantise a model directory to int16 (docs/INT16.md), and report saturation."""

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

CALIBRATION_PACKETS = 3  # a start, and from then on one from pictures and one from a feature, in either order
CALIBRATION_QPS = (0, QP_LEVELS - 1)


@dataclasses.dataclass(frozen=True)
class Int16Report:
    """Clamped parameters and saturated layers of an int16 model.

    Attributes:
        clamped: number of clamped values by parameter.
        ranges: ranges of activations by layer, if there were calibration clips.
    """

    clamped: dict[str, int]
    ranges: dict[str, Range]

    @property
    def saturated(self) -> dict[str, Range]:
        """Layers with saturated activations."""
        return {name: found for name, found in self.ranges.items() if found.saturated}

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dictionary for JSON."""
        ranges = {name: dataclasses.asdict(found) for name, found in self.ranges.items()}
        return {"clamped_parameters": self.clamped, "saturated_layers": list(self.saturated), "layers": ranges}

    def sentences(self) -> list[str]:
        """Describe the report in sentences."""
        lines = [f"{name}: {count} values are clamped" for name, count in self.clamped.items()]
        lines += [
            f"{name}: {found.saturated} of {found.values} activations saturate "
            f"(the largest takes {found.peak:.0%} of the range)"
            for name, found in self.saturated.items()
        ]
        if self.ranges and not self.saturated:
            name = max(self.ranges, key=lambda layer: self.ranges[layer].peak)
            lines.append(
                f"all activations of {len(self.ranges)} layers fit; the largest takes {self.ranges[name].peak:.0%} of "
                f"the range, in {name}"
            )
        return lines


def convert_to_int16(
    model: str | Path, folder: Path, clips: Iterable[str | Path] = ()
) -> tuple[StoredModel, Int16Report]:
    """Quantise a model to int16 and save it.

    Args:
        model: a packaged model by name, or a model directory.
        folder: the directory to make.
        clips: calibration videos; coding their first frames measures the ranges of activations.

    Raises:
        ModelError: the model does not exist, or its accumulators cannot be bounded.
        VideoError: a clip cannot be read.
        OutputError: the directory cannot be written.
    """
    integers = integerise(load_model(model))
    pictures, ranges = integers.config.pictures, dict[str, Range]()
    for clip in clips:
        for qp in CALIBRATION_QPS:
            schedule = Schedule(qp, qp, reset_interval=2 * pictures)
            with open_video(clip, frames=CALIBRATION_PACKETS * pictures) as reader:
                found = measure_ranges(integers, reader, reader.info.width, reader.info.height, schedule)
            for name, one in found.items():
                ranges.setdefault(name, Range()).merge(one)
    save_model(folder, integers)
    return integers, Int16Report(clamped_parameters(integers), ranges)
