"""Coded packets, the content of every container."""

import itertools
from dataclasses import dataclass

from nvc_jax.errors import ConfigError
from nvc_jax.spec import QP_LEVELS, QP_OFFSETS, Dialect

MAX_SIDE = 1 << 14
MAX_PIXELS = 1 << 26
MAX_PICTURES = 8  # of a packet
MAX_START_QP = QP_LEVELS - 1  # of the picture that starts a run
MAX_QP = MAX_START_QP + max(QP_OFFSETS)


@dataclass(frozen=True)
class CodedPacket:
    """A packet as the encoder gives it to a container.

    Attributes:
        start: it decodes without the packets before it.
        refresh: it starts from the picture before, not from the state that the packet before left.
        qps: of its pictures, 1 to MAX_PICTURES, offsets included. A network that codes more pictures codes the last one
            again, and nobody shows it.
        dialect: of the payload.
        payload: entropy-coded bytes.
        check: a hash of the symbols and table indexes; None where the container has no place for it.
    """

    start: bool
    refresh: bool
    qps: tuple[float, ...]
    dialect: Dialect
    payload: bytes
    check: int | None

    @property
    def types(self) -> str:
        """The letter of each picture in reports: I for the first one of a start packet, else P."""
        return ("I" if self.start else "P") + "P" * (len(self.qps) - 1)


@dataclass(frozen=True)
class Packet(CodedPacket):
    """A packet as it was found in a file.

    Attributes:
        index: number of its first picture, from 0.
        width: of the pictures in pixels, before padding.
        height: likewise.
        offset: byte of the file where the packet begins, headers before it included.
        size_bytes: bytes of the file it takes, headers before it included.
    """

    index: int
    width: int
    height: int
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class LostPicture:
    """A picture that is missing or damaged, where the reader was asked to go on.

    Attributes:
        index: its number.
        width: in pixels, before padding.
        height: likewise.
        reason: the damage, for people.
    """

    index: int
    width: int
    height: int
    reason: str


def shared(amount: int, pictures: int) -> list[int]:
    """The bits or bytes of a packet, shared among its pictures in whole numbers."""
    ends = [amount * number // pictures for number in range(pictures + 1)]
    return [end - begin for begin, end in itertools.pairwise(ends)]


def check_picture_size(width: int, height: int) -> None:
    """Refuse sizes beyond the limits of the containers.

    Raises:
        ConfigError: a side or the number of pixels is out of range.
    """
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE) or height * width > MAX_PIXELS:
        raise ConfigError(
            f"picture size {width}x{height} is out of range: sides 1..{MAX_SIDE}, at most {MAX_PIXELS} pixels"
        )


def check_qps(start: bool, qps: tuple[float, ...]) -> None:
    """Refuse qps that no model has.

    Raises:
        ConfigError: one is out of range, or there are none or too many.
    """
    if not 1 <= len(qps) <= MAX_PICTURES:
        raise ConfigError(f"a packet of {len(qps)} pictures; there are 1 to {MAX_PICTURES}")
    for number, qp in enumerate(qps):
        type_, limit = ("I", MAX_START_QP) if start and number == 0 else ("P", MAX_QP)
        if not 0 <= qp <= limit:
            raise ConfigError(f"qp {qp:g} of {type_} frame out of range 0..{limit}")
