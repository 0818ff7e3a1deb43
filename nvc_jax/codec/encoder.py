"""Pictures to packets: the sequence loop of the encoder."""

import copy
import dataclasses
from collections.abc import Iterable, Iterator

from jax import Array

from nvc_jax.bitstream import CodedPacket
from nvc_jax.codec.activity import Activity
from nvc_jax.codec.history import History
from nvc_jax.codec.loop import PackedSymbols, batched, encode, filled
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import Download, download_planes, upload
from nvc_jax.codec.pipeline import MAX_DELAY, Pipeline
from nvc_jax.codec.rate_control import Controller, Upcoming
from nvc_jax.codec.schedule import PacketPlan, Schedule
from nvc_jax.errors import ConfigError, VideoError
from nvc_jax.io.timing import Timer
from nvc_jax.spec import DEFAULT_PRESET, Dialect, Preset
from nvc_jax.video import Frame, RgbFrame, VideoInfo, YuvFrame, check_frame, coded_colour, rgb_to_yuv
from nvc_jax.video.quality import frame_psnr

RECORD_BYTES = 13  # of an .nvc packet beside its payload, most often
RGB_COLOUR = coded_colour(VideoInfo(1, 1, is_rgb=True))  # of what RGB is coded as
_Planned = tuple[PacketPlan, list[Frame]]


@dataclasses.dataclass(frozen=True)
class EncodedPacket:
    """One coded packet.

    Attributes:
        index: number of its first picture.
        coded: the packet as containers take it.
        sources: the pictures that were coded.
        reconstructions: the pictures that a decoder will give, if asked for.
        pictures: the same on the device, [1, T, H', W', 3], not rounded.
        buffer_bits: with rate control by a buffer, what it holds after the packet.
    """

    index: int
    coded: CodedPacket
    sources: list[Frame]
    reconstructions: list[YuvFrame] | None
    pictures: Array | None
    buffer_bits: float | None = None


@dataclasses.dataclass(frozen=True)
class _Submitted:
    plan: PacketPlan
    name: str
    sources: list[Frame]
    symbols: PackedSymbols
    planes: Download[YuvFrame] | None
    pictures: Array | None
    before: History | None  # for another try, with rate control


class Encoder:
    """Codes the frames of one sequence, as they come (`encode`, `flush`) or from an iterable (`packets`).

    Attributes:
        timer: time spent in here, entropy coding included.
    """

    def __init__(
        self,
        codec: Codec,
        width: int,
        height: int,
        schedule: Schedule,
        skip_threshold: float | None,
        dialect: Dialect,
        reconstruct: bool = False,
        rdoq: float = 0.0,
        skip_blocks: bool = True,
        preset: Preset = DEFAULT_PRESET,
        delay: int = MAX_DELAY,
        controller: Controller | None = None,
    ) -> None:
        """Prepare for pictures of one size.

        Args:
            codec: the model.
            width: luma columns.
            height: luma rows.
            schedule: qps, intra period and refresh.
            skip_threshold: symbols with a scale not above it are not coded; None codes all.
            dialect: of the payloads; containers know theirs.
            reconstruct: also give what a decoder will give.
            rdoq: what a bit is worth in squared quantisation steps, for rate-distortion optimised quantisation
                (entropy/rdoq.py); 0 rounds to the nearest, as the official encoder does.
            skip_blocks: skip blocks that are not worth their bits; means nothing without motion.
            preset: where blocks are skipped, "medium" codes packets twice, and skips by what coding a block saved;
                "fast" codes once, and skips by the error of the prediction.
            delay: see `Pipeline`; the bytes are the same.
            controller: chooses the qps of packets instead of the schedule, from what the packets before took; needs a
                delay of 0.

        Raises:
            ConfigError: an option is out of its range.
        """
        self.timer = Timer()
        self._coders = codec.entropy_coders(dialect)
        self._codec = codec
        self._size = width, height
        self._dialect: Dialect = dialect
        self.schedule = schedule
        self._reconstruct = reconstruct or (controller is not None and controller.measures_quality)
        self._networks = codec.networks(skip_threshold, rdoq, skip_blocks, preset)
        self._history = History(self._networks)
        self._pipeline = Pipeline(self._submit, self._finish, delay)
        if controller is not None and delay:
            raise ConfigError(f"delay is {delay}; rate control needs 0, the bits of a packet before the next one.")
        self._controller, self._activity = controller, Activity()
        self._kind: type[Frame] | None = None  # of all frames
        self._forced = False  # the next frame starts a run
        self._index = 0  # of the first picture of the next packet
        self._start = True  # it starts a run
        self._members: list[Frame] = []  # as far as they are here

    @property
    def schedule(self) -> Schedule:
        """The rules of the sequence. A new schedule counts from the next packet on, packets that are not full included.

        Raises:
            ConfigError: an inter frame's qp, offset included, is beyond the model's.
        """
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._resolved = schedule.for_model(self._codec.stored.offsets)

    def force_intra(self) -> None:
        """Start a run with the next frame, so that it decodes without the frames before it."""
        self._forced = True

    def encode(self, frame: Frame) -> list[EncodedPacket]:
        """Code a frame; gives the packets that are complete, none while a packet is not full.

        The frame must not be changed before its packet is there. A packet that fails is lost, with the one that is
        predicted from it: the next frame takes the number of its first picture and starts a run.

        Raises:
            VideoError: it is not 8 bit, of another size than announced, or of another kind than the frames before it.
        """
        return self._pipeline.push(self._add(frame))

    def flush(self) -> list[EncodedPacket]:
        """Code what is left, in a packet that ends short if need be. More frames may follow."""
        return self._pipeline.push(self._rest(), flush=True)

    def packets(self, frames: Iterable[Frame]) -> Iterator[EncodedPacket]:
        """Code frames packet by packet, and flush; holds two packets at a time.

        Raises:
            VideoError: see `encode`; the packets before it have been given.
        """
        return self._pipeline.run(self._grouped(frames))

    def _grouped(self, frames: Iterable[Frame]) -> Iterator[_Planned]:
        for frame in frames:
            yield from self._add(frame)
        yield from self._rest()

    def _add(self, frame: Frame) -> Iterator[_Planned]:
        """Take a frame; gives the packets that it completes."""
        number = self._index + len(self._members)
        if not isinstance(frame, YuvFrame | RgbFrame):
            raise VideoError(
                f"frame {number} is of type {type(frame).__name__}, not YuvFrame or RgbFrame; nvc_jax.load(...).encode "
                "and .encoder take arrays."
            )
        check_frame(frame, *self._size, f"frame {number}")
        self._kind = self._kind or type(frame)
        if type(frame) is not self._kind:
            raise VideoError(
                f"frame {number} is of type {type(frame).__name__}, those before it {self._kind.__name__}."
            )
        if self._forced:
            yield from self._rest()
        if not self._members:
            self._start, self._forced = self._forced or self._resolved.starts(self._index), False
        self._members.append(frame)
        config = self._codec.stored.config
        pictures = config[config.network_of(self._start)].pictures
        if len(self._members) >= self._resolved.room(self._index, pictures):
            yield from self._rest()

    def _rest(self) -> Iterator[_Planned]:
        """The packet of the frames that are in none yet."""
        if self._members:
            plan, members = self._resolved.packet(self._index, len(self._members), self._start), self._members
            self._index, self._members = self._index + len(members), []
            yield plan if self._controller is None else self._controlled(self._controller, plan, members), members

    def _controlled(self, controller: Controller, plan: PacketPlan, members: list[Frame]) -> PacketPlan:
        """A plan with the qps that rate control chooses."""
        offsets = tuple(qp - self._resolved.qp for qp in plan.qps)
        upcoming = Upcoming(plan.start, offsets, *self._activity.measure(members))
        return dataclasses.replace(plan, qps=controller.choose(upcoming))

    def _submit(self, packet: _Planned) -> _Submitted:
        plan, members = packet
        try:
            with self.timer():
                return self._launch(plan, members)
        except BaseException:
            self._lose(plan)
            raise

    def _launch(self, plan: PacketPlan, members: list[Frame]) -> _Submitted:
        """Start coding a packet on the device."""
        name = self._codec.stored.config.network_of(plan.start)
        count = self._codec.stored.config[name].pictures
        before = None if self._controller is None else copy.copy(self._history)
        pictures, qps = upload(filled(members, count)), batched(filled(plan.qps, count))
        state = self._history.state(name, plan.start, plan.refresh, pictures.shape)
        symbols, synthesis = encode(self._networks[name], pictures, state, qps)
        packed = symbols.pack()
        self._history.keep(name, state, synthesis, qps)
        decoded = self._history.pictures if self._reconstruct else None
        planes = None if decoded is None else download_planes(decoded, *self._size)
        return _Submitted(plan, name, members, packed, planes, decoded, before)

    def _finish(self, job: _Submitted) -> EncodedPacket:
        try:
            return self._complete(job)
        except BaseException:
            self._pipeline.clear()  # the packet after it is predicted from it
            self._lose(job.plan)
            raise

    def _lose(self, plan: PacketPlan) -> None:
        """Go on after a packet that failed: nothing can be predicted from it, and the next one takes its place."""
        self._forced, self._index = True, plan.index

    def _complete(self, job: _Submitted) -> EncodedPacket:
        """Wait for the device, and code the symbols."""
        plan = job.plan
        with self.timer():
            symbols = job.symbols.to_host()
            payload, check = self._coders[job.name].encode(round(plan.qps[-1]), symbols.z, symbols.y, symbols.side)
            bits, again = 8 * (len(payload) + RECORD_BYTES), None
            if self._controller is not None:
                again = self._controller.again(bits)
            reconstructions = None if job.planes is None else job.planes.wait()[: len(job.sources)]
        if again is not None and job.before is not None:
            self._history = job.before
            return self._complete(self._submit((dataclasses.replace(plan, qps=again), job.sources)))
        coded = CodedPacket(plan.start, plan.refresh, plan.qps, self._dialect, payload, check)
        buffer_bits = None
        if self._controller is not None:
            measured = self._controller.measures_quality and reconstructions is not None
            quality = _mean_psnr(reconstructions or [], job.sources) if measured else None
            self._controller.update(bits, quality)
            buffer_bits = self._controller.buffer_bits
        return EncodedPacket(plan.index, coded, job.sources, reconstructions, job.pictures, buffer_bits)


def _mean_psnr(decoded: list[YuvFrame], sources: list[Frame]) -> float:
    originals = (rgb_to_yuv(frame, RGB_COLOUR) if isinstance(frame, RgbFrame) else frame for frame in sources)
    values = [frame_psnr(*pair)["psnr"] for pair in zip(decoded, originals, strict=True)]
    return sum(values) / len(values)
