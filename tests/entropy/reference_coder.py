"""The dcvc dialect in plain Python, and a reader of the interleaved one (docs/FORMAT.md, sections 2 and 3).

Slow, short, and what the native coder is tested against.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from nvc_jax.entropy.tables import CdfArrays
from nvc_jax.errors import BitstreamError, TruncatedError

LOWER_BOUND = 1 << 23
PRECISION = 16
MAX_ESCAPE_GROUPS = 5
MAX_SHARED = 8
CHUNK = 4096

T = TypeVar("T")
Row = tuple[list[int], int]  # cumulative frequencies, integer of the first bin


def table_rows(tables: CdfArrays) -> list[Row]:
    """The rows of a table as Python integers."""
    return [
        (cdf[:length], offset)
        for cdf, length, offset in zip(tables.cdf.tolist(), tables.length.tolist(), tables.offset.tolist(), strict=True)
    ]


@dataclass
class _Writer:
    state: int = LOWER_BOUND
    reversed_bytes: list[int] = field(default_factory=list)

    def put(self, start: int, freq: int, bits: int) -> None:
        while self.state >= freq << (31 - bits):
            self.reversed_bytes.append(self.state & 0xFF)
            self.state >>= 8
        self.state = (self.state // freq << bits) + self.state % freq + start

    def put_symbol(self, row: Row, symbol: int) -> None:
        cdf, offset = row
        tail = len(cdf) - 2
        value = symbol - offset
        if not 0 <= value < tail:
            for digit in reversed(_escape_digits(-2 * value - 1 if value < 0 else 2 * (value - tail))):
                self.put(digit, 1, 2)
            value = tail
        self.put(cdf[value], cdf[value + 1] - cdf[value], PRECISION)

    def finished(self) -> bytes:
        return self.state.to_bytes(4, "little") + bytes(reversed(self.reversed_bytes))


def _escape_digits(raw: int) -> list[int]:
    groups = (raw.bit_length() + 1) // 2
    return [3] * (groups // 3) + [groups % 3] + [raw >> (2 * i) & 3 for i in range(groups)]


@dataclass
class _Reader:
    data: bytes
    position: int = 0
    state: int = LOWER_BOUND

    def byte(self) -> int:
        if self.position == len(self.data):
            raise TruncatedError("the payload ends before its last symbol")
        self.position += 1
        return self.data[self.position - 1]

    def start(self) -> None:
        self.state = sum(self.byte() << (8 * i) for i in range(4))
        if not LOWER_BOUND <= self.state < LOWER_BOUND << 8:
            raise BitstreamError("the payload starts with an impossible state")

    def drop(self, start: int, freq: int, bits: int) -> None:
        self.state = freq * (self.state >> bits) + self.state % (1 << bits) - start
        while self.state < LOWER_BOUND:
            self.state = self.state << 8 | self.byte()

    def digit(self) -> int:
        digit = self.state & 3
        self.drop(digit, 1, 2)
        return digit

    def symbol(self, row: Row) -> int:
        cdf, offset = row
        tail = len(cdf) - 2
        slot = self.state % (1 << PRECISION)
        value = next(i for i in range(tail + 1) if slot < cdf[i + 1])
        self.drop(cdf[value], cdf[value + 1] - cdf[value], PRECISION)
        if value == tail:
            raw = self.escape()
            value = -(raw >> 1) - 1 if raw & 1 else (raw >> 1) + tail
        if not -128 <= value + offset <= 127:
            raise BitstreamError("the payload holds an impossible symbol")
        return value + offset

    def escape(self) -> int:
        groups = digit = self.digit()
        while digit == 3 and groups <= MAX_ESCAPE_GROUPS:
            digit = self.digit()
            groups += digit
        if groups > MAX_ESCAPE_GROUPS:
            raise BitstreamError("the payload holds an impossible symbol")
        return sum(self.digit() << (2 * i) for i in range(groups))


class _Part(_Reader):
    """A part of the interleaved dialect: the state is that of the lane in turn, the digits come from the end."""

    def __init__(self, data: bytes, lanes: int) -> None:
        super().__init__(data)
        self.lanes = [LOWER_BOUND] * lanes
        self.started = False
        self.bits = 0

    def digit(self) -> int:
        at, shift = len(self.data) - 1 - self.bits // 8, self.bits % 8
        if at < 0:
            raise TruncatedError("the payload ends before its last symbol")
        self.bits += 2
        return self.data[at] >> shift & 3

    def chunk(self, rows: Sequence[Row | None]) -> list[int]:
        if not self.started and any(rows):
            self.started = True
            for lane in range(len(self.lanes)):
                self.start()
                self.lanes[lane] = self.state
        result, coded = [0] * len(rows), 0
        for i, row in enumerate(rows):
            if row is not None:
                lane, coded = coded % len(self.lanes), coded + 1
                self.state = self.lanes[lane]
                result[i] = self.symbol(row)
                self.lanes[lane] = self.state
        return result

    def finish(self) -> None:
        at, shift = len(self.data) - 1 - self.bits // 8, self.bits % 8
        used = self.position + (self.bits + 7) // 8
        if used != len(self.data) or set(self.lanes) != {LOWER_BOUND} or (shift and self.data[at] >> shift):
            raise BitstreamError("the payload does not end after its last symbol")


def encode(segments: Sequence[tuple[Sequence[Row], Sequence[int]]], streams: int) -> bytes:
    """The payload of segments, each given as the rows and the values of its coded symbols."""
    parts = []
    for stream in range(streams):
        writer = _Writer()
        symbols = [
            pair for rows, values in segments for pair in _part(list(zip(rows, values, strict=True)), stream, streams)
        ]
        for row, value in reversed(symbols):
            writer.put_symbol(row, value)
        parts.append(writer.finished() if symbols else b"")
    if streams == 1:
        return parts[0]
    shared = _shared_bytes(parts[0], parts[1])
    return parts[0] + parts[1][: len(parts[1]) - shared][::-1]


def decode(data: bytes, segments: Sequence[Sequence[Row]], streams: int) -> list[list[int]]:
    """The symbols of segments, each given as the rows of its coded symbols.

    Raises:
        BitstreamError: `data` is no payload of such segments.
    """
    readers = [_Reader(data), _Reader(data[::-1])][:streams]
    started = [False] * streams
    result = []
    for rows in segments:
        symbols = []
        for stream, reader in enumerate(readers):
            part = _part(rows, stream, streams)
            if part and not started[stream]:
                started[stream] = True
                reader.start()
            symbols += [reader.symbol(row) for row in part]
        result.append(symbols)
    used = [reader.data[: reader.position] for reader in readers]
    shared = _shared_bytes(*used) if streams == 2 else 0
    if any(reader.state != LOWER_BOUND for reader in readers) or sum(map(len, used)) - shared != len(data):
        raise BitstreamError("the payload does not end after its last symbol")
    return result


def decode_interleaved(data: bytes, lists: Sequence[Sequence[Row | None]]) -> list[list[int]]:
    """The symbols of lists, each given as the rows of its positions, None where they are not coded.

    Raises:
        BitstreamError: `data` is no payload of such lists.
    """
    if bool(data) != any(map(any, lists)):
        raise BitstreamError("the payload does not end after its last symbol")
    lanes, count = (1 << (data[0] & 15), 1 << (data[0] >> 4)) if data else (1, 1)
    if lanes > 32 or count > 16:
        raise BitstreamError("the payload starts with an impossible byte")
    begin = 4 * count - 3
    lengths = [int.from_bytes(data[at : at + 4], "little") for at in range(1, begin, 4)]
    if begin + sum(lengths) > max(1, len(data)):
        raise TruncatedError("the payload ends before its last symbol")
    parts = []
    for length in [*lengths, len(data) - begin - sum(lengths)]:
        parts.append(_Part(data[begin : begin + length], lanes))
        begin += length
    result, number = [], 0
    for rows in lists:
        symbols = []
        for at in range(0, len(rows), CHUNK):
            symbols += parts[number % count].chunk(rows[at : at + CHUNK])
            number += 1
        result.append(symbols)
    for part in parts:
        part.finish()
    return result


def _part(items: Sequence[T], stream: int, streams: int) -> Sequence[T]:
    return items[len(items) * stream // streams : len(items) * (stream + 1) // streams]


def _shared_bytes(first: bytes, second: bytes) -> int:
    most = min(len(first), len(second), MAX_SHARED)
    zeros = 0
    while zeros < most and first[-1 - zeros] == second[-1 - zeros] == 0:
        zeros += 1
    return 1 if zeros == 0 and most > 0 and first[-1] == second[-1] else zeros
