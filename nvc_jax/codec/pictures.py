"""Pictures between host and device."""

import dataclasses
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from jax import Array

from nvc_jax.codec import stages
from nvc_jax.codec.transfer import to_host
from nvc_jax.video import Frame, RgbFrame, YuvFrame

HostFrame = TypeVar("HostFrame", YuvFrame, RgbFrame)


def upload(frames: Sequence[Frame]) -> Array:
    """The frames of a packet, of one kind, as pictures [1, T, H', W', 3].

    Planes are copied: JAX may read NumPy memory later, when the caller has already put the next frame into it.
    """
    rgb = [frame.rgb for frame in frames if isinstance(frame, RgbFrame)]
    if rgb:
        return stages.pictures_from_rgb(np.stack(rgb))
    planes = [(frame.y, frame.u, frame.v) for frame in frames if isinstance(frame, YuvFrame)]
    return stages.pictures_from_planes(*map(np.stack, zip(*planes, strict=True)))


@dataclasses.dataclass(frozen=True)
class Download(Generic[HostFrame]):
    """The frames of a packet on their way to the host."""

    kind: type[HostFrame]
    arrays: tuple[Array, ...]

    def __post_init__(self) -> None:
        for array in self.arrays:
            array.copy_to_host_async()

    def wait(self) -> list[HostFrame]:
        """The frames."""
        return [self.kind(*planes) for planes in zip(*map(to_host, self.arrays), strict=True)]


def download_planes(pictures: Array, width: int, height: int) -> Download[YuvFrame]:
    """Start copying pictures [1, T, H', W', 3], cropped, as 8-bit planes."""
    return Download(YuvFrame, stages.planes_from_pictures(pictures, width, height))


def download_rgb(pictures: Array, width: int, height: int) -> Download[RgbFrame]:
    """Start copying pictures [1, T, H', W', 3], cropped, as 8-bit RGB."""
    return Download(RgbFrame, (stages.rgb_from_pictures(pictures, width, height),))
