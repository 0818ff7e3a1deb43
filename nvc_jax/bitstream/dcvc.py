"""The official container, `.bin`: sequence headers and frames (docs/FORMAT.md)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.errors import BitstreamError, ConfigError, TruncatedError
from nvc_jax.spec import QP_LEVELS, QP_OFFSETS

FrameKind = Literal["I", "P"]

MAX_SIDE = 1 << 14
MAX_PIXELS = 1 << 26
MAX_HEADERS = 16
MAX_UINT = (1 << 30) - 1
MAX_QP: dict[FrameKind, int] = {"I": QP_LEVELS - 1, "P": QP_LEVELS - 1 + max(QP_OFFSETS)}

_SEQUENCE_UNIT = 0
_KIND_OF_UNIT: dict[int, FrameKind] = {1: "I", 2: "P"}
_UNIT_OF_KIND = {kind: unit for unit, kind in _KIND_OF_UNIT.items()}
_USE_ADAPTOR_I, _TWO_STREAMS = 1 << 0, 1 << 2


@dataclass(frozen=True)
class SequenceHeader:
    """What a frame refers to.

    Attributes:
        height: of the picture in pixels, before padding.
        width: likewise.
        use_adaptor_i: the frame starts from the previous picture, not from the previous feature.
        two_streams: its payload holds two rANS streams.
    """

    height: int
    width: int
    use_adaptor_i: bool
    two_streams: bool

    def __post_init__(self) -> None:
        """Refuse sizes beyond the limits.

        Raises:
            ConfigError: a side or the number of pixels is out of range.
        """
        sides_fit = 1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE
        if not sides_fit or self.height * self.width > MAX_PIXELS:
            raise ConfigError(
                f"picture size {self.width}x{self.height} is out of range: "
                f"sides 1..{MAX_SIDE}, at most {MAX_PIXELS} pixels"
            )


@dataclass(frozen=True)
class FrameUnit:
    """A coded frame.

    Attributes:
        kind: "I" or "P".
        qp: of the frame, offset included.
        payload: for the entropy decoder.
        header: the sequence header it refers to.
        offset: byte of the file where the frame begins, its new sequence headers included.
        size_bytes: bytes of the file it takes, its new sequence headers included.
    """

    kind: FrameKind
    qp: int
    payload: bytes
    header: SequenceHeader
    offset: int
    size_bytes: int


class DcvcWriter:
    """Writes frames; a sequence header goes before the first frame that needs it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ids: dict[SequenceHeader, int] = {}

    def write_frame(self, header: SequenceHeader, kind: FrameKind, qp: int, payload: bytes) -> int:
        """Write a frame. Returns the number of bytes, a new sequence header included.

        Raises:
            ConfigError: qp is out of range, the payload too long, or this is the 17th sequence header.
        """
        if not 0 <= qp <= MAX_QP[kind]:
            raise ConfigError(f"qp {qp} of {kind} frame out of range 0..{MAX_QP[kind]}")
        length = _uint(len(payload))
        data = b""
        if header not in self._ids:
            if len(self._ids) == MAX_HEADERS:
                raise ConfigError(f"a .bin file holds {MAX_HEADERS} sequence headers at most; start another")
            self._ids[header] = len(self._ids)
            flags = _USE_ADAPTOR_I * header.use_adaptor_i | _TWO_STREAMS * header.two_streams
            data += bytes([_SEQUENCE_UNIT << 4 | self._ids[header]])
            data += _uint(header.height) + _uint(header.width) + bytes([flags])
        data += bytes([_UNIT_OF_KIND[kind] << 4 | self._ids[header], qp]) + length + payload
        self._file.write(data)
        return len(data)


class DcvcReader:
    """Iterates over the frames of a file or pipe, holding one frame at a time.

    Raises, while iterating:
        TruncatedError: the data ends within a frame; all frames before it have been given.
        BitstreamError: the data is no `.bin` file, or damaged.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._cursor = Cursor(file)
        self._headers: dict[int, SequenceHeader] = {}
        self._frames = 0

    def __iter__(self) -> Iterator[FrameUnit]:
        """Read on from where the last frame ended."""
        cursor = self._cursor
        begin = cursor.offset
        while True:
            cursor.where = f"frame {self._frames}"
            unit_offset = cursor.offset
            byte = cursor.take_byte_or_end()
            if byte is None:
                break
            unit, header_id = byte >> 4, byte & 0xF
            if unit == _SEQUENCE_UNIT:
                self._headers[header_id] = self._sequence_header()
                continue
            if unit not in _KIND_OF_UNIT:
                raise cursor.error(f"unknown unit type {unit}; is this a DCVC-RT file?", unit_offset)
            if header_id not in self._headers:
                raise cursor.error(f"sequence header {header_id} was never sent", unit_offset)
            kind, header = _KIND_OF_UNIT[unit], self._headers[header_id]
            qp, payload = self._frame(kind)
            self._frames += 1
            yield FrameUnit(kind, qp, payload, header, begin, cursor.offset - begin)
            begin = cursor.offset
        if cursor.offset == 0:
            raise BitstreamError("the file is empty")
        if cursor.offset > begin:
            raise TruncatedError(f"{cursor.where}: missing after its sequence header (byte {cursor.offset})")

    def _sequence_header(self) -> SequenceHeader:
        offset = self._cursor.offset
        height, width = self._uint("picture height"), self._uint("picture width")
        flags_offset = self._cursor.offset
        flags = self._cursor.take(1, "sequence flags")[0]
        if flags & ~(_USE_ADAPTOR_I | _TWO_STREAMS):
            raise self._cursor.error(f"unknown sequence flags {flags:#04x}", flags_offset)
        try:
            return SequenceHeader(height, width, bool(flags & _USE_ADAPTOR_I), bool(flags & _TWO_STREAMS))
        except ConfigError as error:
            raise self._cursor.error(str(error), offset) from None

    def _frame(self, kind: FrameKind) -> tuple[int, bytes]:
        offset = self._cursor.offset
        qp = self._cursor.take(1, "qp")[0]
        if qp > MAX_QP[kind]:
            raise self._cursor.error(f"qp {qp} of {kind} frame out of range 0..{MAX_QP[kind]}", offset)
        return qp, self._cursor.take(self._uint("payload length"), "payload")

    def _uint(self, what: str) -> int:
        first = self._cursor.take(1, what)
        if first[0] < 0x80:
            return first[0]
        rest = self._cursor.take(1 if first[0] < 0xC0 else 3, what)
        return int.from_bytes(bytes([first[0] & 0x3F]) + rest, "big")


def _uint(value: int) -> bytes:
    """1, 2 or 4 bytes, big-endian; the leading bits 0, 10 or 11 tell how many.

    Raises:
        ConfigError: the value needs more than 30 bits.
    """
    if value < 1 << 7:
        return value.to_bytes(1, "big")
    if value < 1 << 14:
        return (0b10 << 14 | value).to_bytes(2, "big")
    if value > MAX_UINT:
        raise ConfigError(f"{value} bytes are too many for one frame of a .bin file, at most {MAX_UINT}")
    return (0b11 << 30 | value).to_bytes(4, "big")
