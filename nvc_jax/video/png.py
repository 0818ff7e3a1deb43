"""Read and write PNG pictures: single, or a folder or numbered pattern of them as a video."""

from __future__ import annotations

import itertools
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av
import numpy as np

from nvc_jax.errors import OutputError, VideoError
from nvc_jax.io.files import PATTERN, PathLike, atomic_folder, atomic_output, check_parent, explained, staging_folder
from nvc_jax.video.colour import has_formula, matrix_name, substitute_matrix, yuv_to_rgb
from nvc_jax.video.frame import DEFAULT_FPS, U8, Frame, RgbFrame, VideoInfo, YuvFrame, check_size
from nvc_jax.video.orientation import exif_wish, orientation_note
from nvc_jax.video.stream import VideoReader, VideoWriter

SIGNATURE = b"\x89PNG\r\n\x1a\n"
FOLDER_PATTERN = "im%05d.png"  # names in an output folder, from 1

_HEADER_BYTES = 33  # signature and the whole IHDR chunk
_OWN_NAME = re.compile(r"im\d{5,}\.png")
_ALPHA = (4, 6)  # IHDR colour types with transparency
_WANTED = (b"tRNS", b"acTL", b"eXIf")
_MAX_CHUNK = 1 << 20
_MAX_MISSING = 10  # missing numbers per picture beyond which the numbers do not count frames


def is_pattern(path: PathLike) -> bool:
    """Tell whether a path stands for numbered files, like `frames/%05d.png`."""
    return bool(PATTERN.search(os.path.basename(os.fspath(path))))


def list_pictures(path: PathLike) -> list[Path]:
    """List the PNGs of a folder or a pattern in natural order (2 before 10).

    Raises:
        VideoError: no picture matches.
    """
    place = Path(path)
    if not is_pattern(path) or os.path.isdir(place):
        found = [p for p in place.iterdir() if p.suffix.lower() == ".png" and not p.name.startswith(".")]
        if not found:
            raise VideoError(f"{os.fspath(path)}: no PNG pictures in this folder")
        return sorted(found, key=lambda p: _natural(p.name))
    before, after = PATTERN.split(place.name)[0], place.name[PATTERN.search(place.name).end() :]  # type: ignore[union-attr]
    numbered = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    try:
        names = os.listdir(place.parent)
    except OSError:
        names = []
    matches = sorted((int(m[1]), m[0]) for m in map(numbered.fullmatch, names) if m)
    if not matches:
        raise VideoError(f"{os.fspath(path)}: no such pictures")
    return [place.parent / name for _, name in matches]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def open_pictures(path: PathLike) -> VideoReader:
    """Open a folder of PNGs, a pattern, or one picture. Every header is checked before the first frame.

    Raises:
        VideoError: no pictures, one is not a PNG, or the sizes differ.
    """
    name = os.fspath(path)
    single = not is_pattern(path) and not os.path.isdir(path)
    pictures = [Path(path)] if single else list_pictures(path)
    first = _read_header(pictures[0], to_end=True)
    headers = [first, *(_read_header(picture) for picture in pictures[1:])]
    for picture, header in zip(pictures, headers, strict=True):
        if (header.width, header.height) != (first.width, first.height):
            found, wanted = f"{header.width}x{header.height}", f"{first.width}x{first.height}"
            raise VideoError(f"{picture}: is {found}, but {pictures[0].name} is {wanted}")
    notes = [f"no frame rate in the source: {DEFAULT_FPS} assumed"]
    if gap := _gap(pictures):
        notes.append(gap)
    if any(header.depth > 8 for header in headers):
        notes.append("16-bit pictures are read as 8 bit")
    if any(header.transparent for header in headers):
        notes.append("transparency is left out")
    if any(header.animated for header in headers):
        notes.append("only the first picture of an animated PNG is read")
    if wish := exif_wish(first.exif):
        notes.append(orientation_note(wish))
    info = VideoInfo(first.width, first.height, frames=len(pictures), is_rgb=True, notes=tuple(notes))
    return VideoReader(name, info, _read_pictures(pictures, first.width, first.height), ExitStack())


def is_animated(path: PathLike) -> bool:
    """Tell whether a PNG file holds several pictures (APNG), which FFmpeg reads as a video."""
    try:
        return _read_header(Path(path)).animated
    except VideoError:
        return False


def _gap(pictures: Sequence[Path]) -> str | None:
    """Note gaps in the numbering of pictures."""
    named = [re.fullmatch(r"(.*?)(\d+)(\D*)", picture.name) for picture in pictures]
    if len({(match[1], match[3]) for match in named if match}) != 1 or None in named:
        return None
    numbers = [int(match[2]) for match in named if match]
    missing = [(a, b) for a, b in itertools.pairwise(numbers) if b > a + 1]
    count = sum(b - a - 1 for a, b in missing)
    if not missing or count > _MAX_MISSING * len(pictures):
        return None
    after, before = missing[0]
    left_out = "1 picture is" if count == 1 else f"{count} pictures are"
    return f"the picture numbers have gaps: {left_out} missing, the first between {after} and {before}"


class _Header(NamedTuple):
    width: int
    height: int
    depth: int
    transparent: bool
    animated: bool
    exif: bytes


def _read_header(path: Path, to_end: bool = False) -> _Header:
    """Parse the header and the chunks before the pixels, and those after them if asked to."""
    with explained(VideoError, f"{path}: cannot open"):
        with open(path, "rb") as file:
            head = file.read(_HEADER_BYTES)
            if len(head) < _HEADER_BYTES or not head.startswith(SIGNATURE) or head[12:16] != b"IHDR":
                raise VideoError(f"{path}: is not a PNG picture")
            chunks = dict(_chunks(file, to_end))
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    check_size(width, height, str(path))
    transparent = head[25] in _ALPHA or b"tRNS" in chunks
    return _Header(width, height, head[24], transparent, b"acTL" in chunks, chunks.get(b"eXIf", b""))


def _chunks(file: BinaryIO, to_end: bool) -> Iterator[tuple[bytes, bytes]]:
    """Iterate over (type, content) of the wanted chunks from the file position on."""
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4]), head[4:]
        if kind == b"IEND" or (kind == b"IDAT" and not to_end):
            return
        if kind in _WANTED and length <= _MAX_CHUNK:
            yield kind, file.read(length)
            file.seek(4, os.SEEK_CUR)  # CRC
        else:
            file.seek(length + 4, os.SEEK_CUR)


def _read_pictures(pictures: Sequence[Path], width: int, height: int) -> Iterator[Frame]:
    for picture in pictures:
        rgb = read_png(picture)
        if rgb.shape != (height, width, 3):
            raise VideoError(f"{picture}: changed while being read")
        yield RgbFrame(rgb)


def read_png(path: PathLike) -> U8:
    """Decode a PNG of any colour type to RGB [H, W, 3], without transparency.

    Raises:
        VideoError: the picture cannot be read or is damaged.
    """
    name = os.fspath(path)
    _read_header(Path(path))
    with explained(VideoError, f"{name}: cannot open"):
        data = Path(path).read_bytes()
    _check_chunks(data, name)
    try:
        context = av.CodecContext.create("png", "r")
        decoded = [*context.decode(av.Packet(data)), *context.decode(None)]
    except av.FFmpegError:
        decoded = []
    if len(decoded) != 1:
        raise VideoError(f"{name}: the PNG picture is damaged")
    return np.ascontiguousarray(decoded[0].to_ndarray(format="rgb24"), dtype=np.uint8)


def _check_chunks(data: bytes, name: str) -> None:
    """Check all CRCs: the decoder fills a truncated or damaged picture with grey and reports nothing."""
    position, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            raise VideoError(f"{name}: the PNG picture is cut")
        if zlib.crc32(memoryview(data)[position + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise VideoError(f"{name}: the PNG picture is damaged (at byte {position})")
        position = end + 4


def encode_png(rgb: U8) -> bytes:
    """Encode RGB [H, W, 3] as a PNG file."""
    context = av.CodecContext.create("png", "w")
    context.height, context.width = rgb.shape[:2]
    context.pix_fmt = "rgb24"
    context.time_base = Fraction(1)
    context.thread_count = 1
    context.options = {
        "compression_level": "3",
        "pred": "up",
    }  # 5% larger and four times as fast as the default
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def write_png(path: PathLike, rgb: U8) -> None:
    """Write one picture, [H, W, 3] uint8.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_output(path) as file:
        file.write(encode_png(rgb))


class PictureWriter(VideoWriter):
    """Writes PNGs: `im00001.png` and so on into a folder, by a pattern, or a single frame.

    A folder is put in place when all frames are written; an old one is replaced only if it holds nothing
    but such pictures.
    """

    takes_rgb = True

    def __init__(self, path: PathLike, info: VideoInfo) -> None:
        super().__init__(os.fspath(path), info)
        place = Path(path)
        if not has_formula(self.colour.matrix):
            name, substitute = matrix_name(self.colour.matrix), substitute_matrix(self.colour.matrix, info.height)
            self.notes.append(f"the matrix {name} is not supported: RGB is converted with {substitute}")
        self._target: Path | None = None  # folder of a pattern's pictures
        if place.suffix.lower() != ".png" or os.path.isdir(place):
            self._pattern = FOLDER_PATTERN
            own = atomic_folder(place, replaces=lambda name: bool(_OWN_NAME.fullmatch(name)))
            self._folder = self._resources.enter_context(own)
            return
        if not is_pattern(place) and info.frames != 1:
            raise VideoError(f"{path}: is one picture; name a folder ({place.stem}/) or a pattern (%05d.png)")
        if not is_pattern(place) and os.path.exists(place) and not os.path.isfile(place):
            raise OutputError(f"{path}: is not a regular file")
        check_parent(place)
        self._pattern = place.name
        self._target = place.parent
        self._folder = self._resources.enter_context(staging_folder(place))

    def _name(self, number: int) -> str:
        if not is_pattern(self._pattern):
            return self._pattern
        return PATTERN.sub(lambda m: f"{number:{m[1] or ''}d}", self._pattern, count=1)

    def _write_yuv(self, frame: YuvFrame) -> None:
        self._write_rgb(yuv_to_rgb(frame, self.colour))

    def _write_rgb(self, frame: RgbFrame) -> None:
        if self.count and not is_pattern(self._pattern):
            raise VideoError(f"{self.name}: is one picture, but there are more frames; name a folder")
        with explained(OutputError, f"{self.name}: cannot write"):
            (self._folder / self._name(self.count + 1)).write_bytes(encode_png(frame.rgb))

    def _finish(self) -> None:
        if self._target is None:
            return
        with explained(OutputError, f"{self.name}: cannot put the pictures in place"):
            for number in range(1, self.count + 1):
                os.replace(self._folder / self._name(number), self._target / self._name(number))
