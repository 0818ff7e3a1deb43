"""The parts of an `.nvc` file as bytes: header, trailer, numbers, checks (docs/FORMAT.md, section 4)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from nvc_jax.bitstream.packets import MAX_PICTURES, check_picture_size
from nvc_jax.errors import ConfigError
from nvc_jax.io.checks import Check

MAGIC = b"\x8bNVC\r\n\x1a\n"
END_MARK = b"CVN\x8b"
MAJOR = 1
MINOR, MINOR_OF_SEVERAL = 0, 1  # the second with packets of several pictures
QP_STEPS = 256  # a qp is a multiple of 1 / 256
PRECISIONS = ("float32", "bfloat16", "float16", "int16")
MIN_INTRA = 11  # bytes of a start packet with an empty payload

END, OPTIONAL, FRACTION = ord("E"), 0x80, 0x20
# (start, refresh, several pictures) of the types of packets
TYPES = {
    ord("I"): (True, False, False),
    ord("P"): (False, False, False),
    ord("R"): (False, True, False),
    ord("J"): (True, False, True),
    ord("Q"): (False, False, True),
    ord("S"): (False, True, True),
}
TYPE_OF_PACKET = {packet: type_ for type_, packet in TYPES.items()}
_CHROMA_LOCATIONS = (None, "left", "center", "topleft")

# identity, precision, arithmetic, width, height, frame rate, colour (5), skip threshold,
# qp, intra qp, intra period, reset interval, qp offsets
_FIXED = struct.Struct("<32sBBHHII5BdHHII8b")
PREFIX = struct.Struct("<8sBBH")  # magic, major, minor, bytes of the header that follow before its check
TAIL = struct.Struct("<I4s")  # bytes of the trailer before the tail, end mark

ColourCodes = tuple[int | None, int | None, int | None, bool | None, str | None]


@dataclass(frozen=True)
class NvcHeader:
    """Description of a file, in the file.

    Attributes:
        identity: hash of the model, 64 hexadecimal digits.
        model: its name.
        precision: of the arithmetic, one of PRECISIONS.
        arithmetic: version of the integer arithmetic, 0 for floating point.
        width: of the picture in pixels, before padding.
        height: likewise.
        fps: frames per second.
        colour: H.273 primaries, transfer and matrix, full range, chroma location; None is unspecified.
        skip_threshold: symbols with a scale not above it are not in the stream; None: all are.
        qp: base qp of inter frames; that of each frame is with the frame.
        intra_qp: of intra frames.
        intra_period: frames from one intra frame to the next; -1 for only the first.
        reset_interval: frames from one refresh to the next, 0 for none.
        qp_offsets: added to the base qp of inter frame n, by n mod 8.
        pictures: of a packet, at most.
    """

    identity: str
    model: str
    precision: str
    arithmetic: int
    width: int
    height: int
    fps: Fraction
    colour: ColourCodes
    skip_threshold: float | None
    qp: float
    intra_qp: float
    intra_period: int
    reset_interval: int
    qp_offsets: tuple[int, ...]
    pictures: int = 1

    def to_bytes(self) -> bytes:
        """The header as it stands in a file, magic and check included.

        Raises:
            ConfigError: a value does not fit.
        """
        check_picture_size(self.width, self.height)
        primaries, transfer, matrix, full_range, location = self.colour
        name = self.model.encode()
        try:
            body = _FIXED.pack(
                bytes.fromhex(self.identity),
                PRECISIONS.index(self.precision),
                self.arithmetic,
                self.width,
                self.height,
                *_frame_rate(self.fps),
                *(2 if code is None else code for code in (primaries, transfer, matrix)),
                0 if full_range is None else 1 + full_range,
                _CHROMA_LOCATIONS.index(location),
                -1.0 if self.skip_threshold is None else self.skip_threshold,
                qp_steps(self.qp),
                qp_steps(self.intra_qp),
                max(0, self.intra_period),
                self.reset_interval,
                *self.qp_offsets,
            )
            body += struct.pack("<B", len(name)) + name
            body += struct.pack("<B", self.pictures) if self.pictures > 1 else b""
        except (struct.error, ValueError) as error:
            raise ConfigError(f"the header of an .nvc file cannot hold these settings ({error})") from None
        data = PREFIX.pack(MAGIC, MAJOR, MINOR_OF_SEVERAL if self.pictures > 1 else MINOR, len(body)) + body
        return data + check_bytes(data)

    @staticmethod
    def from_body(body: bytes) -> "NvcHeader":
        """The inverse, without magic, versions and check.

        Raises:
            ValueError: it is no header.
        """
        if len(body) < _FIXED.size + 1 or len(body) < _FIXED.size + 1 + body[_FIXED.size]:
            raise ValueError("it is too short")
        (identity, precision, arithmetic, width, height, numerator, denominator, *colour, full_range, location,
         skip_threshold, qp, intra_qp, intra_period, reset_interval, o0, o1, o2, o3, o4, o5, o6, o7) = (
            _FIXED.unpack_from(body))  # fmt: skip
        check_picture_size(width, height)
        if precision >= len(PRECISIONS) or location >= len(_CHROMA_LOCATIONS) or full_range > 2:
            raise ValueError("it has an unknown precision or colour description")
        if not numerator or not denominator:
            raise ValueError("its frame rate is not positive")
        if not (skip_threshold == -1.0 or 0.0 <= skip_threshold < 1e6):
            raise ValueError("its skip threshold is no number from 0 on")
        primaries, transfer, matrix = (None if code == 2 else code for code in colour)
        name = body[_FIXED.size + 1 :][: body[_FIXED.size]]
        pictures = body[_FIXED.size + 1 + len(name)] if len(body) > _FIXED.size + 1 + len(name) else 1
        if not 1 <= pictures <= MAX_PICTURES:
            raise ValueError(f"its packets have {pictures} pictures")
        return NvcHeader(
            identity=identity.hex(),
            model="".join(c if c.isprintable() else "\ufffd" for c in name.decode(errors="replace")),
            precision=PRECISIONS[precision],
            arithmetic=arithmetic,
            width=width,
            height=height,
            fps=Fraction(numerator, denominator),
            colour=(primaries, transfer, matrix, (None, False, True)[full_range], _CHROMA_LOCATIONS[location]),
            skip_threshold=None if skip_threshold < 0 else skip_threshold,
            qp=qp / QP_STEPS,
            intra_qp=intra_qp / QP_STEPS,
            intra_period=intra_period or -1,
            reset_interval=reset_interval,
            qp_offsets=(o0, o1, o2, o3, o4, o5, o6, o7),
            pictures=pictures,
        )


@dataclass(frozen=True)
class Trailer:
    """The end of a whole file.

    Attributes:
        frame_count: pictures of the sequence.
        starts: (number of the first picture, byte of the file) of every start packet, rising.
    """

    frame_count: int
    starts: tuple[tuple[int, int], ...]

    def to_bytes(self) -> bytes:
        """The trailer as it stands in a file, tail included."""
        body = bytearray(varint(self.frame_count) + varint(len(self.starts)))
        last = (0, 0)
        for entry in self.starts:
            body += varint(entry[0] - last[0]) + varint(entry[1] - last[1])
            last = entry
        data = bytes([END]) + varint(len(body)) + bytes(body)
        data += check_bytes(data)
        return data + TAIL.pack(len(data), END_MARK)

    @staticmethod
    def from_body(body: bytes, begin: int) -> "Trailer":
        """The inverse, without type, length, check and tail.

        Args:
            body: of the record.
            begin: byte of the file where the record begins.

        Raises:
            ValueError: it is no trailer of such a file.
        """
        values = varints(body)
        frame_count, count = next(values, 0), next(values, 0)
        if count * MIN_INTRA > begin:
            raise ValueError("the file has no room for so many intra frames")
        entries: list[tuple[int, int]] = []
        index = offset = 0
        for _ in range(count):
            delta_index, delta_offset = next(values, 0), next(values, 0)
            if delta_offset < MIN_INTRA or (entries and not delta_index):
                raise ValueError("its intra frames do not rise")
            index, offset = index + delta_index, offset + delta_offset
            entries.append((index, offset))
        if next(values, None) is not None:
            raise ValueError("it has more numbers than it says")
        if entries and index >= frame_count:
            raise ValueError("it counts more intra frames than frames")
        return Trailer(frame_count, tuple(entries))


def qp_steps(qp: float) -> int:
    """A qp in steps of 1 / QP_STEPS.

    Raises:
        ConfigError: it lies between two.
    """
    steps = qp * QP_STEPS
    if steps != round(steps):
        raise ConfigError(f"qp {qp:g} is not a multiple of 1/{QP_STEPS}")
    return round(steps)


def index_bytes(index: int) -> bytes:
    """Covered by the check of a packet beside its bytes, so that no packet is taken for another."""
    return index.to_bytes(8, "little")


def check_bytes(*data: bytes) -> bytes:
    """The check over some bytes, as it stands after them."""
    check = Check()
    for part in data:
        check.update(part)
    return check.value().to_bytes(4, "little")


def varint(value: int) -> bytes:
    """Seven bits a byte, least significant first; the top bit says that more follow."""
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def varints(data: bytes) -> Iterator[int]:
    """All numbers that `varint` wrote.

    Raises:
        ValueError: they are not whole.
    """
    value, shift = 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 63:
            raise ValueError("a number in it is too long")
        if byte < 0x80:
            yield value
            value, shift = 0, 0
    if shift:
        raise ValueError("it ends within a number")


def _frame_rate(fps: Fraction) -> tuple[int, int]:
    rate = fps.limit_denominator(1 << 24)
    if rate <= 0:
        raise ValueError(f"the frame rate {float(fps):g} is too low")
    return rate.as_integer_ratio()
