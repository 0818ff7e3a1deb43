"""Read and write video files one frame at a time, as 8-bit 4:2:0 or RGB. Never imports JAX."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from nvc_jax.errors import OutputError, VideoError
from nvc_jax.io.files import STDIO, PathLike, explained
from nvc_jax.video.colour import BT709, coded_colour, rgb_to_yuv, yuv_to_rgb
from nvc_jax.video.container import open_container
from nvc_jax.video.container_writer import FORMATS, ContainerWriter
from nvc_jax.video.frame import (
    Colour,
    Frame,
    RgbFrame,
    VideoInfo,
    YuvFrame,
    check_frame,
    check_size,
    chroma_size,
    frame_bytes,
)
from nvc_jax.video.png import SIGNATURE, PictureWriter, is_animated, is_pattern, open_pictures, read_png, write_png
from nvc_jax.video.raw import RawWriter, open_raw
from nvc_jax.video.stream import VideoReader, VideoWriter
from nvc_jax.video.timeline import TrackIndex
from nvc_jax.video.y4m import MAGIC, UnsupportedLayoutError, Y4mWriter, open_y4m

__all__ = [
    "BT709",
    "Colour",
    "Frame",
    "RgbFrame",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "YuvFrame",
    "check_exists",
    "check_frame",
    "chroma_size",
    "coded_colour",
    "create_video",
    "frame_bytes",
    "open_video",
    "read_png",
    "read_window",
    "rgb_to_yuv",
    "write_png",
    "yuv_to_rgb",
]


def open_video(
    path: PathLike,
    *,
    size: tuple[int, int] | None = None,
    fps: Fraction | None = None,
    frames: int | None = None,
    track: int | None = None,
) -> VideoReader:
    """Open a video for reading.

    Args:
        path: a .y4m, .yuv or PNG file, a folder of PNGs, a pattern like `frames/%05d.png`, `-` for y4m on
            standard input, or any file that FFmpeg reads.
        size: (width, height). Required for .yuv, checked for other files.
        fps: overrides the source's frame rate.
        frames: read at most this many.
        track: video track, from 0, of a file that FFmpeg reads; by default the one it prefers.

    Raises:
        VideoError: the path is not a video that can be read.
    """
    if fps is not None and fps <= 0:
        raise VideoError(f"{os.fspath(path)}: frame rate {fps} is not positive")
    reader = _open(path, size, fps=fps, frames=frames, track=track)
    try:
        if size is not None and size != (reader.info.width, reader.info.height):
            found = f"{reader.info.width}x{reader.info.height}"
            raise VideoError(f"{reader.name}: is {found}, not {size[0]}x{size[1]}; wrong `size`?")
        if track is not None and reader.index is None:
            raise VideoError(f"{reader.name}: has no tracks to choose from; leave out `track`")
        if fps is not None:
            notes = tuple(note for note in reader.info.notes if not note.startswith("no frame rate"))
            reader.info = replace(reader.info, fps=Fraction(fps), notes=notes)
        return reader.limit(frames)
    except BaseException:
        reader.close()
        raise


def read_window(path: PathLike, start: int, count: int, index: TrackIndex | None = None) -> list[Frame]:
    """Read up to `count` frames from frame `start` on, fewer at the end of the video.

    Args:
        path: the video.
        start: number of the first frame.
        count: the number of frames.
        index: `VideoReader.index` of an earlier reader of the video, to skip scanning it again.

    Raises:
        VideoError: the frames do not exist, cannot be read or are damaged.
    """
    with _open(path, None, index=index) as reader:
        reader.skip(start)
        frames = list(itertools.islice(reader, count))
        if reader.findings.damaged:
            raise VideoError(f"{reader.name}: frames are damaged from frame {start} to {start + len(frames) - 1}")
        return frames


def check_exists(path: PathLike) -> None:
    """Refuse a missing source before any work.

    Raises:
        VideoError: the source does not exist.
    """
    if os.fspath(path) != STDIO and not os.path.exists(path) and not is_pattern(path):
        raise VideoError(f"{os.fspath(path)}: no such file")


def _open(
    path: PathLike,
    size: tuple[int, int] | None,
    *,
    fps: Fraction | None = None,
    frames: int | None = None,
    track: int | None = None,
    index: TrackIndex | None = None,
) -> VideoReader:
    name = os.fspath(path)
    place = Path(path)
    if name == STDIO:
        return open_y4m(STDIO)
    check_exists(path)
    if is_pattern(path) and not os.path.exists(place):
        return open_pictures(path)
    with explained(VideoError, f"{name}: cannot open"):
        if os.path.isdir(place):
            return open_pictures(path)
        if not os.path.isfile(place):
            return open_y4m(path)  # a named pipe
        if not place.stat().st_size:
            raise VideoError(f"{name}: is empty")
        with open(place, "rb") as file:
            head = file.read(len(MAGIC))
    suffix = place.suffix.lower()
    if suffix == ".yuv":
        return open_raw(path, size)
    if (suffix == ".png" or head.startswith(SIGNATURE)) and not is_animated(path):
        return open_pictures(path)
    if suffix != ".y4m" and head != MAGIC:
        return open_container(path, track=track, fps=fps, frames=frames, index=index)
    try:
        return open_y4m(path)
    except UnsupportedLayoutError as error:
        # FFmpeg reads it, and `convert` makes it 8-bit 4:2:0.
        reader = open_container(path, track=track, fps=error.info.fps, frames=frames, index=index)
        colour = replace(reader.info.colour, matrix=error.info.colour.matrix)
        notes = tuple(dict.fromkeys([*reader.info.notes, *error.info.notes]))
        reader.info = replace(reader.info, colour=colour, notes=notes)
        return reader


def create_video(path: PathLike, info: VideoInfo) -> VideoWriter:
    """Open a video for writing; use it in a `with` block. The output appears if the block succeeds.

    Args:
        path: `.y4m`, `.yuv`, `.mp4`, `.m4v`, `.mov`, `.mkv`, `.webm`; a folder (a path without a suffix, or
            ending in `/`) or a pattern like `out/%05d.png` for PNGs; `-` for y4m on standard output.
        info: size, frame rate and colour description of the frames to come.

    Raises:
        VideoError: the size or the file format is not supported.
        OutputError: the output cannot be made.
    """
    name = os.fspath(path)
    place = Path(path)
    check_size(info.width, info.height, name)
    if info.fps <= 0:
        raise VideoError(f"{name}: frame rate {info.fps} is not positive")
    suffix = place.suffix.lower()
    special = os.path.exists(place) and not os.path.isfile(place) and not os.path.isdir(place)
    if name == STDIO or special or suffix == ".y4m":
        return Y4mWriter(path, info)
    if os.path.isdir(place) or name.endswith(("/", os.sep)) or suffix == ".png":
        return PictureWriter(path, info)
    if not suffix:
        if os.path.exists(place):
            raise OutputError(f"{name}: is a file without a suffix; name a folder for PNGs, or add .y4m")
        return PictureWriter(path, info)
    if suffix == ".yuv":
        return RawWriter(path, info)
    if suffix in FORMATS:
        return ContainerWriter(path, info)
    known = " ".join((".y4m", ".yuv", ".png", *FORMATS))
    raise VideoError(f"{name}: cannot write {suffix} files; use one of {known}, or a folder for PNGs")
