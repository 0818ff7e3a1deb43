"""Pictures between host and device."""

import dataclasses
from typing import Generic, TypeVar

import numpy as np
from jax import Array

from nvc_jax.codec import stages
from nvc_jax.codec.transfer import to_host
from nvc_jax.video import Frame, RgbFrame, YuvFrame

HostFrame = TypeVar("HostFrame", YuvFrame, RgbFrame)


def upload(frame: Frame) -> Array:
    """A frame as the codec's picture [1, H', W', 3].

    Planes are copied first: JAX may read NumPy memory later, when the caller has already put the next frame into it.
    """
    if isinstance(frame, RgbFrame):
        return stages.picture_from_rgb(np.array(frame.rgb)[None])
    y, u, v = (np.array(plane)[None] for plane in (frame.y, frame.u, frame.v))
    return stages.picture_from_planes(y, u, v)


@dataclasses.dataclass(frozen=True)
class Download(Generic[HostFrame]):
    """A frame on its way to the host."""

    kind: type[HostFrame]
    arrays: tuple[Array, ...]

    def __post_init__(self) -> None:
        for array in self.arrays:
            array.copy_to_host_async()

    def wait(self) -> HostFrame:
        """The frame."""
        return self.kind(*(to_host(array)[0] for array in self.arrays))


def download_planes(picture: Array, width: int, height: int) -> Download[YuvFrame]:
    """Start copying a picture [1, H', W', 3], cropped, as 8-bit planes."""
    return Download(YuvFrame, stages.planes_from_picture(picture, width, height))


def download_rgb(picture: Array, width: int, height: int) -> Download[RgbFrame]:
    """Start copying a picture [1, H', W', 3], cropped, as 8-bit RGB."""
    return Download(RgbFrame, (stages.rgb_from_picture(picture, width, height),))
