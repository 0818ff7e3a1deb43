"""Rate control: the qps of every packet, from what the packets before it took. One pass, no look-ahead.

Pure arithmetic: an encoder says what it knows of a packet before it is coded (`Upcoming`), gets its qps, and says what
came of it (`update`). The constants were fitted to embedded_v1; each controller corrects them as it goes.
"""

import dataclasses
import math
from typing import NamedTuple, Protocol

from nvc_jax.errors import ConfigError
from nvc_jax.spec import QP_LEVELS, QP_OFFSETS

DEFAULT_BUFFER = 1.0  # seconds
FULL_RANGE = 0.0, float(QP_LEVELS - 1)

_SLOPE = 0.074  # log2 of bits per qp, from one steady quality to another
_STEP_SLOPE = 0.15  # the same from one picture to the next: a better one has to repair the one before it, too
_INTRA_SLOPE = 0.09
_MOTION_POWER = 0.8  # bits of an inter picture grow with this power of its difference to the one before
_INTER_PRIOR = -6.1  # log2 of bits per pixel at qp 0, of a usual picture
_INTRA_PRIOR = -7.3  # the same of an intra picture with a texture of 1
_USUAL_DIFFERENCE, _LEAST_TEXTURE = 3.0, 0.25
_SCENE_CUT = 3.0  # a difference that is so many times the usual one, and above _CUT_DIFFERENCE, starts a new scene
_CUT_DIFFERENCE = 8.0
_LEARNING = 0.2  # weight of a new picture in the model
_RISE, _FALL = 2.0, 4.0  # of the base qp from packet to packet, at most
_HORIZON = 0.4  # of the length of the buffer, in which it is to be emptied (or filled)
_LEAST, _MOST = 0.4, 2.0  # of the bits that the channel takes in the meantime, at which is aimed for it
_MARGIN, _NEW_SCENE_MARGIN = 0.7, 0.5  # of the room in the buffer that a prediction may take
_LEAST_STEP, _SAFETY = 2.0, 0.2  # of another try: qps, and log2 of bits below the room

_DB_PER_QP = 0.16
_DB_LEARNING = 0.3
_DB_HORIZON = 16.0  # pictures in which a difference from the target is made good
_MOST_DB = 1.0  # that the pictures of the horizon are better or worse than the target for it
_FIRST_QP = 30.0


class Upcoming(NamedTuple):
    """A packet before it is coded.

    Attributes:
        start: it decodes without the packets before it.
        offsets: of the qp of each of its pictures from the base qp.
        difference: mean absolute difference of its pictures, each to the one before, of 8-bit luma; 0 for the first.
        texture: mean absolute difference of neighbouring pixels.
    """

    start: bool
    offsets: tuple[float, ...]
    difference: float
    texture: float


class Controller(Protocol):
    """Chooses qps; packets are coded one at a time.

    Attributes:
        measures_quality: `update` needs the PSNR.
        buffer_bits: in the buffer after the last packet; None without one.
    """

    @property
    def measures_quality(self) -> bool: ...  # noqa: D102
    @property
    def buffer_bits(self) -> float | None: ...  # noqa: D102

    def choose(self, packet: Upcoming) -> tuple[float, ...]:
        """The qps of the pictures of a packet."""

    def again(self, bits: int) -> tuple[float, ...] | None:
        """Lower qps for another try at a packet whose bits do not fit the buffer; None where they do, or none help."""

    def update(self, bits: int, psnr: float | None) -> None:
        """Learn what came of the packet of the last `choose`: its bits, and the mean PSNR of its pictures in dB."""


@dataclasses.dataclass(frozen=True)
class BitrateTarget:
    """A bitrate that a channel of constant rate can carry.

    Attributes:
        bitrate: bits per second.
        buffer_seconds: size of the leaky bucket between encoder and channel: how long the channel takes to empty it.
    """

    bitrate: float
    buffer_seconds: float = DEFAULT_BUFFER

    def __post_init__(self) -> None:
        if not (self.bitrate > 0 and math.isfinite(self.bitrate)):
            raise ConfigError(f"bitrate is {self.bitrate:g}; it must be positive, in bits per second.")
        if not (self.buffer_seconds > 0 and math.isfinite(self.buffer_seconds)):
            raise ConfigError(f"buffer is {self.buffer_seconds:g}; it must be positive, in seconds.")


@dataclasses.dataclass(frozen=True)
class QualityTarget:
    """A mean PSNR.

    Attributes:
        psnr: in dB, of 4:2:0 planes weighted 6:1:1.
    """

    psnr: float

    def __post_init__(self) -> None:
        if not 10 <= self.psnr <= 60:
            raise ConfigError(f"psnr is {self.psnr:g}; it must be from 10 to 60, in dB.")


@dataclasses.dataclass(frozen=True)
class Sequence:
    """A sequence, as far as a controller knows it.

    Attributes:
        fps: pictures per second.
        pixels: of a picture.
        qp_range: smallest and largest qp of its pictures, offsets included; multiples of `qp_step`.
        offsets: of the qps of inter pictures, repeated.
        qp_step: qps are multiples of it.
    """

    fps: float
    pixels: int
    qp_range: tuple[float, float] = FULL_RANGE
    offsets: tuple[int, ...] = QP_OFFSETS
    qp_step: float = 1 / 256

    def clamped(self, qp: float) -> float:
        """A qp within the range."""
        low, high = self.qp_range
        return min(high, max(low, qp))

    def qps(self, base: float, packet: Upcoming) -> tuple[float, ...]:
        """The qps of a packet: what the range and the steps leave of a base qp and offsets."""
        low, high = self.qp_range
        steps = (round((base + offset) / self.qp_step) * self.qp_step for offset in packet.offsets)
        return tuple(min(high, max(low, qp)) for qp in steps)


@dataclasses.dataclass(frozen=True)
class RateControl:
    """A target for an encoder instead of a qp.

    Attributes:
        target: what the qps follow.
        qp_range: smallest and largest qp of its pictures, offsets included.
    """

    target: BitrateTarget | QualityTarget
    qp_range: tuple[float, float] = FULL_RANGE

    def __post_init__(self) -> None:
        low, high = self.qp_range
        if not FULL_RANGE[0] <= low <= high <= FULL_RANGE[1]:
            raise ConfigError(
                f"qp range is {low:g} to {high:g}; give two qps from 0 to {QP_LEVELS - 1}, the lower one first."
            )

    def controller(self, fps: float, pixels: int, offsets: tuple[int, ...], qp_step: float) -> Controller:
        """A controller for one sequence; see `Sequence`.

        Raises:
            ConfigError: no qp that the container can hold is in the range.
        """
        low, high = math.ceil(self.qp_range[0] / qp_step) * qp_step, math.floor(self.qp_range[1] / qp_step) * qp_step
        if low > high:
            raise ConfigError(
                f"qp range is {self.qp_range[0]:g} to {self.qp_range[1]:g}; no multiple of {qp_step:g}, as the "
                "container holds, is in between."
            )
        sequence = Sequence(fps, pixels, (low, high), offsets, qp_step)
        if isinstance(self.target, BitrateTarget):
            return BitrateController(self.target, sequence)
        return QualityController(self.target, sequence)


def rate_control(
    bitrate: float | None = None,
    buffer: float | None = None,
    psnr: float | None = None,
    qp_range: tuple[float, float] | None = None,
) -> RateControl:
    """Rate control by the options of the command line and of Python.

    Raises:
        ConfigError: they do not name one target, or a value is out of its range.
    """
    if (bitrate is None) == (psnr is None):
        found = "both are" if psnr is not None else "none of them is"
        raise ConfigError(f"rate control follows a bitrate or a PSNR, and {found} given; name one.")
    qp_range = FULL_RANGE if qp_range is None else qp_range
    if bitrate is not None:
        return RateControl(BitrateTarget(bitrate, DEFAULT_BUFFER if buffer is None else buffer), qp_range)
    assert psnr is not None
    if buffer is not None:
        raise ConfigError("a buffer goes with a bitrate; with a PSNR there is none.")
    return RateControl(QualityTarget(psnr), qp_range)


class BitrateController:
    """Keeps the leaky bucket from running over, and the mean rate at the target.

    The bucket is filled by packets and emptied by the channel. Two models predict the bits of a packet, one for intra
    and one for inter pictures; the base qp aims at what empties (or fills) the bucket within its own length, moves
    slowly, and gives way where the prediction does not fit the bucket. A packet that does not fit although it was
    predicted to is coded again.
    """

    measures_quality = False

    def __init__(self, target: BitrateTarget, sequence: Sequence) -> None:
        self._sequence = sequence
        self.target = target
        shares = [2 ** (_STEP_SLOPE * offset) for offset in sequence.offsets]
        self._cycle = math.log2(sum(shares) / len(shares))
        self._usual = math.log2(_USUAL_DIFFERENCE)  # log2 of the difference between pictures
        self._intra = math.log2(sequence.pixels) + _INTRA_PRIOR
        self._inter = math.log2(sequence.pixels) + _INTER_PRIOR - self._cycle - _MOTION_POWER * self._usual
        self._debt = 0.0  # bits beyond the budget so far; below 0 they are saved up
        self._qp = sequence.clamped(self._steady_qp(self._budget))
        self._count = 0
        self.buffer_bits: float = 0.0
        self._packet, self._cut = _NOTHING, False
        self._qps: tuple[float, ...] = (self._qp,)

    @property
    def target(self) -> BitrateTarget:
        """Bitrate and buffer; new ones count from the next packet on."""
        return self._target

    @target.setter
    def target(self, target: BitrateTarget) -> None:
        self._target = target
        self._budget = target.bitrate / self._sequence.fps  # bits of a picture
        self._size = target.bitrate * target.buffer_seconds

    def choose(self, packet: Upcoming) -> tuple[float, ...]:
        """See `Controller`."""
        self._packet, self._cut = packet, self._is_cut(packet)
        if self._count and not packet.start:
            pressure = max(self._debt, self.buffer_bits - self._size / 2) / (_HORIZON * self._size)
            aim = self._budget * min(_MOST, max(_LEAST, 1 - pressure))
            steady = self._steady_qp(aim)
            self._qp = self._sequence.clamped(min(self._qp + _RISE, max(self._qp - _FALL, steady)))
        margin = _NEW_SCENE_MARGIN if packet.start or self._cut else _MARGIN
        room = margin * (self._size - self.buffer_bits + self._budget * len(packet.offsets))
        excess = self._predicted(packet, self._sequence.qps(self._qp, packet)) - math.log2(max(room, 1.0))
        slope = _INTRA_SLOPE if packet.start else _STEP_SLOPE
        self._qps = self._sequence.qps(self._qp - max(0.0, excess) / slope, packet)
        return self._qps

    def again(self, bits: int) -> tuple[float, ...] | None:
        """See `Controller`."""
        room = self._size - self.buffer_bits + self._budget * len(self._qps)
        if bits <= room or max(self._qps) <= self._sequence.qp_range[0]:
            return None
        step = max(_LEAST_STEP, (math.log2(bits / max(room, 1.0)) + _SAFETY) / _INTRA_SLOPE)
        self._qps = self._sequence.qps(0.0, self._packet._replace(offsets=tuple(qp - step for qp in self._qps)))
        return self._qps

    def update(self, bits: int, psnr: float | None = None) -> None:
        """See `Controller`."""
        packet = self._packet
        drained = self._budget * len(packet.offsets)
        self.buffer_bits = max(0.0, self.buffer_bits + bits - drained)
        self._debt = max(self._debt + bits - drained, -self._size)
        error = math.log2(max(bits, 1)) - self._predicted(packet, self._qps)
        if packet.start or self._cut:
            self._intra += error if not self._count else _LEARNING * error
        else:
            self._inter += _LEARNING * error
            self._usual += _LEARNING * (_log_difference(packet) - self._usual)
        self._count += 1

    def _predicted(self, packet: Upcoming, qps: tuple[float, ...]) -> float:
        """Log2 of the bits of a packet."""
        as_intra = self._intra + math.log2(max(packet.texture, _LEAST_TEXTURE)) + _INTRA_SLOPE * qps[0]
        if packet.start:
            return as_intra
        shares = (2 ** (_STEP_SLOPE * (qp - self._qp)) for qp in qps)
        inter = self._inter + _SLOPE * self._qp + _MOTION_POWER * _log_difference(packet) + math.log2(sum(shares))
        return min(inter, as_intra) if self._cut else inter

    def _is_cut(self, packet: Upcoming) -> bool:
        """A new scene; what goes on to differ that much is motion."""
        usual = max(_CUT_DIFFERENCE, _SCENE_CUT * 2**self._usual)
        return not packet.start and not self._cut and packet.difference > usual

    def _steady_qp(self, bits: float) -> float:
        """The base qp at which usual pictures take so many bits each."""
        return (math.log2(bits) - self._inter - _MOTION_POWER * self._usual - self._cycle) / _SLOPE


class QualityController:
    """Keeps the mean PSNR at the target."""

    measures_quality = True
    buffer_bits: float | None = None

    def __init__(self, target: QualityTarget, sequence: Sequence) -> None:
        self._target, self._sequence = target.psnr, sequence
        self._level = target.psnr - _DB_PER_QP * _FIRST_QP  # PSNR at qp 0
        self._excess = 0.0  # of the PSNR over the target, added up over the pictures
        self._packet = _NOTHING
        self._qps: tuple[float, ...] = (_FIRST_QP,)

    def choose(self, packet: Upcoming) -> tuple[float, ...]:
        """See `Controller`."""
        self._packet = packet
        offset = sum(packet.offsets) / len(packet.offsets)
        aim = self._target - min(_MOST_DB, max(-_MOST_DB, self._excess / _DB_HORIZON))
        self._qps = self._sequence.qps((aim - self._level) / _DB_PER_QP - offset, packet)
        return self._qps

    def again(self, bits: int) -> tuple[float, ...] | None:
        """See `Controller`: there is no buffer."""
        return None

    def update(self, bits: int, psnr: float | None = None) -> None:
        """See `Controller`."""
        assert psnr is not None
        qp = sum(self._qps) / len(self._qps)
        self._level += _DB_LEARNING * (psnr - _DB_PER_QP * qp - self._level)
        self._excess += (psnr - self._target) * len(self._qps)


_NOTHING = Upcoming(True, (0.0,), 0.0, 0.0)


def _log_difference(packet: Upcoming) -> float:
    return math.log2(packet.difference + 0.5)
