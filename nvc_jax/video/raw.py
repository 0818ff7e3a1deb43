"""Raw planar 8-bit 4:2:0 (.yuv): no header, so the size comes from the user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

import numpy as np

from nvc_jax.errors import VideoError
from nvc_jax.io.files import PathLike, atomic_output, explained
from nvc_jax.video.colour import matrix_key, matrix_name
from nvc_jax.video.frame import DEFAULT_FPS, Colour, Frame, VideoInfo, YuvFrame, check_size, frame_bytes
from nvc_jax.video.stream import VideoReader, VideoWriter


def open_raw(path: PathLike, size: tuple[int, int] | None) -> VideoReader:
    """Open a .yuv file of `size` (width, height).

    Raises:
        VideoError: the size is not given, or the file is not a whole number of such frames.
    """
    name = os.fspath(path)
    if size is None:
        raise VideoError(f"{name}: a raw .yuv file does not say its size; give `size` WxH")
    width, height = size
    check_size(width, height, name)
    per_frame = frame_bytes(width, height)
    with ExitStack() as stack:
        with explained(VideoError, f"{name}: cannot open"):
            file = stack.enter_context(open(path, "rb"))
            total = os.path.getsize(path)
        count, rest = divmod(total, per_frame)
        if rest:
            raise VideoError(
                f"{name}: {total} bytes are not a whole number of {width}x{height} 4:2:0 frames "
                f"({per_frame} bytes each); wrong `size`?"
            )
        info = VideoInfo(width, height, frames=count, notes=(f"no frame rate in the source: {DEFAULT_FPS} assumed",))
        return VideoReader(name, info, _read_frames(file, name, width, height, count), stack.pop_all())


def _read_frames(file: BinaryIO, name: str, width: int, height: int, count: int) -> Iterator[Frame]:
    size = frame_bytes(width, height)
    for index in range(count):
        data = np.fromfile(file, np.uint8, size)
        if len(data) < size:
            raise VideoError(f"{name}: ends in the middle of frame {index}; it shrank while being read")
        yield YuvFrame.from_buffer(data, width, height)


class RawWriter(VideoWriter):
    """Writes .yuv: planes without any header."""

    def __init__(self, path: PathLike, info: VideoInfo) -> None:
        super().__init__(os.fspath(path), info)
        self._file = self._resources.enter_context(atomic_output(path))
        if self.colour.full_range or matrix_key(self.colour, info.height) != matrix_key(Colour(), info.height):
            matrix = "" if self.colour.matrix is None else f" of matrix {matrix_name(self.colour.matrix)}"
            kind = "full" if self.colour.full_range else "limited"
            self.notes.append(f"a .yuv file does not say its colours: these are {kind} range{matrix}")

    def _write_yuv(self, frame: YuvFrame) -> None:
        for plane in (frame.y, frame.u, frame.v):
            self._file.write(np.ascontiguousarray(plane).data)
