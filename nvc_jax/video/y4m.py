"""Read and write YUV4MPEG2 (.y4m), 8-bit 4:2:0, from and to files and pipes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from nvc_jax.errors import VideoError
from nvc_jax.io.files import STDIO, PathLike, atomic_output, explained
from nvc_jax.video.colour import matrix_key, matrix_name
from nvc_jax.video.frame import DEFAULT_FPS, U8, Colour, Frame, VideoInfo, YuvFrame, check_size, frame_bytes
from nvc_jax.video.stream import VideoReader, VideoWriter

MAGIC = b"YUV4MPEG2"

MATRIX = "NVC_MATRIX"  # our tag for the H.273 matrix code, which y4m lacks; other programs ignore it
_LINE_LIMIT = 4096  # bytes of a header line; real ones are under 100
_CHROMA = {"420": None, "420jpeg": "center", "420mpeg2": "left", "420paldv": "topleft"}
_CHROMA_TAG = {location: tag for tag, location in _CHROMA.items()}
_RANGE = {"FULL": True, "LIMITED": False}


class UnsupportedLayoutError(VideoError):
    """A y4m stream other than 8-bit 4:2:0, which FFmpeg may still convert.

    Attributes:
        info: the parsed header.
    """

    def __init__(self, message: str, info: VideoInfo) -> None:
        super().__init__(message)
        self.info = info


def open_y4m(path: PathLike) -> VideoReader:
    """Open a .y4m file, a named pipe, or standard input (`-`).

    Raises:
        UnsupportedLayoutError: the layout is not 8-bit 4:2:0.
        VideoError: the input is not y4m, or its header is damaged.
    """
    with ExitStack() as stack:
        if os.fspath(path) == STDIO:
            name, file, size = "standard input", sys.stdin.buffer, None
        else:
            name = os.fspath(path)
            with explained(VideoError, f"{name}: cannot open"):
                file = stack.enter_context(open(path, "rb"))
            size = os.path.getsize(path) if os.path.isfile(path) else None
        with explained(VideoError, f"{name}: cannot read"):
            header = file.readline(_LINE_LIMIT)
        info = _parse_header(header, name)
        if size is not None:
            count, rest = divmod(size - len(header), frame_bytes(info.width, info.height) + len(b"FRAME\n"))
            if not rest:
                info = VideoInfo(info.width, info.height, info.fps, info.colour, count, notes=info.notes)
        frames = _read_frames(file, name, info.width, info.height)
        return VideoReader(name, info, frames, stack.pop_all())


def _parse_header(line: bytes, name: str) -> VideoInfo:
    if not line:
        raise VideoError(f"{name}: is empty")
    tokens = line.decode("latin-1").split()
    if not line.startswith(MAGIC) or tokens[0] != MAGIC.decode():
        raise VideoError(f"{name}: is not y4m (it does not start with {MAGIC.decode()})")
    if not line.endswith(b"\n"):
        raise VideoError(f"{name}: the y4m header is cut or longer than {_LINE_LIMIT} bytes")
    tags = {token[0]: token[1:] for token in tokens[1:] if token[0] != "X"}
    extra = dict(token[1:].split("=", 1) for token in tokens[1:] if token[0] == "X" and "=" in token)
    width, height = (_integer(tags.get(tag, ""), f"{name}: y4m header, {what}") for tag, what in _SIDES)
    check_size(width, height, name)
    layout = tags.get("C", extra.get("YSCSS", "420").lower())  # some programs write only the latter
    if "C" not in tags and layout == "420":
        layout = "420jpeg"
    notes = []
    rate = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", tags.get("F", "0:0"))
    if rate is None:
        raise VideoError(f"{name}: y4m header, frame rate F{tags['F']} is not of the form F30000:1001")
    if int(rate[1]) and int(rate[2]):
        fps = Fraction(int(rate[1]), int(rate[2]))
    else:
        fps = DEFAULT_FPS
        notes.append(f"no frame rate in the source: {fps} assumed")
    if tags.get("I", "p")[:1] in ("t", "b", "m"):
        notes.append("the source is interlaced: its fields are coded together, as progressive frames")
    if tags.get("A", "0:0") not in ("0:0", "1:1"):
        notes.append(f"the pixel aspect ratio {tags['A']} is not carried")
    matrix = extra.get(MATRIX, "")
    colour = Colour(
        matrix=int(matrix) if re.fullmatch(r"[0-9]{1,3}", matrix) else None,
        full_range=_RANGE.get(extra.get("COLORRANGE", "")),
        chroma_location=_CHROMA.get(layout),
    )
    info = VideoInfo(width, height, fps, colour, notes=tuple(notes))
    if layout not in _CHROMA:
        raise UnsupportedLayoutError(
            f"{name}: y4m layout C{layout} is not 8-bit 4:2:0; convert it, e.g. with ffmpeg -pix_fmt yuv420p", info
        )
    return info


_SIDES = (("W", "width W"), ("H", "height H"))


def _integer(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise VideoError(f"{where}{text} is not a number")
    return int(text)


def _read_frames(file: BinaryIO, name: str, width: int, height: int) -> Iterator[Frame]:
    size = frame_bytes(width, height)
    index = 0
    while line := file.readline(_LINE_LIMIT):
        whole = line.endswith(b"\n")
        if not whole and b"FRAME".startswith(line[:5]):
            raise _cut(name, index)
        if not whole or line.split(None, 1)[:1] != [b"FRAME"]:
            raise VideoError(f"{name}: frame {index} does not start with FRAME; the file is damaged")
        data = np.empty(size, np.uint8)
        if _fill(file, data) < size:
            raise _cut(name, index)
        yield YuvFrame.from_buffer(data, width, height)
        index += 1


def _cut(name: str, index: int) -> VideoError:
    return VideoError(f"{name}: ends in the middle of frame {index}; the file is cut")


def _fill(file: BinaryIO, data: U8) -> int:
    """Read until `data` is full or the input ends, as a pipe gives less at a time, and count the bytes."""
    view = data.data
    done = 0
    while done < len(view):
        got = file.readinto(view[done:])  # type: ignore[attr-defined]  # BinaryIO lacks it, every binary file has it
        if not got:
            break
        done += got
    return done


class Y4mWriter(VideoWriter):
    """Writes .y4m, to a file or standard output; carries frame rate, range and chroma location."""

    def __init__(self, path: PathLike, info: VideoInfo) -> None:
        super().__init__("standard output" if os.fspath(path) == STDIO else os.fspath(path), info)
        self._file = self._resources.enter_context(atomic_output(path))
        tags = [
            f"W{info.width}",
            f"H{info.height}",
            f"F{info.fps.numerator}:{info.fps.denominator}",
            "Ip",
            "A0:0",
            f"C{_CHROMA_TAG.get(self.colour.chroma_location, '420')}",
        ]
        if self.colour.full_range is not None:
            tags.append(f"XCOLORRANGE={'FULL' if self.colour.full_range else 'LIMITED'}")
        if self.colour.matrix is not None:
            tags.append(f"X{MATRIX}={self.colour.matrix}")
            if matrix_key(self.colour, info.height) != matrix_key(Colour(), info.height):
                matrix = matrix_name(self.colour.matrix)
                self.notes.append(f"y4m does not say the matrix {matrix}: other programs may show other colours")
        self._head = f"{MAGIC.decode()} {' '.join(tags)}\n".encode()

    def _write_yuv(self, frame: YuvFrame) -> None:
        self._file.write(self._head + b"FRAME\n")
        self._head = b""
        for plane in (frame.y, frame.u, frame.v):
            self._file.write(np.ascontiguousarray(plane).data)
        self._file.flush()  # a player may be reading
