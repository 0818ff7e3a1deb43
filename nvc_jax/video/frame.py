"""Frames and the metadata of the video they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from nvc_jax.errors import VideoError

MAX_SIDE = 16384  # a larger size is damage or an attack: nothing is allocated for it
DEFAULT_FPS = Fraction(30)  # of sources without a frame rate

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Colour:
    """Colour description in code points of ITU-T H.273; None is unspecified."""

    primaries: int | None = None
    transfer: int | None = None
    matrix: int | None = None
    full_range: bool | None = None
    chroma_location: str | None = None  # "left", "center" or "topleft"


@dataclass(frozen=True)
class VideoInfo:
    """Metadata that a reader has before the first frame and that a writer needs.

    Attributes:
        width: luma columns.
        height: luma rows.
        fps: frames per second, exact.
        colour: colour description, carried along unchanged.
        frames: expected number of frames; None if unknown (pipes). Containers declare or imply it, and a
            damaged or unusual one may hold fewer or more: use it for progress, never for allocation.
        has_audio: the source has sound, which is not carried.
        is_rgb: frames are RgbFrame, otherwise YuvFrame.
        notes: sentences for the user about conversions, assumptions and losses.
    """

    width: int
    height: int
    fps: Fraction = DEFAULT_FPS
    colour: Colour = field(default_factory=Colour)
    frames: int | None = None
    has_audio: bool = False
    is_rgb: bool = False
    notes: tuple[str, ...] = ()


@dataclass
class Findings:
    """Facts that a reader learns only while decoding.

    Attributes:
        frames: number of frames decoded so far.
        damaged: number of these that decoded with errors.
        transparent: a frame is not opaque, and the notes of the video do not mention it.
    """

    frames: int = 0
    damaged: int = 0
    transparent: bool = False

    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        notes = []
        if self.damaged:
            damaged = f"{self.damaged} of {self.frames} frames are damaged in the source"
            notes.append(f"{damaged}; they and frames predicted from them are used as its decoder left them")
        if self.transparent:
            notes.append("transparency is left out")
        return tuple(notes)


@dataclass(frozen=True, eq=False)
class YuvFrame:
    """8-bit 4:2:0. y: [H, W]; u, v: [ceil(H/2), ceil(W/2)]."""

    y: U8
    u: U8
    v: U8

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.y.shape[1], self.y.shape[0]

    def tobytes(self) -> bytes:
        """Concatenate the planes Y, U and V, as in a raw .yuv file."""
        return self.y.tobytes() + self.u.tobytes() + self.v.tobytes()

    @staticmethod
    def from_buffer(data: U8, width: int, height: int) -> YuvFrame:
        """Split a flat array of exactly one frame into planes, without a copy."""
        rows, columns = chroma_size(width, height)[::-1]
        luma, chroma = width * height, rows * columns
        return YuvFrame(
            data[:luma].reshape(height, width),
            data[luma : luma + chroma].reshape(rows, columns),
            data[luma + chroma :].reshape(rows, columns),
        )


@dataclass(frozen=True, eq=False)
class RgbFrame:
    """8-bit RGB. rgb: [H, W, 3]."""

    rgb: U8

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.rgb.shape[1], self.rgb.shape[0]

    def tobytes(self) -> bytes:
        """Interleave R, G and B."""
        return self.rgb.tobytes()


Frame = YuvFrame | RgbFrame


def chroma_size(width: int, height: int) -> tuple[int, int]:
    """Compute (width, height) of a 4:2:0 chroma plane."""
    return (width + 1) // 2, (height + 1) // 2


def frame_bytes(width: int, height: int) -> int:
    """Count the bytes of one 8-bit 4:2:0 frame."""
    columns, rows = chroma_size(width, height)
    return width * height + 2 * columns * rows


def check_size(width: int, height: int, name: str) -> None:
    """Refuse an impossible picture size before anything is allocated for it."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise VideoError(f"{name}: size {width}x{height} is out of range 1..{MAX_SIDE} per side")


def check_frame(frame: Frame, width: int, height: int, name: str) -> None:
    """Refuse a frame that is not 8-bit or differs from the video in size."""
    columns, rows = chroma_size(width, height)
    wanted: list[tuple[str, U8, tuple[int, ...]]]
    if isinstance(frame, RgbFrame):
        wanted = [("rgb", frame.rgb, (height, width, 3))]
    else:
        chroma = (rows, columns)
        wanted = [("y", frame.y, (height, width)), ("u", frame.u, chroma), ("v", frame.v, chroma)]
    for plane, array, shape in wanted:
        if array.shape != shape or array.dtype != np.uint8:
            found = f"{array.dtype}{list(array.shape)}"
            raise VideoError(f"{name}: plane {plane} is {found}, expected uint8{list(shape)}")
