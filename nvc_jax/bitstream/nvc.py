"""Our container, `.nvc`: says all that a decoder must know, checks every frame, seeks (docs/FORMAT.md, section 4)."""

import bisect
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

from nvc_jax.bitstream.cursor import CHUNK_BYTES, Cursor
from nvc_jax.bitstream.nvc_syntax import (
    END,
    END_MARK,
    FRACTION,
    MAGIC,
    MAJOR,
    OPTIONAL,
    PREFIX,
    QP_STEPS,
    TAIL,
    TYPE_OF_PACKET,
    TYPES,
    NvcHeader,
    Trailer,
    check_bytes,
    index_bytes,
    qp_steps,
    varint,
)
from nvc_jax.bitstream.packets import CodedPacket, LostPicture, Packet, check_qps
from nvc_jax.errors import BitstreamError, ConfigError, TruncatedError
from nvc_jax.spec import CHECK_BITS, Dialect

MAX_LOST = 1 << 17  # frames that may be missing in a file, an hour at 36 frames per second
MAX_TRAILER = 1 << 26  # bytes
MAX_SCAN = 64  # times the size of the file may be read in search of intra frames

Parsed = TypeVar("Parsed")


class NvcWriter:
    """Writes a file from its start to its end; nothing is changed afterwards, so it may be a pipe."""

    dialect: Dialect = "interleaved"

    def __init__(self, file: BinaryIO, header: bytes) -> None:
        """Write the header, as `NvcHeader.to_bytes` gives it."""
        self._file = file
        self._unreported = self._write(header)  # counted to the first packet
        self._offset = self._unreported
        self._pictures = 0
        self._starts: list[tuple[int, int]] = []

    def write(self, packet: CodedPacket, index: int | None = None) -> int:
        """Write a packet. Returns the number of bytes; the header is counted to the first packet.

        Args:
            packet: with an interleaved payload and a check.
            index: number of its first picture, where pictures before it are missing (only start packets carry it).

        Raises:
            ConfigError: the packet does not fit the container.
        """
        check_qps(packet.start, packet.qps)
        if packet.dialect != self.dialect or packet.check is None:
            raise ConfigError("a frame of an .nvc file needs an interleaved payload and a check")
        index = self._pictures if index is None else index
        if index < self._pictures or (index > self._pictures and not packet.start):
            raise ConfigError(f"frame {index} cannot follow frame {self._pictures - 1}")
        steps = [divmod(qp_steps(qp), QP_STEPS) for qp in packet.qps]
        has_fraction, several = any(fraction for _, fraction in steps), len(steps) > 1
        type_ = TYPE_OF_PACKET[packet.start, packet.refresh and not packet.start, several]
        data = bytes([type_ | FRACTION * has_fraction]) + (bytes([len(steps)]) if several else b"")
        data += b"".join(bytes([whole, fraction] if has_fraction else [whole]) for whole, fraction in steps)
        if packet.start:
            data += varint(index)
            self._starts.append((index, self._offset))
        data += varint(len(packet.payload)) + packet.payload + packet.check.to_bytes(CHECK_BITS // 8, "little")
        size = self._write(data + check_bytes(data, index_bytes(index)))
        self._offset += size
        self._pictures = index + len(steps)
        size, self._unreported = size + self._unreported, 0
        return size

    def finish(self) -> int:
        """Write the trailer. Returns the number of bytes."""
        return self._write(Trailer(self._pictures, tuple(self._starts)).to_bytes())

    def _write(self, data: bytes) -> int:
        self._file.write(data)
        self._file.flush()  # a reader may follow
        return len(data)


class NvcReader:
    """Iterates over the packets of a file or pipe, holding one at a time.

    Raises, while iterating:
        TruncatedError: the data ends too early; all packets before the cut have been given.
        BitstreamError: a packet is damaged; all packets before it have been given.

    Attributes:
        header: description of the file.
        header_bytes: the same, as it stands there.
        trailer_bytes: bytes after the last packet, known when the end was reached.
        damage: the first that was concealed, in words.
    """

    def __init__(self, cursor: Cursor, conceal: bool = False) -> None:
        """Read the header.

        Args:
            cursor: at the start of the stream.
            conceal: give a LostPicture for every picture that is missing; after damage, go on at the next start packet
                if the source is a file and has one, else end there.

        Raises:
            BitstreamError: the header is damaged, or of a newer major version.
        """
        self._cursor = cursor
        self._conceal = conceal
        self._lost = 0
        self.damage: str | None = None
        self.header, self.header_bytes = self._read_header()
        self._begin = 0  # the first packet counts the header
        self._next = 0
        self._end = self._find_trailer() if cursor.seekable else None
        self.trailer_bytes = 0
        self._scan_budget = MAX_SCAN * cursor.size() if conceal and cursor.seekable else 0

    @property
    def frame_count(self) -> int | None:
        """Pictures of the sequence; None in a pipe and in a file that was cut."""
        return self._end[0].frame_count if self._end else None

    def seek(self, index: int) -> bool:
        """Go to the last start packet not after picture `index`; False where that is unknown."""
        entry = self._start_entry(index)
        if entry is None:
            return False
        self._next, self._begin = entry
        self._cursor.seek(self._begin)
        return True

    def start_before(self, index: int) -> int | None:
        """First picture of the last start packet not after picture `index`; None where that is unknown."""
        entry = self._start_entry(index)
        return None if entry is None else entry[0]

    def _start_entry(self, index: int) -> tuple[int, int] | None:
        entries = self._end[0].starts if self._end else ()
        position = bisect.bisect_right(entries, index, key=lambda entry: entry[0])
        return entries[position - 1] if position else None

    def __iter__(self) -> Iterator[Packet | LostPicture]:
        """Read on from where the last packet ended."""
        cursor = self._cursor
        while True:
            begin = cursor.offset
            cursor.where = f"frame {self._next}"
            try:
                found = self._record()
            except BitstreamError as error:
                if not self._conceal:
                    raise
                self.damage = self.damage or str(error)
                found_index = self._find_start(begin + 1)
                if found_index is None:
                    return
                yield from self._lose(found_index, str(error))
                self._begin = cursor.offset
                continue
            if isinstance(found, Trailer):
                yield from self._lose(found.frame_count, "missing")
                try:
                    self._check_end(cursor.offset - begin)
                except BitstreamError as error:
                    if not self._conceal:
                        raise
                    self.damage = self.damage or str(error)
                return
            if found is not None:
                yield from self._lose(found.index, "missing")
                self._begin, self._next = cursor.offset, found.index + len(found.qps)
                yield found

    def _lose(self, end: int, reason: str) -> Iterator[LostPicture]:
        """The pictures from the next one to `end`, which are not there."""
        if end > self._next and not self._conceal:
            missing = f"frames {self._next} to {end - 1} are missing; `conceal` goes on after them"
            raise self._cursor.error(missing, self._cursor.offset)
        self._check_gap(end, self._cursor.offset)
        self._lost += end - self._next
        while self._next < end:
            self._next += 1
            yield LostPicture(self._next - 1, self.header.width, self.header.height, reason)

    def _record(self) -> Packet | Trailer | None:
        """The next packet, the trailer, or None for a record that this version may skip."""
        cursor = self._cursor
        begin = cursor.offset
        cursor.begin_check()
        type_ = cursor.take_byte_or_end()
        if type_ is None:
            raise TruncatedError(
                f"{cursor.where}: the file ends before it, without an index (byte {begin}); it was cut or is still "
                "being written"
            )
        if type_ == END:
            cursor.where = "index"
        if type_ & OPTIONAL or type_ == END:
            body = cursor.take(self._length(MAX_TRAILER), "data")
            self._confirm(begin)
            return self._parse(lambda: Trailer.from_body(body, begin), "trailer", begin) if type_ == END else None
        if type_ & ~FRACTION not in TYPES:
            raise cursor.error(f"unknown record type {type_}", begin)
        start, refresh, several = TYPES[type_ & ~FRACTION]
        pictures = cursor.take(1, "number of pictures")[0] if several else 1
        if several and not 2 <= pictures <= self.header.pictures:
            raise cursor.error(f"{pictures} pictures in a packet, the header says {self.header.pictures}", begin)
        width = 2 if type_ & FRACTION else 1
        steps = cursor.take(pictures * width, "qp")
        fractions = steps[1::2] if width > 1 else bytes(pictures)
        qps = tuple(whole + part / QP_STEPS for whole, part in zip(steps[::width], fractions, strict=True))
        index = self._varint("frame number") if start else self._next
        try:
            check_qps(start, qps)
        except ConfigError as error:
            raise cursor.error(str(error), begin) from None
        self._check_gap(index, begin)
        payload = cursor.take(self._length(self._max_payload), "payload")
        check = int.from_bytes(cursor.take(CHECK_BITS // 8, "check of the symbols"), "little")
        self._confirm(begin, index_bytes(index))
        return Packet(
            start=start,
            qps=qps,
            refresh=refresh,
            dialect="interleaved",
            payload=payload,
            check=check,
            index=index,
            width=self.header.width,
            height=self.header.height,
            offset=self._begin,
            size_bytes=cursor.offset - self._begin,
        )

    @property
    def _max_payload(self) -> int:
        """Bytes, well above those of any packet of this size."""
        return (1 << 16) + 16 * self.header.width * self.header.height * self.header.pictures

    def _length(self, limit: int) -> int:
        length = self._varint("length")
        if length > limit:
            raise self._cursor.error(f"a length of {length} bytes is impossible here", self._cursor.offset)
        return length

    def _varint(self, what: str) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self._cursor.take(1, what)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise self._cursor.error(f"{what} is too long", self._cursor.offset)

    def _confirm(self, begin: int, more: bytes = b"") -> None:
        expected = self._cursor.check(more)
        if int.from_bytes(self._cursor.take(4, "check"), "little") != expected:
            raise self._cursor.error("its bytes do not fit their check, the file is damaged", begin)

    def _check_gap(self, index: int, offset: int) -> None:
        """Refuse a number that is too low, or so high that a few bytes would cost a decoder hours."""
        if not 0 <= index - self._next <= MAX_LOST - self._lost:
            raise self._cursor.error(f"frame {index} cannot come next", offset)

    def _read_header(self) -> tuple[NvcHeader, bytes]:
        cursor = self._cursor
        cursor.where = "header"
        cursor.begin_check()
        prefix = cursor.take(PREFIX.size, "start")
        magic, major, _, size = PREFIX.unpack(prefix)
        if magic != MAGIC:
            raise BitstreamError("not an .nvc file")
        if major != MAJOR:
            raise BitstreamError(f"the file has version {major}, this program reads version {MAJOR}; update nvc-jax")
        body = cursor.take(size, "header")
        self._confirm(0)
        header = self._parse(lambda: NvcHeader.from_body(body), "header", 0)
        return header, prefix + body + check_bytes(prefix, body)

    def _parse(self, parse: Callable[[], Parsed], what: str, offset: int) -> Parsed:
        try:
            return parse()
        except ValueError as error:
            raise self._cursor.error(f"the {what} is wrong: {error}", offset) from None

    def _find_trailer(self) -> tuple[Trailer, int] | None:
        """The trailer of a whole file and where it begins; the cursor comes back."""
        cursor, here = self._cursor, self._cursor.offset
        try:
            end = cursor.size() - TAIL.size
            cursor.seek(max(here, end))
            size, mark = TAIL.unpack(cursor.take(TAIL.size, "end"))
            if mark != END_MARK or size > end - here:
                return None
            cursor.seek(end - size)
            trailer = self._record()
            if not isinstance(trailer, Trailer) or cursor.offset != end:
                return None
            offsets = [offset for _, offset in trailer.starts]
            inside = not offsets or (offsets[0] >= here and offsets[-1] < end - size)
            return (trailer, end - size) if inside else None
        except BitstreamError:
            return None
        finally:
            cursor.seek(here)

    def _find_start(self, begin: int) -> int | None:
        """Go to the first whole start packet, or the trailer, from byte `begin` on. Returns its picture, if any."""
        cursor = self._cursor
        for offset in self._candidates(begin) if cursor.seekable else ():
            cursor.seek(offset)
            try:
                found = self._record()
                if found is not None:
                    return found.frame_count if isinstance(found, Trailer) else found.index
            except BitstreamError:
                self._scan_budget -= cursor.offset - offset
            finally:
                cursor.seek(offset)
            if self._scan_budget < 0:
                break
        return None

    def _candidates(self, begin: int) -> Iterator[int]:
        """Bytes of the file where a start packet or the trailer may begin."""
        if self._end is not None:
            trailer, offset = self._end
            yield from (entry for _, entry in trailer.starts if entry >= begin)
            yield offset
            return
        cursor = self._cursor
        while True:
            cursor.seek(begin)
            data = cursor.peek(CHUNK_BYTES)
            if not data:
                return
            yield from (begin + match.start() for match in re.finditer(b"[IiJj]", data))
            begin += len(data)

    def _check_end(self, trailer_size: int) -> None:
        """After the trailer, there must be its tail and nothing else."""
        cursor = self._cursor
        cursor.where = "end"
        if cursor.take(TAIL.size, "tail") != TAIL.pack(trailer_size, END_MARK):
            raise cursor.error("the tail is damaged", cursor.offset - TAIL.size)
        self.trailer_bytes = trailer_size + TAIL.size
        if cursor.peek(1):
            raise cursor.error("something follows the end", cursor.offset)
