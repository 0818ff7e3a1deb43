"""Reading from an untrusted stream of bytes: no length is believed before the bytes are there."""

import os
from typing import BinaryIO

from nvc_jax.errors import BitstreamError, TruncatedError
from nvc_jax.io.checks import Check

CHUNK_BYTES = 1 << 16


class Cursor:
    """Reads a binary file or pipe forwards, counting bytes from where it stands.

    Attributes:
        offset: bytes read so far.
        where: what is being read, the start of every message, for example "frame 17".
        seekable: the source is a file, so `seek` and `size` work.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.offset = 0
        self.where = "start"
        self.seekable = file.seekable()
        self._file = file
        self._begin = file.tell() if self.seekable else 0
        self._size = self.size() if self.seekable else None
        self._ahead = b""
        self._check = Check()

    def size(self) -> int:
        """Bytes of the file at this moment: it may be growing."""
        position = self._file.tell()
        end = self._file.seek(0, os.SEEK_END)
        self._file.seek(position)
        return end - self._begin

    def seek(self, offset: int) -> None:
        """Go on reading elsewhere in a file."""
        self._file.seek(self._begin + offset)
        self.offset, self._ahead = offset, b""

    def peek(self, size: int) -> bytes:
        """The next bytes, at most `size`, which stay to be read."""
        self._ahead += self._read_file(size - len(self._ahead))
        return self._ahead[:size]

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes.

        Raises:
            TruncatedError: there are fewer; a known file size is compared before anything is read.
        """
        if self._size is not None and size > self._size - self.offset:
            self._size = self.size()
        data = b""
        if self._size is None or size <= self._size - self.offset:
            data = self._read(size)
        if len(data) < size:
            left = len(data) if self._size is None else max(0, self._size - self.offset)
            raise TruncatedError(f"{self.where}: {what} needs {size} bytes, {left} are left (byte {self.offset})")
        self._taken(data)
        return data

    def take_byte_or_end(self) -> int | None:
        """The next byte, or None where the data ends."""
        data = self._read(1)
        self._taken(data)
        return data[0] if data else None

    def begin_check(self) -> None:
        """Forget what `check` covers so far."""
        self._check = Check()

    def check(self, more: bytes = b"") -> int:
        """32 bits of the hash of all that was taken since `begin_check`, and of `more`."""
        self._check.update(more)
        return self._check.value()

    def error(self, message: str, offset: int) -> BitstreamError:
        """An error to raise about the data at `offset`."""
        return BitstreamError(f"{self.where}: {message} (byte {offset})")

    def _taken(self, data: bytes) -> None:
        self.offset += len(data)
        self._check.update(data)

    def _read(self, size: int) -> bytes:
        """At most `size` bytes, fewer only where the data ends."""
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return data + self._read_file(size - len(data))

    def _read_file(self, size: int) -> bytes:
        """The same without looking at what `peek` has read; a pipe is believed in small pieces."""
        data = bytearray()
        while len(data) < size:
            chunk = self._file.read(min(size - len(data), CHUNK_BYTES))
            if not chunk:
                break
            data += chunk
        return bytes(data)
