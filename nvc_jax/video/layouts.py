"""Convert frames decoded by FFmpeg to 8-bit 4:2:0 or RGB, and check that a video keeps one format."""

from __future__ import annotations

import av
import numpy as np
from av.video.plane import VideoPlane

from nvc_jax.errors import VideoError
from nvc_jax.video.colour import matrix_key, matrix_name
from nvc_jax.video.frame import U8, Colour, Findings, Frame, RgbFrame, YuvFrame, chroma_size
from nvc_jax.video.timeline import Times
from nvc_jax.video.track_header import Window

UNSPECIFIED = 2  # H.273 code of primaries, transfer and matrix
_MAX_DELAY = 16  # frames that a decoder holds back to reorder them, as many as H.264 and HEVC allow
_BT709 = 1  # any matrix that swscale knows: none is applied where source and destination agree
_RANGE = {1: False, 2: True}
_RANGE_CODE = {False: 1, True: 2}


def reason_of(error: av.FFmpegError) -> str:
    """Quote FFmpeg's error message."""
    return (error.strerror or type(error).__name__).lower()


def is_rgb(frame: av.VideoFrame) -> bool:
    """Tell whether a frame becomes an RgbFrame."""
    return frame.format.is_rgb or frame.format.has_palette


def is_subsampled(frame: av.VideoFrame) -> bool:
    """Tell whether chroma is 4:2:0 already, so that its location is kept."""
    return frame.format.name.startswith(("yuv420p", "yuvj420p", "yuva420p", "nv12", "nv21", "p010", "p012", "p016"))


def has_alpha(frame: av.VideoFrame) -> bool:
    """Tell whether a pixel format can hold transparency."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def _is_grey(frame: av.VideoFrame) -> bool:
    return not is_rgb(frame) and sum(not component.is_alpha for component in frame.format.components) == 1


def colour_of(frame: av.VideoFrame) -> Colour:
    """Read the colour description of a frame, without chroma location; grey defaults to full range."""
    codes = (frame.color_primaries, frame.color_trc, 0 if is_rgb(frame) else frame.colorspace)
    primaries, transfer, matrix = (None if code == UNSPECIFIED or not code else int(code) for code in codes)
    full = _RANGE.get(int(frame.color_range))
    if full is None and (_is_grey(frame) or frame.format.name.startswith("yuvj")):
        full = True
    return Colour(primaries, transfer, matrix, full)


def convert(frame: av.VideoFrame) -> Frame:
    """Convert a decoded frame to 8-bit 4:2:0 or RGB."""
    if is_rgb(frame):
        return RgbFrame(np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
    if _is_grey(frame):
        y = _plane(frame if frame.format.name == "gray" else _reformat(frame, "gray"), 0)
        columns, rows = chroma_size(frame.width, frame.height)
        neutral = np.full((rows, columns), 128, np.uint8)
        return YuvFrame(y, neutral, neutral)
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = _reformat(frame, "yuv420p")
    return YuvFrame(_plane(frame, 0), _plane(frame, 1), _plane(frame, 2))


def _reformat(frame: av.VideoFrame, layout: str) -> av.VideoFrame:
    """Change the pixel format, not the matrix or range."""
    range_ = _RANGE_CODE[bool(colour_of(frame).full_range)]
    return frame.reformat(
        format=layout,
        src_colorspace=_BT709,
        dst_colorspace=_BT709,
        src_color_range=range_,
        dst_color_range=range_,
    )


def _plane(frame: av.VideoFrame, index: int) -> U8:
    return pixels(frame.planes[index]).copy()  # the decoder reuses its memory


def pixels(plane: VideoPlane) -> U8:
    """View the visible part of a plane's memory as [H, W]."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def can_crop(frame: av.VideoFrame, window: Window) -> bool:
    """Tell whether a window is aligned to chroma samples, as cropping 4:2:0 needs."""
    return is_rgb(frame) or (window.left % 2 == 0 and window.top % 2 == 0)


def crop(frame: Frame, window: Window) -> Frame:
    """Crop a frame to a window."""

    def part(plane: U8, factor: int) -> U8:
        rows = slice(window.top // factor, -(-(window.top + window.height) // factor))
        return np.ascontiguousarray(plane[rows, window.left // factor : -(-(window.left + window.width) // factor)])

    if isinstance(frame, RgbFrame):
        return RgbFrame(part(frame.rgb, 1))
    return YuvFrame(part(frame.y, 1), part(frame.u, 2), part(frame.v, 2))


class Watch:
    """Checks that every frame has the format of the first, and keeps findings."""

    def __init__(self, first: av.VideoFrame, name: str, said_transparent: bool, damaged: Times) -> None:
        self.findings = Findings()
        self._name = name
        self._layout, self._size = first.format.name, (first.width, first.height)
        self._colour = colour_of(first)
        self._looks_at_alpha = has_alpha(first) and not said_transparent
        self._early = 0
        self._damaged = frozenset(damaged.tolist())  # timestamps

    def see(self, frame: av.VideoFrame) -> None:
        """Check the next frame.

        Raises:
            VideoError: its size, pixel format or colour description differs from the first.
        """
        index = self.findings.frames
        if (frame.width, frame.height) != self._size or frame.format.name != self._layout:
            found = f"{frame.width}x{frame.height} {frame.format.name}"
            began = f"{self._size[0]}x{self._size[1]} {self._layout}"
            raise VideoError(f"{self._name}: frame {index} is {found}, but the first is {began}; cut it there")
        difference = _difference(colour_of(frame), self._colour, frame.height)
        # FFmpeg gives frames that wait for their turn the colours of the key frame behind them.
        self._early = self._early + 1 if difference and not frame.key_frame else 0
        if difference and not 0 < self._early <= _MAX_DELAY:
            found, began = difference
            raise VideoError(f"{self._name}: frame {index} is {found}, but the first is {began}; cut it there")
        self.findings.frames += 1
        self.findings.damaged += self._is_damaged(frame)
        if self._looks_at_alpha and is_transparent(frame):
            self.findings.transparent, self._looks_at_alpha = True, False

    def pass_over(self, frame: av.VideoFrame) -> None:
        """Count damage in a frame that is decoded only as a reference."""
        self.findings.frames += self._is_damaged(frame)
        self.findings.damaged += self._is_damaged(frame)

    def _is_damaged(self, frame: av.VideoFrame) -> bool:
        return frame.is_corrupt or frame.pts in self._damaged


def _difference(found: Colour, began: Colour, height: int) -> tuple[str, str] | None:
    """Describe a change of colours between two descriptions, with defaults for unspecified values."""
    if bool(found.full_range) != bool(began.full_range):
        ranges = ("limited range", "full range")
        return ranges[bool(found.full_range)], ranges[bool(began.full_range)]
    if matrix_key(found, height) != matrix_key(began, height):
        return f"in the matrix {matrix_name(found.matrix)}", f"in {matrix_name(began.matrix)}"
    for what in ("primaries", "transfer"):
        new, old = getattr(found, what), getattr(began, what)
        if new and old and new != old:
            return f"of other {what} ({new} in H.273)", f"of {old}"
    return None


def is_transparent(frame: av.VideoFrame) -> bool:
    """Tell whether a frame has a pixel that is not opaque."""
    if not has_alpha(frame):
        return False
    try:
        rgba = frame.to_ndarray(format="rgba", src_colorspace=_BT709, dst_colorspace=_BT709)
    except (av.FFmpegError, OSError):
        return True
    return bool(np.asarray(rgba)[..., 3].min() < 255)
