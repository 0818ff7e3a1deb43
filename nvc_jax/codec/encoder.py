"""Frames to packets: the sequence loop of the encoder."""

import dataclasses
from collections.abc import Iterable, Iterator

from nvc_jax.bitstream import CodedFrame
from nvc_jax.codec.frame import FrameSymbols
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import Download, download_planes, upload
from nvc_jax.codec.pipeline import one_ahead
from nvc_jax.codec.reference import ReferenceBuffer
from nvc_jax.codec.schedule import FramePlan, Schedule
from nvc_jax.io.timing import Timer
from nvc_jax.spec import Dialect
from nvc_jax.video import Frame, YuvFrame, check_frame


@dataclasses.dataclass(frozen=True)
class EncodedFrame:
    """One coded frame.

    Attributes:
        index: frame number.
        coded: what goes into the container.
        source: what was coded.
        reconstruction: what a decoder will give, if asked for.
    """

    index: int
    coded: CodedFrame
    source: Frame
    reconstruction: YuvFrame | None


@dataclasses.dataclass(frozen=True)
class _Submitted:
    plan: FramePlan
    source: Frame
    symbols: FrameSymbols
    planes: Download[YuvFrame] | None


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
        self._codec = codec
        self._size = width, height
        self._dialect: Dialect = dialect
        self._schedule = schedule.for_model(codec.stored.qp_offsets)
        self._reconstruct = reconstruct
        self._frame_codecs = codec.frame_codecs(skip_threshold, rdoq, skip_blocks)
        self._buffer = ReferenceBuffer(self._frame_codecs["P"])

    def encode(self, frames: Iterable[Frame]) -> Iterator[EncodedFrame]:
        """Code frames one by one; holds two at a time.

        Raises:
            VideoError: a frame is not 8 bit or not of the size that was announced.
        """
        return one_ahead(enumerate(frames), self._submit, self._finish)

    def _submit(self, item: tuple[int, Frame]) -> _Submitted:
        index, frame = item
        check_frame(frame, *self._size, f"frame {index}")
        plan = self._schedule.frame(index)
        with self.timer():
            codec = self._frame_codecs[plan.kind]
            reference = self._buffer.reference(plan.kind, plan.refresh)
            symbols, synthesis = codec.encode(upload(frame), reference, plan.qp)
            picture, planes = None, None
            if self._reconstruct or self._buffer.needs_picture(plan.kind):
                picture = codec.reconstruct(synthesis, plan.qp)
                planes = download_planes(picture, *self._size) if self._reconstruct else None
            self._buffer.keep(plan.kind, synthesis.feature, picture, plan.qp)
        return _Submitted(plan, frame, symbols, planes)

    def _finish(self, job: _Submitted) -> EncodedFrame:
        plan = job.plan
        coder = self._codec.entropy_coder(plan.kind, self._dialect)
        with self.timer():
            payload, check = coder.encode(round(plan.qp), *job.symbols.to_host())
            reconstruction = None if job.planes is None else job.planes.wait()
        coded = CodedFrame(plan.kind, plan.qp, plan.refresh, self._dialect, payload, check)
        return EncodedFrame(plan.index, coded, job.source, reconstruction)
