"""Symbols of a frame to its payload and back: the only module that uses the native coder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

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
from nvc_jax.entropy.tables import CdfArrays, gaussian_tables
from nvc_jax.timing import Timer

Int8 = npt.NDArray[np.int8]
Uint8 = npt.NDArray[np.uint8]
Dialect = Literal["dcvc", "interleaved"]


class EntropyCoder:
    """Codes the frames of one model in either dialect (docs/FORMAT.md).

    z is [channels, h, w]; channel c of a frame of quality qp has table row qp * channels + c. The planes of
    y are coded after z, in the order given: C-contiguous arrays of any shape, each with an array of rows of
    the Gaussian table, where NOT_CODED leaves a symbol out. One object may serve several threads.
    """

    def __init__(self, z_tables: CdfArrays, streams: int = 1, dialect: Dialect = "dcvc", threads: int = 1) -> None:
        """Prepare for the frames of a model.

        Args:
            z_tables: rows for every qp and channel, see `factorised_tables`.
            streams: rANS streams in a payload of the dcvc dialect, 1 or 2.
            dialect: of the payloads.
            threads: for large payloads of the interleaved dialect; makes no difference to them.
        """
        self._z_table = _native_table(z_tables)
        self._y_table = _gaussian_table()
        self._streams = streams
        self._dialect = dialect
        self._threads = threads
        self._encoder = DcvcEncoder(streams) if dialect == "dcvc" else InterleavedEncoder(threads)
        self.timer = Timer()

    def encode(self, qp: int, z: Int8, planes: Sequence[tuple[Int8, Uint8]]) -> bytes:
        """The payload of a frame.

        Args:
            qp: the frame's, offset included.
            z: [channels, h, w].
            planes: (symbols, table rows) of each coding step.
        """
        channels = z.shape[0]
        segments = [(self._z_table, z, _channel_indexes(z.shape), qp * channels)]
        segments += [(self._y_table, symbols, indexes, 0) for symbols, indexes in planes]
        with self.timer():
            return self._encoder.encode(segments)

    def decoder(self, payload: bytes) -> "FrameDecoder":
        """Start on the payload of a frame."""
        decoder = (
            DcvcDecoder(payload, self._streams)
            if self._dialect == "dcvc"
            else InterleavedDecoder(payload, self._threads)
        )
        return FrameDecoder(self._z_table, self._y_table, decoder, self.timer)


class FrameDecoder:
    """Decodes one frame, step by step as the tables of the next step become known: z, the planes, finish.

    Raises, in every method:
        TruncatedError: the payload ends too early.
        BitstreamError: the payload is damaged, or was made with other tables.
    """

    def __init__(
        self, z_table: CdfTable, y_table: CdfTable, decoder: DcvcDecoder | InterleavedDecoder, timer: Timer
    ) -> None:
        self._z_table = z_table
        self._y_table = y_table
        self._decoder = decoder
        self._timer = timer

    def z(self, qp: int, shape: tuple[int, int, int]) -> Int8:
        """Symbols of z, [channels, h, w]."""
        with self._timer(), _stream_errors():
            return self._decoder.decode(self._z_table, _channel_indexes(shape), qp * shape[0])

    def plane(self, indexes: Uint8) -> Int8:
        """Symbols of the next coding step, in the shape of its table rows; 0 where they are NOT_CODED."""
        with self._timer(), _stream_errors():
            return self._decoder.decode(self._y_table, indexes)

    def finish(self) -> None:
        """Check that the payload was used up exactly, which shows most kinds of damage."""
        with self._timer(), _stream_errors():
            self._decoder.finish()


@contextmanager
def _stream_errors() -> Iterator[None]:
    try:
        yield
    except TruncatedError as error:
        raise errors.TruncatedError(str(error)) from None
    except CorruptError as error:
        raise errors.BitstreamError(str(error)) from None


def _native_table(arrays: CdfArrays) -> CdfTable:
    return CdfTable(*(np.ascontiguousarray(a) for a in (arrays.cdf, arrays.length, arrays.offset)))


@lru_cache(maxsize=1)
def _gaussian_table() -> CdfTable:
    return _native_table(gaussian_tables())


@lru_cache(maxsize=8)
def _channel_indexes(shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """[channels, h, w] -> the channel of every symbol, in the same shape."""
    channels = np.arange(shape[0], dtype=np.uint16)
    indexes = np.ascontiguousarray(np.broadcast_to(channels[:, None, None], shape))
    indexes.flags.writeable = False
    return indexes
