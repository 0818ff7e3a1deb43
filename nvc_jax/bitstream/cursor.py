"""Reading from an untrusted stream of bytes: no length is believed before the bytes are there."""

import os
from typing import BinaryIO

from nvc_jax.errors import BitstreamError, TruncatedError

CHUNK_BYTES = 1 << 16


class Cursor:
    """Reads a binary file or pipe forwards, counting bytes from where it stands.

    Attributes:
        offset: bytes read so far.
        where: what is being read, the start of every message, for example "frame 17".
    """

    def __init__(self, file: BinaryIO) -> None:
        self.offset = 0
        self.where = "start"
        self._file = file
        self._size: int | None = None  # unknown for a pipe
        if file.seekable():
            begin = file.tell()
            self._size = file.seek(0, os.SEEK_END) - begin
            file.seek(begin)

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes.

        Raises:
            TruncatedError: there are fewer; a known file size is compared before anything is read.
        """
        data = bytearray()
        if self._size is None or size <= self._size - self.offset:
            data = self._read(size)
        if len(data) < size:
            left = len(data) if self._size is None else self._size - self.offset
            raise TruncatedError(f"{self.where}: {what} needs {size} bytes, {left} are left (byte {self.offset})")
        self.offset += size
        return bytes(data)

    def take_byte_or_end(self) -> int | None:
        """The next byte, or None where the data ends."""
        data = self._read(1)
        self.offset += len(data)
        return data[0] if data else None

    def error(self, message: str, offset: int) -> BitstreamError:
        """An error to raise about the data at `offset`."""
        return BitstreamError(f"{self.where}: {message} (byte {offset})")

    def _read(self, size: int) -> bytearray:
        """At most `size` bytes, fewer only where the data ends; a pipe is believed in small pieces."""
        data = bytearray()
        while len(data) < size:
            chunk = self._file.read(min(size - len(data), CHUNK_BYTES))
            if not chunk:
                break
            data += chunk
        return data
