"""A second reader of `.nvc` files, written from section 4 of docs/FORMAT.md and nothing else of the project."""

import struct
from dataclasses import dataclass, field
from fractions import Fraction

import xxhash


class WrongError(Exception):
    """The bytes are no file by the document."""


@dataclass
class File:
    """Everything up to the end or to the first error; `whole`: there was none."""

    header: dict = field(default_factory=dict)
    packets: list = field(default_factory=list)  # (number, type without 0x20, qps, payload, check of the symbols)
    whole: bool = False


def read(data: bytes) -> File:
    file = File()
    try:
        _read(data, file)
        file.whole = True
    except WrongError:
        pass
    return file


def xxh3(data: bytes) -> int:
    return xxhash.xxh3_64_intdigest(data)


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise WrongError
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def varint(self) -> int:
        value = 0
        for number in range(9):
            byte = self.integer(1)
            value += (byte % 128) << 7 * number
            if byte < 128:
                return value
        raise WrongError

    def check(self, begin: int, more: bytes = b"") -> None:
        """The check of everything from a byte up to here."""
        expected = xxh3(self.data[begin : self.at] + more) % 2**32
        if self.integer(4) != expected:
            raise WrongError


def _read(data: bytes, file: File) -> None:
    source = _Bytes(data)
    if source.take(8) != bytes.fromhex("8B4E56430D0A1A0A") or source.integer(1) != 1:
        raise WrongError
    source.take(1)  # minor version
    fields = _Bytes(source.take(source.integer(2)))
    source.check(0)
    file.header = _header(fields)
    size = 2**16 + 16 * file.header["width"] * file.header["height"] * file.header["pictures"]
    number, offsets = 0, []
    while True:
        begin = source.at
        kind = source.integer(1)
        if kind == ord("E"):
            _end(source, begin, number, offsets)
            return
        if kind >= 0x80:
            length = source.varint()
            if length > 2**26:
                raise WrongError
            source.take(length)
            source.check(begin)
            continue
        fraction, kind = bool(kind & 0x20), chr(kind & ~0x20)
        if kind not in "IJPQRS":
            raise WrongError
        starts, several = kind in "IJ", kind in "JQS"
        count = source.integer(1) if several else 1
        if several and not 2 <= count <= file.header["pictures"]:
            raise WrongError
        qps = [
            Fraction(source.integer(1)) + (Fraction(source.integer(1), 256) if fraction else 0) for _ in range(count)
        ]
        if any(qp > 71 for qp in qps) or (starts and qps[0] > 63):
            raise WrongError
        if starts and source.varint() != number:  # pictures are missing, or are there twice
            raise WrongError
        length = source.varint()
        if length > size:
            raise WrongError
        payload, symbols = source.take(length), source.integer(3)
        source.check(begin, number.to_bytes(8, "little"))
        file.packets.append((number, kind, tuple(qps), payload, symbols))
        if starts:
            offsets.append((number, begin))
        number += count


def _end(source: _Bytes, begin: int, number: int, offsets: list) -> None:
    """Trailer and tail."""
    fields = _Bytes(source.take(source.varint()))
    if len(fields.data) > 2**26:
        raise WrongError
    source.check(begin)
    expected = [number, len(offsets)]
    last = (0, 0)
    for entry in offsets:
        expected += [entry[0] - last[0], entry[1] - last[1]]
        last = entry
    if [fields.varint() for _ in expected] != expected or fields.at != len(fields.data):
        raise WrongError
    size = source.at - begin
    if source.integer(4) != size or source.take(4) != bytes.fromhex("43564E8B") or source.at != len(source.data):
        raise WrongError


def _header(fields: _Bytes) -> dict:
    header = {"identity": fields.take(32).hex()}
    names = ("precision", "arithmetic", "width", "height", "numerator", "denominator")
    names += ("primaries", "transfer", "matrix", "range", "location")
    for name, size in zip(names, (1, 1, 2, 2, 4, 4, 1, 1, 1, 1, 1), strict=True):
        header[name] = fields.integer(size)
    (header["skip_threshold"],) = struct.unpack("<d", fields.take(8))
    header |= {name: Fraction(fields.integer(2), 256) for name in ("qp", "intra_qp")}
    header |= {name: fields.integer(4) for name in ("intra_period", "reset_interval")}
    header["qp_offsets"] = struct.unpack("<8b", fields.take(8))
    header["model"] = fields.take(fields.integer(1)).decode()
    header["pictures"] = fields.integer(1) if fields.at < len(fields.data) else 1
    width, height = header["width"], header["height"]
    if not 1 <= header["pictures"] <= 8 or not (1 <= width <= 16384 and 1 <= height <= 16384):
        raise WrongError
    if width * height > 2**26 or header["precision"] > 3 or header["range"] > 2 or header["location"] > 3:
        raise WrongError
    return header
