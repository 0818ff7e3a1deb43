"""The qps, starts and refreshes of a sequence (spec 9)."""

import dataclasses
from typing import Any

from nvc_jax.errors import ConfigError
from nvc_jax.spec import DEFAULT_QP, QP_LEVELS, QP_OFFSETS


@dataclasses.dataclass(frozen=True)
class QpOffsets:
    """Offsets that belong to a model; the encoder adds them to the base qp, and streams say the qp of every picture.

    Attributes:
        inter: of picture n, by n modulo their number.
        start: of pictures that start a run, instead; qps end at 63.
    """

    inter: tuple[int, ...] = QP_OFFSETS
    start: int = 0

    def __post_init__(self) -> None:
        count, largest = len(QP_OFFSETS), max(QP_OFFSETS)  # those of a stream's header, and of banks
        if len(self.inter) != count or not all(type(offset) is int and 0 <= offset <= largest for offset in self.inter):
            raise ConfigError(f"qp offsets are {list(self.inter)}; give {count} whole numbers from 0 to {largest}.")
        if type(self.start) is not int or not 0 <= self.start < QP_LEVELS:
            last = QP_LEVELS - 1
            raise ConfigError(f"the qp offset of intra pictures is {self.start}; give a whole number from 0 to {last}.")

    def to_dict(self) -> dict[str, Any]:
        """Those that are not the default, for JSON."""
        inter = {} if self.inter == QP_OFFSETS else {"qp_offsets": list(self.inter)}
        return inter | ({"intra_qp_offset": self.start} if self.start else {})


DEFAULT_OFFSETS = QpOffsets()


@dataclasses.dataclass(frozen=True)
class PacketPlan:
    """Settings of one packet.

    Attributes:
        index: number of its first picture from the start of the file.
        start: it decodes without the packets before it.
        refresh: it starts from the picture before, not from the state that the packet before left.
        qps: of its pictures, hierarchical offsets included.
    """

    index: int
    start: bool
    refresh: bool
    qps: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The rules of a sequence.

    Attributes:
        qp: base qp of inter frames, 0..63; larger is better.
        intra_qp: qp of pictures that start a run; None is the base qp and the offset of the model, at most 63.
        intra_period: frames from one intra frame to the next; -1 for only the first.
        qp_offsets: added to the base qp of inter frame n, by n modulo their number; None takes those of the model.
        reset_interval: frames from one refresh to the next; 0 for none, 1 for every inter frame (by the official
            rule, 1 never refreshes; decoders follow the stream).
    """

    qp: float = DEFAULT_QP
    intra_qp: float | None = None
    intra_period: int = -1
    reset_interval: int = 64
    qp_offsets: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, value in (("qp", self.qp), ("intra qp", self.intra_qp)):
            if value is not None and not 0 <= value <= QP_LEVELS - 1:
                raise ConfigError(f"{name} is {value:g}; it must be from 0 to {QP_LEVELS - 1}.")
        if self.qp_offsets is not None:
            QpOffsets(self.qp_offsets)
        if self.intra_period < 1 and self.intra_period != -1:
            raise ConfigError(f"intra period is {self.intra_period}; it must be at least 1, or -1 for one intra frame.")
        if self.reset_interval < 0:
            raise ConfigError(f"reset interval is {self.reset_interval}; it must be at least 1, or 0 for no refresh.")

    @property
    def start_qp(self) -> float:
        """Resolved `intra_qp`."""
        return self.qp if self.intra_qp is None else self.intra_qp

    def starts(self, index: int) -> bool:
        """True where picture `index` starts a run."""
        return index == 0 or (self.intra_period > 0 and index % self.intra_period == 0)

    def room(self, index: int, pictures: int) -> int:
        """Pictures of the packet that begins with picture `index`, at most: none starts within another."""
        return pictures if self.intra_period < 1 else min(pictures, self.intra_period - index % self.intra_period)

    def packet(self, index: int, pictures: int, start: bool | None = None) -> PacketPlan:
        """The plan of a packet of so many pictures, from picture `index` on; start: None asks the intra period."""
        start, members = self.starts(index) if start is None else start, range(index, index + pictures)
        offsets = QP_OFFSETS if self.qp_offsets is None else self.qp_offsets
        qps = [self.qp + offsets[member % len(offsets)] for member in members]
        if start:
            qps[0] = self.start_qp
        interval = self.reset_interval
        refresh = not start and interval > 0 and any(member % interval == 1 % interval for member in members)
        return PacketPlan(index, start, refresh, tuple(qps))

    def for_model(self, model: QpOffsets) -> "Schedule":
        """The schedule with the offsets of a model, where it has none of its own."""
        offsets = model.inter if self.qp_offsets is None else self.qp_offsets
        intra_qp = min(QP_LEVELS - 1, self.qp + model.start) if self.intra_qp is None else self.intra_qp
        return dataclasses.replace(self, qp_offsets=offsets, intra_qp=intra_qp)
