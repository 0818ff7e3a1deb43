"""Saturation of an int16 model on real pictures, layer by layer."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.codec.store import StoredModel
from nvc_jax.models.networks import networks
from nvc_jax.ops import fixed
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD
from nvc_jax.video import Frame


@dataclasses.dataclass
class Range:
    """Range of the numbers of one layer.

    Attributes:
        values: how many numbers.
        saturated: how many of them did not fit.
        peak: the largest magnitude, as a share of what fits, in any unit.
    """

    values: int = 0
    saturated: int = 0
    peak: float = 0.0

    def add(self, x: np.ndarray) -> None:
        """Count numbers, int32 before saturation."""
        self.values += x.size
        self.saturated += int(((x < -32768) | (x > 32767)).sum())
        self.peak = max(self.peak, float(np.abs(x.astype(np.int64)).max(initial=0)) / (1 << 15))

    def merge(self, other: "Range") -> None:
        """Count what another range counted."""
        self.values += other.values
        self.saturated += other.saturated
        self.peak = max(self.peak, other.peak)


def measure_ranges(
    model: StoredModel, frames: Iterable[Frame], width: int, height: int, schedule: Schedule
) -> dict[str, Range]:
    """Code frames and look at every number: operation by operation, thus slowly.

    Args:
        model: an int16 model.
        frames: a calibration clip; a few frames tell most.
        width: of the frames.
        height: of the frames.
        schedule: qps and kinds of frames.

    Returns:
        By layer, `network/encoder_blocks_0/depthwise`. Sums and products outside of a layer are counted for the method
        of the network that makes them, `network/analyse`. The scales of `spatial_out` are left out: they only choose a
        row of a table, and scales above 16 share the last row.
    """
    codec = Codec(model, "int16", "float32")  # C++ would not show its sums
    names: dict[type[nn.Module], str] = {type(network): name for name, network in networks(model.config).items()}
    with _watched(names) as ranges:
        encoder = Encoder(
            codec, width, height, schedule, DEFAULT_SKIP_THRESHOLD, "interleaved", reconstruct=True, skip_blocks=False
        )
        for _ in encoder.packets(frames):
            pass
    return ranges


@contextlib.contextmanager
def _watched(names: dict[type[nn.Module], str]) -> Iterator[dict[str, Range]]:
    ranges: dict[str, Range] = {}
    layers = ["latents"]

    def follow(call: Callable[..., Any], inputs: Any, options: Any, context: nn.module.InterceptorContext) -> Any:
        path = context.module.path
        network = layers[1].split("/")[0] if path else names[type(context.module)]
        layers.append("/".join([network, *(path or [context.method_name])]))
        try:
            return call(*inputs, **options)
        finally:
            layers.pop()

    def look(x: jax.Array, part: str) -> None:
        if layers[-1].endswith("/spatial_out"):
            x = x[..., x.shape[-1] // 2 :]  # without scales
        ranges.setdefault("/".join(filter(None, (layers[-1], part))), Range()).add(np.asarray(x))

    fixed.observers.append(look)
    try:
        with jax.disable_jit(), nn.intercept_methods(follow):  # type: ignore[no-untyped-call]
            yield ranges
    finally:
        fixed.observers.remove(look)
