"""Arrays of the caller to frames, and back."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from nvc_jax.codec.decoder import DecodedFrame
from nvc_jax.errors import ConfigError, VideoError
from nvc_jax.video import Colour, Frame, RgbFrame, YuvFrame, yuv_to_rgb

Output = Literal["rgb", "planes"]


class Planes(NamedTuple):
    """8-bit 4:2:0 planes of one picture, or with T in front of a clip.

    Attributes:
        y: [H, W] uint8.
        u: [ceil(H/2), ceil(W/2)] uint8.
        v: like u.
    """

    y: npt.NDArray[np.uint8]
    u: npt.NDArray[np.uint8]
    v: npt.NDArray[np.uint8]


Picture: TypeAlias = Any  # [H, W, 3] uint8 RGB, (y, u, v) planes, or a frame of nvc_jax.video
Pictures: TypeAlias = npt.NDArray[np.uint8] | Planes

_WANTED = "give uint8 RGB [T, H, W, 3], a tuple of planes (y, u, v), or an iterable of pictures"


def frames_of(clip: Any) -> Iterator[Frame]:
    """The frames of a clip.

    Args:
        clip: [T, H, W, 3] uint8 RGB; a tuple of three planes y [T, H, W], u and v [T, ceil(H/2), ceil(W/2)], uint8; or
            an iterable of pictures as `frame_of` takes them. NumPy or JAX.

    Raises:
        VideoError: it is none of these; for an iterable, when the picture comes.
    """
    if isinstance(clip, tuple):
        return _frames_of_planes(clip)
    if _is_array(clip):
        array = _checked(clip, 4, f"the frames are {_described(clip)}; {_WANTED}")
        return (RgbFrame(picture) for picture in array)
    if isinstance(clip, Iterable) and not isinstance(clip, str | bytes):
        return (frame_of(picture, number) for number, picture in enumerate(clip))
    raise VideoError(f"the frames are of type {type(clip).__name__}; {_WANTED}.")


def frame_of(picture: Picture, number: int) -> Frame:
    """One picture: [H, W, 3] uint8 RGB, a tuple of planes (y, u, v), or a frame; number: for messages.

    Raises:
        VideoError: it is none of these.
    """
    if isinstance(picture, YuvFrame | RgbFrame):
        return picture
    if isinstance(picture, tuple) and len(picture) == 3 and all(map(_is_array, picture)):
        return YuvFrame(*map(np.asarray, picture))
    wanted = "give uint8 RGB [H, W, 3] or a tuple of planes (y, u, v)"
    return RgbFrame(_checked(picture, 3, f"frame {number} is {_described(picture)}; {wanted}"))


def copied(frame: Frame) -> Frame:
    """The frame in memory of its own, so that the caller may reuse its own."""
    return type(frame)(*(np.array(plane) for plane in vars(frame).values()))


def check_output(output: Output) -> None:
    """Check the form of decoded pictures.

    Raises:
        ConfigError: it is unknown.
    """
    if output not in get_args(Output):
        raise ConfigError(f"unknown output {output!r}; available: {', '.join(get_args(Output))}.")


def picture_of(frame: DecodedFrame, output: Output, colour: Colour) -> Pictures:
    """A decoded picture in RGB [H, W, 3] or as planes; colour: description of the planes."""
    if output == "planes":
        return Planes(frame.planes.y, frame.planes.u, frame.planes.v)
    return (yuv_to_rgb(frame.planes, colour) if frame.rgb is None else frame.rgb).rgb


def stacked(pictures: list[Pictures]) -> Pictures:
    """Pictures of one kind, with T in front."""
    if isinstance(pictures[0], Planes):
        return Planes(*(np.stack(planes) for planes in zip(*pictures, strict=True)))
    return np.stack(pictures)


def _frames_of_planes(planes: tuple[Any, ...]) -> Iterator[Frame]:
    found = ", ".join(map(_described, planes))
    if len(planes) != 3 or not all(map(_is_array, planes)):
        raise VideoError(f"a tuple stands for planes (y, u, v), and this one has {found}; give other frames as a list.")
    arrays = [np.asarray(plane) for plane in planes]
    if any(array.ndim != 3 or array.dtype != np.uint8 for array in arrays) or len({len(array) for array in arrays}) > 1:
        raise VideoError(f"the planes are {found}; give uint8 y [T, H, W], u and v [T, ceil(H/2), ceil(W/2)].")
    return (YuvFrame(*members) for members in zip(*arrays, strict=True))


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _checked(value: Any, axes: int, message: str) -> npt.NDArray[np.uint8]:
    """An RGB array with so many axes."""
    if not _is_array(value):
        raise VideoError(f"{message}.")
    if np.issubdtype(value.dtype, np.floating):
        raise VideoError(f"{message} (from 0..1: `(255 * x).round().astype('uint8')`).")
    if value.dtype != np.uint8 or value.ndim != axes or value.shape[-1] != 3:
        raise VideoError(f"{message}.")
    return np.asarray(value)


def _described(value: Any) -> str:
    if not _is_array(value):
        return f"of type {type(value).__name__}"
    return f"{value.dtype}{list(value.shape)}"
