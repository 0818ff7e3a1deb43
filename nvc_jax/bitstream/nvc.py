"""Our container, `.nvc`: says all that a decoder must know, checks every frame, seeks (docs/FORMAT.md, section 4)."""

import bisect
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

from nvc_jax.bitstream.cursor import CHUNK_BYTES, Cursor
from nvc_jax.bitstream.frames import CodedFrame, FrameUnit, LostFrame, check_qp
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
    TYPE_OF_FRAME,
    TYPES,
    NvcHeader,
    Trailer,
    check_bytes,
    index_bytes,
    qp_steps,
    varint,
)
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
        self._unreported = self._write(header)  # counted to the first frame
        self._offset = self._unreported
        self._frames = 0
        self._intra_frames: list[tuple[int, int]] = []

    def write_frame(self, frame: CodedFrame, index: int | None = None) -> int:
        """Write a frame. Returns the number of bytes; the header is counted to the first frame.

        Args:
            frame: with an interleaved payload and a check.
            index: frame number, where frames before it are missing (only intra frames carry it).

        Raises:
            ConfigError: the frame does not fit the container.
        """
        check_qp(frame.kind, frame.qp)
        if frame.dialect != self.dialect or frame.check is None:
            raise ConfigError("a frame of an .nvc file needs an interleaved payload and a check")
        index = self._frames if index is None else index
        if index < self._frames or (index > self._frames and frame.kind != "I"):
            raise ConfigError(f"frame {index} cannot follow frame {self._frames - 1}")
        steps = qp_steps(frame.qp)
        fraction = steps % QP_STEPS
        data = bytes([TYPE_OF_FRAME[frame.kind, frame.refresh] | (FRACTION if fraction else 0), steps // QP_STEPS])
        data += bytes([fraction]) if fraction else b""
        if frame.kind == "I":
            data += varint(index)
            self._intra_frames.append((index, self._offset))
        data += varint(len(frame.payload)) + frame.payload + frame.check.to_bytes(CHECK_BITS // 8, "little")
        size = self._write(data + check_bytes(data, index_bytes(index)))
        self._offset += size
        self._frames = index + 1
        size, self._unreported = size + self._unreported, 0
        return size

    def finish(self) -> int:
        """Write what comes after the last frame. Returns the number of bytes."""
        return self._write(Trailer(self._frames, tuple(self._intra_frames)).to_bytes())

    def _write(self, data: bytes) -> int:
        self._file.write(data)
        self._file.flush()  # a reader may follow
        return len(data)


class NvcReader:
    """Iterates over the frames of a file or pipe, holding one frame at a time.

    Raises, while iterating:
        TruncatedError: the data ends too early; all frames before the cut have been given.
        BitstreamError: a frame is damaged; all frames before it have been given.

    Attributes:
        header: what the file says about itself.
        header_bytes: the same as it stands there.
        trailer_bytes: bytes after the last frame, known when the end was reached.
        damage: the first that was concealed, in words.
    """

    def __init__(self, cursor: Cursor, conceal: bool = False) -> None:
        """Read the header.

        Args:
            cursor: at the start of the stream.
            conceal: give a LostFrame for every frame that is missing; after damage, go on at the next intra frame if
                the source is a file and has one, else end there.

        Raises:
            BitstreamError: the header is damaged, or of a newer major version.
        """
        self._cursor = cursor
        self._conceal = conceal
        self._lost = 0
        self.damage: str | None = None
        self.header, self.header_bytes = self._read_header()
        self._begin = 0  # the first frame counts the header
        self._next = 0
        self._end = self._find_trailer() if cursor.seekable else None
        self.trailer_bytes = 0
        self._scan_budget = MAX_SCAN * cursor.size() if conceal and cursor.seekable else 0

    @property
    def frame_count(self) -> int | None:
        """Frames of the sequence; None in a pipe and in a file that was cut."""
        return self._end[0].frame_count if self._end else None

    def seek(self, index: int) -> bool:
        """Go to the last intra frame not after frame `index`; False where that is unknown."""
        entries = self._end[0].intra_frames if self._end else ()
        position = bisect.bisect_right(entries, index, key=lambda entry: entry[0])
        if not position:
            return False
        self._next, self._begin = entries[position - 1]
        self._cursor.seek(self._begin)
        return True

    def __iter__(self) -> Iterator[FrameUnit | LostFrame]:
        """Read on from where the last frame ended."""
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
                found_index = self._find_intra(begin + 1)
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
                self._begin, self._next = cursor.offset, found.index + 1
                yield found

    def _lose(self, end: int, reason: str) -> Iterator[LostFrame]:
        """The frames from the next one to `end`, which are not there."""
        if end > self._next and not self._conceal:
            missing = f"frames {self._next} to {end - 1} are missing; --conceal goes on after them"
            raise self._cursor.error(missing, self._cursor.offset)
        self._check_gap(end, self._cursor.offset)
        self._lost += end - self._next
        while self._next < end:
            self._next += 1
            yield LostFrame(self._next - 1, self.header.width, self.header.height, reason)

    def _record(self) -> FrameUnit | Trailer | None:
        """The next frame, the trailer, or None for what this version may skip."""
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
        kind, refresh = TYPES[type_ & ~FRACTION]
        steps = cursor.take(1, "qp")[0] * QP_STEPS
        if type_ & FRACTION:
            steps += cursor.take(1, "fraction of the qp")[0]
        index = self._varint("frame number") if kind == "I" else self._next
        try:
            check_qp(kind, steps / QP_STEPS)
        except ConfigError as error:
            raise cursor.error(str(error), begin) from None
        self._check_gap(index, begin)
        payload = cursor.take(self._length(self._max_payload), "payload")
        check = int.from_bytes(cursor.take(CHECK_BITS // 8, "check of the symbols"), "little")
        self._confirm(begin, index_bytes(index))
        return FrameUnit(
            kind=kind,
            qp=steps / QP_STEPS,
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
        """Bytes, well above what any picture of this size needs."""
        return (1 << 16) + 16 * self.header.width * self.header.height

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
            offsets = [offset for _, offset in trailer.intra_frames]
            inside = not offsets or (offsets[0] >= here and offsets[-1] < end - size)
            return (trailer, end - size) if inside else None
        except BitstreamError:
            return None
        finally:
            cursor.seek(here)

    def _find_intra(self, begin: int) -> int | None:
        """Go to the first whole intra frame, or the trailer, from byte `begin` on. Returns its frame number, if any."""
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
        """Bytes of the file where an intra frame or the trailer may begin."""
        if self._end is not None:
            trailer, offset = self._end
            yield from (entry for _, entry in trailer.intra_frames if entry >= begin)
            yield offset
            return
        cursor = self._cursor
        while True:
            cursor.seek(begin)
            data = cursor.peek(CHUNK_BYTES)
            if not data:
                return
            yield from (begin + match.start() for match in re.finditer(b"[Ii]", data))
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
