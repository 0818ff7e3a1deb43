"""Streams in files and pipes, of either container."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.bitstream.dcvc import DcvcReader
from nvc_jax.bitstream.nvc import NvcReader, NvcWriter
from nvc_jax.bitstream.nvc_syntax import MAGIC
from nvc_jax.bitstream.packets import LostPicture
from nvc_jax.errors import BitstreamError, ConfigError, OutputError
from nvc_jax.io.files import STDIO, reason

# Files that are easily given for a stream: (name, position, bytes there). No official stream begins like them.
VIDEOS = (
    ("y4m", 0, b"YUV4MPEG2 "),
    ("Matroska or WebM", 0, b"\x1aE\xdf\xa3"),
    ("MP4 or QuickTime", 4, b"ftyp"),
    ("AVI", 8, b"AVI "),
    ("PNG", 0, b"\x89PNG"),
    ("JPEG", 0, b"\xff\xd8\xff"),
)


@contextmanager
def open_reader(path: str | Path, conceal: bool = False) -> Iterator[DcvcReader | NvcReader]:
    """Open a stream, whichever container it is; errors about its content name the file.

    Args:
        path: `-` is standard input.
        conceal: go on after damage where the container can.

    Raises:
        BitstreamError: it cannot be read.
    """
    try:
        if str(path) == STDIO:
            yield stream_reader(sys.stdin.buffer, conceal)
        else:
            with open(path, "rb") as file:
                yield stream_reader(file, conceal)
    except BitstreamError as error:
        raise type(error)(f"{path}: {error}") from None
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise BitstreamError(f"{path}: cannot read ({reason(error)}).") from None


def stream_reader(file: BinaryIO, conceal: bool = False) -> DcvcReader | NvcReader:
    """The reader of a stream, whichever container it is; see `open_reader`."""
    cursor = Cursor(file)
    start = cursor.peek(len(MAGIC))
    if not start:
        raise BitstreamError("the file is empty")
    if start == MAGIC:
        return NvcReader(cursor, conceal)
    head = cursor.peek(max(position + len(signature) for _, position, signature in VIDEOS))
    for name, position, signature in VIDEOS:
        if head[position:].startswith(signature):
            raise BitstreamError(f"not an nvc or dcvc stream but {name} (nvc-jax encode takes it)")
    return DcvcReader(cursor)


@dataclass(frozen=True)
class Repair:
    """Outcome of a repair.

    Attributes:
        frames: number of pictures copied.
        lost: that are missing between them.
        damage: the first that was found, None in a whole file.
    """

    frames: int
    lost: int
    damage: str | None


def repair(source: str | Path, file: BinaryIO) -> Repair:
    """Write the whole frames of a damaged `.nvc` file into a new one with a trailer.

    After damage, copying goes on at the next intra frame; what is missing before it stays missing. Records that this
    version does not know are left out.

    Args:
        source: the damaged file.
        file: the new one.

    Raises:
        BitstreamError: it is no `.nvc` file, its header is damaged, or it holds no whole frame.
    """
    frames = lost = 0
    with open_reader(source, conceal=True) as reader:
        if isinstance(reader, DcvcReader):
            raise ConfigError(f"{source}: not an .nvc file; there is nothing to repair in other containers")
        writer = NvcWriter(file, reader.header_bytes)
        for found in reader:
            if isinstance(found, LostPicture):
                lost += 1
            else:
                writer.write(found, found.index)
                frames += len(found.qps)
        if not frames:
            raise BitstreamError(f"no whole frame ({reader.damage})")
        writer.finish()
    return Repair(frames, lost, reader.damage)
