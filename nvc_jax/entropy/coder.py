"""Symbols of a packet to its payload and back: the only module that uses the native coder."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

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
from nvc_jax.entropy import merged_motion, motion
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


class SideCoder(Protocol):
    """A coder of side information."""

    def tables(self) -> CdfArrays: ...  # noqa: D102
    def encode(self, symbols: Int8) -> list[tuple[Int8, Uint8]]: ...  # noqa: D102
    def decode(self, height: int, width: int, read: Callable[[Uint8], Int8]) -> Int8: ...  # noqa: D102
    def bits(self, symbols: Any, xp: Any) -> Any: ...  # noqa: D102


SIDE_INFORMATION: dict[str, SideCoder] = {"motion": motion, "merged motion": merged_motion}  # by `NetworkConfig.side`


class EntropyCoder:
    """Codes the packets of one network in one dialect (docs/FORMAT.md).

    z is [channels, h, w]; channel c of a packet of quality qp has table row qp * channels + c. The planes of
    y are coded after z, in the order given: C-contiguous arrays of any shape, each with an array of rows of
    the Gaussian table, where NOT_CODED leaves a symbol out. Side information comes before z.
    One object may serve several threads.
    """

    def __init__(self, z_tables: CdfArrays, dialect: Dialect, side: str | None = None) -> None:
        """Prepare for the packets of a network.

        Args:
            z_tables: rows for every qp and channel, see `factorised_tables`.
            dialect: of the payloads.
            side: a key of SIDE_INFORMATION; None without.
        """
        self.z_table = _native_table(z_tables)
        self.side = side
        self._dialect: Dialect = dialect
        self._encoder: NativeEncoder = (
            InterleavedEncoder(_THREADS) if dialect == "interleaved" else DcvcEncoder(_STREAMS[dialect])
        )
        self.idle: list[InterleavedDecoder] = []  # they keep their memory from frame to frame
        self.timer = Timer()

    def encode(
        self, qp: int, z: Int8, planes: Sequence[tuple[Int8, Uint8]], side: Int8 | None = None
    ) -> tuple[bytes, int]:
        """The payload of a packet, and the check of its symbols and table rows.

        Args:
            qp: of the last picture, offset included.
            z: [channels, h, w].
            planes: (symbols, table rows) of each coding step.
            side: [h, w, n] symbols of the side information.
        """
        channels = z.shape[0]
        with self.timer():
            segments: list[Any] = []
            check = Check()
            if side is not None:
                assert self.side is not None
                table, steps = _side_table(self.side), SIDE_INFORMATION[self.side].encode(side)
                segments += [(table, symbols, rows, 0) for symbols, rows in steps]
                check.update(side)
            segments += [(self.z_table, z, _channel_indexes(z.shape), qp * channels)]
            segments += [(_gaussian_table(), symbols, indexes, 0) for symbols, indexes in planes]
            check.update(z)
            for symbols, indexes in planes:
                check.update(symbols)
                check.update(indexes)
            return self._encoder.encode(segments), check.value(CHECK_BITS)

    def decoder(self, payload: bytes, check: int | None = None) -> "PacketDecoder":
        """Start on the payload of a packet; the check is that of the encoder, None if it is unknown."""
        decoder: NativeDecoder
        if self._dialect == "interleaved":
            try:
                decoder = self.idle.pop()
            except IndexError:
                decoder = InterleavedDecoder(b"", _THREADS)
            decoder.reset(payload)
        else:
            decoder = DcvcDecoder(payload, _STREAMS[self._dialect])
        return PacketDecoder(self, decoder, check)


class PacketDecoder:
    """Decodes one packet as the tables of the next step become known: side information, z, the planes, finish.

    Raises, in every method:
        TruncatedError: the payload ends too early.
        BitstreamError: the payload is damaged, or was made with other tables.
        DesyncError: it decodes to other integers than the encoder had.
    """

    def __init__(self, coder: EntropyCoder, decoder: NativeDecoder, check: int | None) -> None:
        self._coder, self._decoder, self._expected = coder, decoder, check
        self._check = Check()

    def side(self, height: int, width: int) -> Int8:
        """Symbols of the side information, [height, width, n]."""
        assert self._coder.side is not None
        table, decode = _side_table(self._coder.side), SIDE_INFORMATION[self._coder.side].decode
        with self._coder.timer(), _stream_errors():
            symbols = decode(height, width, lambda rows: self._decoder.decode(table, rows))
            self._check.update(symbols)
            return symbols

    def z(self, qp: int, shape: tuple[int, int, int]) -> Int8:
        """Symbols of z, [channels, h, w]."""
        with self._coder.timer(), _stream_errors():
            symbols = self._decoder.decode(self._coder.z_table, _channel_indexes(shape), qp * shape[0])
            self._check.update(symbols)
            return symbols

    def plane(self, indexes: Uint8) -> Int8:
        """Symbols of the next coding step, in the shape of its table rows; 0 where they are NOT_CODED."""
        with self._coder.timer(), _stream_errors():
            symbols = self._decoder.decode(_gaussian_table(), indexes)
            self._check.update(symbols)
            self._check.update(indexes)
            return symbols

    def finish(self) -> None:
        """Check that the payload was used up exactly, which shows most kinds of damage, and the encoder's check."""
        with self._coder.timer(), _stream_errors():
            self._decoder.finish()
        if isinstance(self._decoder, InterleavedDecoder):
            self._coder.idle.append(self._decoder)
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


@lru_cache(maxsize=8)
def _side_table(side: str) -> CdfTable:
    return _native_table(SIDE_INFORMATION[side].tables())


@lru_cache(maxsize=8)
def _channel_indexes(shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """[channels, h, w] -> the channel of every symbol, in the same shape."""
    channels = np.arange(shape[0], dtype=np.uint16)
    indexes = np.ascontiguousarray(np.broadcast_to(channels[:, None, None], shape))
    indexes.flags.writeable = False
    return indexes
