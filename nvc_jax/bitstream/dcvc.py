"""The official container, `.bin`: sequence headers and frames (docs/FORMAT.md, section 1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.bitstream.packets import CodedPacket, Packet, check_picture_size, check_qps
from nvc_jax.errors import BitstreamError, ConfigError, TruncatedError
from nvc_jax.spec import TWO_STREAMS_ABOVE, Dialect

MAX_UINT = (1 << 30) - 1

_SEQUENCE_UNIT, _INTRA_UNIT, _INTER_UNIT = range(3)
_USE_ADAPTOR_I, _TWO_STREAMS = 1 << 0, 1 << 2


@dataclass(frozen=True)
class _SequenceHeader:
    """Picture size and flags that frames refer to."""

    height: int
    width: int
    use_adaptor_i: bool
    two_streams: bool


class DcvcWriter:
    """Writes frames; a sequence header goes before the first frame that needs it.

    Attributes:
        dialect: of official programs for pictures of this size (spec 7).
    """

    def __init__(self, file: BinaryIO, width: int, height: int) -> None:
        """Prepare for pictures of one size.

        Raises:
            ConfigError: the size is beyond the limits.
        """
        check_picture_size(width, height)
        self._file = file
        self._size = width, height
        self.dialect: Dialect = "two_streams" if width * height > TWO_STREAMS_ABOVE else "one_stream"
        self._ids: dict[_SequenceHeader, int] = {}

    def write(self, packet: CodedPacket) -> int:
        """Write a packet. Returns the number of bytes, a new sequence header included.

        Raises:
            ConfigError: it has several pictures, its qp is out of range or not whole, or the payload too long or of a
                dialect that is not official.
        """
        check_qps(packet.start, packet.qps)
        if len(packet.qps) > 1:
            raise ConfigError("a .bin file holds packets of one picture; write an .nvc file")
        (qp,) = packet.qps
        if qp != round(qp):
            raise ConfigError(f"qp {qp:g} is not a whole number, and a .bin file stores it as one byte")
        if packet.dialect == "interleaved":
            raise ConfigError("a .bin file cannot hold interleaved payloads")
        length = _uint(len(packet.payload))
        width, height = self._size
        header = _SequenceHeader(height, width, packet.refresh, packet.dialect == "two_streams")
        data = b""
        if header not in self._ids:
            self._ids[header] = len(self._ids)  # a picture size has four headers at most
            flags = _USE_ADAPTOR_I * header.use_adaptor_i | _TWO_STREAMS * header.two_streams
            data += bytes([_SEQUENCE_UNIT << 4 | self._ids[header]])
            data += _uint(height) + _uint(width) + bytes([flags])
        unit = _INTRA_UNIT if packet.start else _INTER_UNIT
        data += bytes([unit << 4 | self._ids[header], round(qp)]) + length + packet.payload
        self._file.write(data)
        self._file.flush()
        return len(data)

    def finish(self) -> int:
        """Write the end of a stream: nothing. Returns the number of bytes."""
        return 0


class DcvcReader:
    """Iterates over the packets of a file or pipe, holding one at a time.

    Raises, while iterating:
        TruncatedError: the data ends within a frame; all frames before it have been given.
        BitstreamError: the data is no `.bin` file, or damaged.
    """

    header = None  # the file says nothing about itself
    frame_count = None
    trailer_bytes = 0
    damage = None

    def __init__(self, cursor: Cursor) -> None:
        """Read from the start of a stream."""
        self._cursor = cursor
        self._headers: dict[int, _SequenceHeader] = {}
        self._frames = 0

    def seek(self, index: int) -> bool:
        """Go to the last intra frame not after frame `index`: without an index, that is unknown."""
        return False

    def __iter__(self) -> Iterator[Packet]:
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
            if unit not in (_INTRA_UNIT, _INTER_UNIT):
                raise self._error(f"unknown unit type {unit}", unit_offset)
            if header_id not in self._headers:
                raise self._error(f"sequence header {header_id} was not sent before", unit_offset)
            start, header = unit == _INTRA_UNIT, self._headers[header_id]
            qp, payload = self._frame(start)
            yield Packet(
                start=start,
                qps=(qp,),
                refresh=header.use_adaptor_i,
                dialect="two_streams" if header.two_streams else "one_stream",
                payload=payload,
                check=None,
                index=self._frames,
                width=header.width,
                height=header.height,
                offset=begin,
                size_bytes=cursor.offset - begin,
            )
            self._frames += 1
            begin = cursor.offset
        if cursor.offset == 0:
            raise BitstreamError("the file is empty")
        if cursor.offset > begin:
            raise TruncatedError(f"{cursor.where}: missing after its sequence header (byte {cursor.offset})")

    def _error(self, text: str, offset: int) -> BitstreamError:
        """Damage, or before the first frame rather another kind of file."""
        if self._frames:
            return self._cursor.error(text, offset)
        return BitstreamError(f"not an nvc or dcvc stream ({text}, byte {offset})")

    def _sequence_header(self) -> _SequenceHeader:
        offset = self._cursor.offset
        height, width = self._uint("picture height"), self._uint("picture width")
        flags_offset = self._cursor.offset
        flags = self._cursor.take(1, "sequence flags")[0]
        if flags & ~(_USE_ADAPTOR_I | _TWO_STREAMS):
            raise self._error(f"unknown sequence flags {flags:#04x}", flags_offset)
        try:
            check_picture_size(width, height)
        except ConfigError as error:
            raise self._error(str(error), offset) from None
        return _SequenceHeader(height, width, bool(flags & _USE_ADAPTOR_I), bool(flags & _TWO_STREAMS))

    def _frame(self, start: bool) -> tuple[int, bytes]:
        offset = self._cursor.offset
        qp = self._cursor.take(1, "qp")[0]
        try:
            check_qps(start, (qp,))
        except ConfigError as error:
            raise self._cursor.error(str(error), offset) from None
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
