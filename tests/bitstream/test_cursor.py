"""The checked cursor under every reader."""

import io

import pytest

from nvc_jax.bitstream.cursor import CHUNK_BYTES, Cursor
from nvc_jax.errors import BitstreamError, TruncatedError


class Pipe(io.RawIOBase):
    """Not seekable, and gives at most three bytes at a time, like a slow pipe."""

    def __init__(self, data):
        self.largest = 0
        self._inner = io.BytesIO(data)

    def readable(self):
        return True

    def read(self, size=-1):
        self.largest = max(self.largest, size)
        return self._inner.read(min(size, 3))


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_takes_bytes_and_counts_them(source):
    cursor = Cursor(source(b"abcdefgh"))
    assert cursor.take(0, "nothing") == b""
    assert cursor.take(5, "word") == b"abcde"
    assert cursor.offset == 5
    assert cursor.take_byte_or_end() == ord("f")
    assert cursor.take(2, "rest") == b"gh"
    assert cursor.take_byte_or_end() is None
    assert cursor.offset == 8


def test_counts_from_where_the_file_stands():
    file = io.BytesIO(b"xxabc")
    file.seek(2)
    cursor = Cursor(file)
    assert cursor.take(3, "all") == b"abc"
    assert cursor.offset == 3


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_missing_bytes_are_an_error_that_says_where(source):
    cursor = Cursor(source(b"abcdef"))
    cursor.where = "frame 3"
    cursor.take(2, "x")
    with pytest.raises(TruncatedError, match=r"^frame 3: payload needs 9 bytes, 4 are left \(byte 2\)$"):
        cursor.take(9, "payload")


def test_a_length_beyond_a_known_size_is_refused_unread():
    class File(io.BytesIO):
        def read(self, size=-1):
            raise AssertionError("read")

    with pytest.raises(TruncatedError):
        Cursor(File(b"abc")).take(1 << 30, "payload")


def test_a_pipe_is_asked_for_small_pieces():
    pipe = Pipe(bytes(100))
    with pytest.raises(TruncatedError):
        Cursor(pipe).take(1 << 30, "payload")
    assert pipe.largest <= CHUNK_BYTES


def test_errors_name_the_place():
    cursor = Cursor(io.BytesIO(b""))
    cursor.where = "frame 17"
    error = cursor.error("qp 91 out of range 0..63", 40211)
    assert isinstance(error, BitstreamError)
    assert str(error) == "frame 17: qp 91 out of range 0..63 (byte 40211)"
