"""Symbols of a frame to its payload and back: the only module that uses the native coder."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from native_coder import (  # noqa: TID251
    CdfTable,
    CorruptError,
    DcvcDecoder,
    DcvcEncoder,
    InterleavedDecoder,
    InterleavedEncoder,
    TruncatedError,
)
from nvc_jax import errors
from nvc_jax.entropy.motion import decode_motion, encode_motion, motion_tables
from nvc_jax.entropy.tables import CdfArrays, gaussian_tables
from nvc_jax.io.checks import Check
from nvc_jax.io.timing import Timer
from nvc_jax.spec import CHECK_BITS, Dialect

Int8 = npt.NDArray[np.int8]
Uint8 = npt.NDArray[np.uint8]
NativeEncoder = DcvcEncoder | InterleavedEncoder
NativeDecoder = DcvcDecoder | InterleavedDecoder

_STREAMS = {"one_stream": 1, "two_streams": 2}
_THREADS = min(8, os.cpu_count() or 1)  # only large frames are worth more than one


class EntropyCoder:
    """Codes the frames of one model in one dialect (docs/FORMAT.md).

    z is [channels, h, w]; channel c of a frame of quality qp has table row qp * channels + c. The planes of
    y are coded after z, in the order given: C-contiguous arrays of any shape, each with an array of rows of
    the Gaussian table, where NOT_CODED leaves a symbol out. The motion of its blocks comes before z.
    One object may serve several threads.
    """

    def __init__(self, z_tables: CdfArrays, dialect: Dialect) -> None:
        """Prepare for the frames of a model.

        Args:
            z_tables: rows for every qp and channel, see `factorised_tables`.
            dialect: of the payloads.
        """
        self._z_table = _native_table(z_tables)
        self._y_table = _gaussian_table()
        self._dialect: Dialect = dialect
        self._encoder: NativeEncoder = (
            InterleavedEncoder(_THREADS) if dialect == "interleaved" else DcvcEncoder(_STREAMS[dialect])
        )
        self._idle: list[InterleavedDecoder] = []  # they keep their memory from frame to frame
        self.timer = Timer()

    def encode(
        self, qp: int, z: Int8, planes: Sequence[tuple[Int8, Uint8]], motion: Int8 | None = None
    ) -> tuple[bytes, int]:
        """The payload of a frame, and the check of its symbols and table rows.

        Args:
            qp: the frame's, offset included.
            z: [channels, h, w].
            planes: (symbols, table rows) of each coding step.
            motion: [h, w, 3], of the blocks of a frame with motion.
        """
        channels = z.shape[0]
        with self.timer():
            steps = [] if motion is None else encode_motion(motion)
            segments = [(_motion_table(), symbols, rows, 0) for symbols, rows in steps]
            segments += [(self._z_table, z, _channel_indexes(z.shape), qp * channels)]
            segments += [(self._y_table, symbols, indexes, 0) for symbols, indexes in planes]
            check = Check()
            if motion is not None:
                check.update(motion)
            check.update(z)
            for symbols, indexes in planes:
                check.update(symbols)
                check.update(indexes)
            return self._encoder.encode(segments), check.value(CHECK_BITS)

    def decoder(self, payload: bytes, check: int | None = None) -> "FrameDecoder":
        """Start on the payload of a frame; the check is that of the encoder, None if it is unknown."""
        decoder: NativeDecoder
        if self._dialect == "interleaved":
            try:
                decoder = self._idle.pop()
            except IndexError:
                decoder = InterleavedDecoder(b"", _THREADS)
            decoder.reset(payload)
        else:
            decoder = DcvcDecoder(payload, _STREAMS[self._dialect])
        return FrameDecoder(self._z_table, self._y_table, decoder, check, self._recycle, self.timer)

    def _recycle(self, decoder: NativeDecoder) -> None:
        if isinstance(decoder, InterleavedDecoder):
            self._idle.append(decoder)


class FrameDecoder:
    """Decodes one frame, step by step as the tables of the next step become known: motion, z, the planes, finish.

    Raises, in every method:
        TruncatedError: the payload ends too early.
        BitstreamError: the payload is damaged, or was made with other tables.
        DesyncError: it decodes to other integers than the encoder had.
    """

    def __init__(
        self,
        z_table: CdfTable,
        y_table: CdfTable,
        decoder: NativeDecoder,
        check: int | None,
        recycle: Callable[[NativeDecoder], None],
        timer: Timer,
    ) -> None:
        self._z_table = z_table
        self._y_table = y_table
        self._decoder = decoder
        self._expected = check
        self._recycle = recycle
        self._check = Check()
        self._timer = timer

    def motion(self, height: int, width: int) -> Int8:
        """Motion of the blocks of a frame with motion, [height, width, 3]."""

        def read(rows: Uint8) -> Int8:
            return self._decoder.decode(_motion_table(), rows)

        with self._timer(), _stream_errors():
            motion = decode_motion(height, width, read)
            self._check.update(motion)
            return motion

    def z(self, qp: int, shape: tuple[int, int, int]) -> Int8:
        """Symbols of z, [channels, h, w]."""
        with self._timer(), _stream_errors():
            symbols = self._decoder.decode(self._z_table, _channel_indexes(shape), qp * shape[0])
            self._check.update(symbols)
            return symbols

    def plane(self, indexes: Uint8) -> Int8:
        """Symbols of the next coding step, in the shape of its table rows; 0 where they are NOT_CODED."""
        with self._timer(), _stream_errors():
            symbols = self._decoder.decode(self._y_table, indexes)
            self._check.update(symbols)
            self._check.update(indexes)
            return symbols

    def finish(self) -> None:
        """Check that the payload was used up exactly, which shows most kinds of damage, and the encoder's check."""
        with self._timer(), _stream_errors():
            self._decoder.finish()
        self._recycle(self._decoder)
        if self._expected is not None and self._check.value(CHECK_BITS) != self._expected:
            raise errors.DesyncError("its symbols and scales are not those of the encoder")


@contextmanager
def _stream_errors() -> Iterator[None]:
    try:
        yield
    except TruncatedError as error:
        raise errors.TruncatedError(str(error)) from None
    except CorruptError as error:
        raise errors.BitstreamError(str(error)) from None


@lru_cache(maxsize=8)  # one for all dialects of a model
def _native_table(arrays: CdfArrays) -> CdfTable:
    return CdfTable(*(np.ascontiguousarray(a) for a in (arrays.cdf, arrays.length, arrays.offset)))


@lru_cache(maxsize=1)
def _gaussian_table() -> CdfTable:
    return _native_table(gaussian_tables())


@lru_cache(maxsize=1)
def _motion_table() -> CdfTable:
    return _native_table(motion_tables())


@lru_cache(maxsize=8)
def _channel_indexes(shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """[channels, h, w] -> the channel of every symbol, in the same shape."""
    channels = np.arange(shape[0], dtype=np.uint16)
    indexes = np.ascontiguousarray(np.broadcast_to(channels[:, None, None], shape))
    indexes.flags.writeable = False
    return indexes
