"""Pictures to packets: the sequence loop of the encoder."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

from jax import Array

from nvc_jax.bitstream import CodedPacket
from nvc_jax.codec.history import History
from nvc_jax.codec.loop import PackedSymbols, batched, encode, filled
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import Download, download_planes, upload
from nvc_jax.codec.pipeline import one_ahead
from nvc_jax.codec.schedule import PacketPlan, Schedule
from nvc_jax.io.timing import Timer
from nvc_jax.spec import Dialect
from nvc_jax.video import Frame, YuvFrame, check_frame


@dataclasses.dataclass(frozen=True)
class EncodedPacket:
    """One coded packet.

    Attributes:
        index: number of its first picture.
        coded: the packet as containers take it.
        sources: the pictures that were coded.
        reconstructions: the pictures that a decoder will give, if asked for.
        pictures: the same on the device, [1, T, H', W', 3], not rounded.
    """

    index: int
    coded: CodedPacket
    sources: list[Frame]
    reconstructions: list[YuvFrame] | None
    pictures: Array | None


@dataclasses.dataclass(frozen=True)
class _Submitted:
    plan: PacketPlan
    name: str
    sources: list[Frame]
    symbols: PackedSymbols
    planes: Download[YuvFrame] | None
    pictures: Array | None


class Encoder:
    """Codes the frames of one sequence.

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
            skip_blocks: with motion, skip blocks whose prediction is good enough; means nothing without motion.
        """
        self.timer = Timer()
        self._coders = codec.entropy_coders(dialect)
        self._codec = codec
        self._size = width, height
        self._dialect: Dialect = dialect
        self._schedule = schedule.for_model(codec.stored.offsets)
        self._reconstruct = reconstruct
        self._networks = codec.networks(skip_threshold, rdoq, skip_blocks)
        self._history = History(self._networks)

    def encode(self, frames: Iterable[Frame]) -> Iterator[EncodedPacket]:
        """Code frames packet by packet; holds two packets at a time.

        Raises:
            VideoError: a frame is not 8 bit or not of the size that was announced.
        """
        return one_ahead(self._packets(frames), self._submit, self._finish)

    def _packets(self, frames: Iterable[Frame]) -> Iterator[tuple[PacketPlan, list[Frame]]]:
        config, index, source = self._codec.stored.config, 0, iter(frames)
        while True:
            pictures = config[config.network_of(self._schedule.starts(index))].pictures
            members = list(itertools.islice(source, self._schedule.room(index, pictures)))
            if not members:
                return
            for number, frame in enumerate(members, index):
                check_frame(frame, *self._size, f"frame {number}")
            yield self._schedule.packet(index, len(members)), members
            index += len(members)

    def _submit(self, packet: tuple[PacketPlan, list[Frame]]) -> _Submitted:
        plan, members = packet
        with self.timer():
            name = self._codec.stored.config.network_of(plan.start)
            count = self._codec.stored.config[name].pictures
            pictures, qps = upload(filled(members, count)), batched(filled(plan.qps, count))
            state = self._history.state(name, plan.start, plan.refresh, pictures.shape)
            symbols, synthesis = encode(self._networks[name], pictures, state, qps)
            packed = symbols.pack()
            self._history.keep(name, state, synthesis, qps)
            decoded = self._history.pictures if self._reconstruct else None
            planes = None if decoded is None else download_planes(decoded, *self._size)
        return _Submitted(plan, name, members, packed, planes, decoded)

    def _finish(self, job: _Submitted) -> EncodedPacket:
        plan = job.plan
        with self.timer():
            symbols = job.symbols.to_host()
            payload, check = self._coders[job.name].encode(round(plan.qps[-1]), symbols.z, symbols.y, symbols.side)
            reconstructions = None if job.planes is None else job.planes.wait()[: len(job.sources)]
        coded = CodedPacket(plan.start, plan.refresh, plan.qps, self._dialect, payload, check)
        return EncodedPacket(plan.index, coded, job.sources, reconstructions, job.pictures)
