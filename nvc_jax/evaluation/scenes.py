"""Sequences made of clips: spliced, so that scenes change, or one forwards and backwards, so that it never ends."""

import dataclasses
import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from nvc_jax.demo.sequence import demo_sequence
from nvc_jax.errors import ConfigError, VideoError
from nvc_jax.video import Frame, VideoInfo, YuvFrame, create_video, open_video

FPS = Fraction(30)


@dataclasses.dataclass(frozen=True)
class Scenes:
    """A sequence.

    Attributes:
        frames: all of one size.
        sources: of each frame, the number of the clip and of the frame in it.
    """

    frames: tuple[YuvFrame, ...]
    sources: tuple[tuple[int, int], ...]

    @property
    def cuts(self) -> tuple[int, ...]:
        """First frame of every clip but the first."""
        clips = [clip for clip, _ in self.sources]
        return tuple(t for t in range(1, len(clips)) if clips[t] != clips[t - 1])

    def write(self, path: Path) -> Path:
        """Write it as a video."""
        with create_video(path, VideoInfo(*self.frames[0].size, FPS, frames=len(self.frames))) as writer:
            for frame in self.frames:
                writer.write(frame)
        return path


def spliced(clips: Sequence[Sequence[YuvFrame]], pictures: int) -> Scenes:
    """So many pictures of each clip in a row: borders of larger clips are cut, shorter ones go back and forth."""
    sizes = [clip[0].size for clip in clips]
    width, height = (min(sides) for sides in zip(*sizes, strict=True))
    sources = [(number, index) for number, clip in enumerate(clips) for index in back_and_forth(len(clip), pictures)]
    return Scenes(tuple(_cropped(clips[number][index], width, height) for number, index in sources), tuple(sources))


def back_and_forth(length: int, count: int) -> list[int]:
    """Numbers of `count` frames of a clip that is played forwards and backwards."""
    once = [*range(length), *range(length - 2, 0, -1)]
    return list(itertools.islice(itertools.cycle(once), count))


def read_clip(path: Path, most: int) -> list[YuvFrame]:
    """Read the first frames of a video.

    Raises:
        VideoError: it cannot be read, or is not YUV.
    """
    with open_video(path, frames=most) as reader:
        frames: list[Frame] = list(reader)
    yuv = [frame for frame in frames if isinstance(frame, YuvFrame)]
    if len(yuv) < len(frames) or not frames:
        raise VideoError(f"{path}: has no frames in YUV; scenes are spliced from YUV videos.")
    return yuv


def demo_clips(count: int, pictures: int, size: tuple[int, int]) -> list[list[YuvFrame]]:
    """Clips that need no download: parts of the demonstration, every second one upside down, and then mirrored.

    Raises:
        ConfigError: scikit-image is not installed, or a number is out of range.
    """
    if not 1 <= count <= 8:
        raise ConfigError(f"{count} scenes are to be made; it must be from 1 to 8.")
    _, frames = demo_sequence(*size, count * pictures)
    return [[_turned(frame, number) for frame in itertools.islice(frames, pictures)] for number in range(count)]


def _turned(frame: YuvFrame, number: int) -> YuvFrame:
    rows, columns = (slice(None, None, -1 if number & bit else 1) for bit in (1, 2))
    return YuvFrame(*(np.ascontiguousarray(plane[rows, columns]) for plane in (frame.y, frame.u, frame.v)))


def _cropped(frame: YuvFrame, width: int, height: int) -> YuvFrame:
    """Cut out the middle; even offsets keep chroma in place."""
    left, top = ((have - want) // 4 for have, want in zip(frame.size, (width, height), strict=True))
    rows, columns = slice(2 * top, 2 * top + height), slice(2 * left, 2 * left + width)
    chroma = slice(top, top + (height + 1) // 2), slice(left, left + (width + 1) // 2)
    return YuvFrame(frame.y[rows, columns], frame.u[chroma], frame.v[chroma])
