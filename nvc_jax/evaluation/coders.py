"""What is evaluated: something that codes a sequence at a quality and says what came out."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from nvc_jax.bitstream import Packet, open_reader
from nvc_jax.bitstream.packets import shared
from nvc_jax.codec.decoder import DecodedFrame, Decoder
from nvc_jax.codec.files import Container, encode_file
from nvc_jax.codec.memory import enough_memory
from nvc_jax.codec.model import Codec
from nvc_jax.codec.report import Report
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import EvaluationError, VideoError
from nvc_jax.evaluation.metrics import Quality, picture_quality
from nvc_jax.evaluation.results import FrameResult
from nvc_jax.evaluation.sequences import Video
from nvc_jax.spec import QP_OFFSETS
from nvc_jax.video import Frame, RgbFrame, VideoReader, YuvFrame, open_video, yuv_to_rgb
from nvc_jax.video.colour import coded_colour


@dataclasses.dataclass(frozen=True)
class Measured:
    """What became of one sequence at one quality.

    Attributes:
        frames: every frame.
        pixels: of a frame.
        pictures: the last frame of the source and of what was decoded.
        encode_s: seconds per frame of encoding, entropy coding included, files excluded; None if there were too few
            frames to tell.
        decode_s: the same for decoding.
    """

    frames: list[FrameResult]
    pixels: int
    pictures: tuple[RgbFrame, RgbFrame]
    encode_s: float | None = None
    decode_s: float | None = None


class Coder(Protocol):
    """Codes, decodes and measures. Travels to worker processes, so it is small and loads what it needs there.

    Attributes:
        name: what results and streams are called after.
        qps: the qualities to measure, from low to high rate.
        suffix: of its streams; empty if it writes none.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def qps(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def suffix(self) -> str: ...  # noqa: D102

    def settings(self, sequence: Video, qp: int) -> dict[str, Any]:
        """All that the result depends on, for JSON."""

    def measure(self, sequence: Video, qp: int, stream: Path) -> Measured:
        """Code a sequence into a stream, decode the stream and compare.

        Raises:
            NvcError: that cannot be done.
        """


@functools.lru_cache(maxsize=1)
def load_codec(model: str, precision: str) -> Codec:
    """The model of this process; a worker keeps the last one."""
    return Codec.load(model, precision)


@dataclasses.dataclass(frozen=True)
class ModelCoder:
    """A model of this package, by real streams.

    Attributes:
        model: packaged model or model directory.
        identity: hash of its parameters.
        config: its architecture.
        qps: base qps, the same for intra and inter frames.
        container: of the streams, "nvc" or "dcvc".
        precision: see `Codec`.
        reset_interval: see `Schedule`.
        skip_threshold: see `encode_file`.
        rdoq: see `Encoder`.
        skip_blocks: see `Encoder`.
        qp_offsets: see `Schedule`.
    """

    model: str
    identity: str
    config: dict[str, Any]
    qps: tuple[int, ...]
    container: Container
    precision: str
    reset_interval: int
    skip_threshold: float | None
    rdoq: float
    skip_blocks: bool
    qp_offsets: tuple[int, ...] = QP_OFFSETS

    @property
    def suffix(self) -> str:
        """File name extension of the container."""
        return ".bin" if self.container == "dcvc" else ".nvc"

    @property
    def name(self) -> str:
        """The packaged model, or the last part of the directory."""
        return Path(self.model).name

    def settings(self, sequence: Video, qp: int) -> dict[str, Any]:
        """Model, precision and schedule."""
        offsets = {} if self.qp_offsets == QP_OFFSETS else {"qp_offsets": list(self.qp_offsets)}
        return offsets | {
            "identity": self.identity,
            "config": self.config,
            "container": self.container,
            "precision": self.precision,
            "intra_period": sequence.intra_period,
            "reset_interval": self.reset_interval,
            "skip_threshold": self.skip_threshold,
            "rdoq": self.rdoq,
            "skip_blocks": self.skip_blocks,
        }

    def schedule(self, sequence: Video, qp: int) -> Schedule:
        """Which frame is coded how."""
        return Schedule(qp, qp, sequence.intra_period, self.reset_interval, self.qp_offsets)

    def measure(self, sequence: Video, qp: int, stream: Path) -> Measured:
        """See `Coder`."""
        codec = load_codec(self.model, self.precision)
        coded = encode_file(
            codec,
            sequence.path,
            stream,
            self.schedule(sequence, qp),
            container=self.container,
            skip_threshold=self.skip_threshold,
            rdoq=self.rdoq,
            skip_blocks=self.skip_blocks,
            size=sequence.size,
            frames=sequence.frames,
        )
        with open_reader(stream) as packets, open_source(sequence) as source:
            width, height = source.info.width, source.info.height
            decoder = Decoder(codec, self.skip_threshold)
            speed = Report(codec, decoder.timer, source.info)
            frames: list[FrameResult] = []
            with enough_memory(codec, width, height, str(sequence)):
                for frame in _in_groups(_timed(decoder.decode(packets), speed)):
                    original = next(source)
                    quality = check_finite(picture_quality(frame.picture, original), sequence, frame.index)
                    frames.append(FrameResult(frame.type, frame.bits, _payload_bits(frame), quality))
            check_count(sequence, frames)
            count_to_last(frames, 8 * packets.trailer_bytes)
            pictures = viewable(source, original, frame.planes)
        times = (_seconds_per_frame(fps) if speed.is_warm else None for fps in (coded["fps"], speed.fps))
        return Measured(frames, width * height, pictures, *times)


_GROUP = 8  # frames decoded before they are measured: what is measured beside the decoder would hide its time


def _timed(frames: Iterator[DecodedFrame], speed: Report) -> Iterator[DecodedFrame]:
    for frame in frames:
        speed.add(frame.index, frame.type, frame.qp, frame.bits, None)
        yield frame


def _payload_bits(frame: DecodedFrame) -> int:
    packet = frame.packet
    assert isinstance(packet, Packet)  # nothing is concealed
    return shared(8 * len(packet.payload), len(packet.qps))[frame.number]


def _in_groups(frames: Iterator[DecodedFrame]) -> Iterator[DecodedFrame]:
    while group := list(itertools.islice(frames, _GROUP)):
        yield from group


def _seconds_per_frame(fps: dict[str, float]) -> float | None:
    """Of network and entropy coder together."""
    return sum(1 / fps[part] for part in ("network", "entropy")) if min(fps.values()) > 0 else None


def open_source(sequence: Video) -> VideoReader:
    """The frames of a sequence."""
    return open_video(sequence.path, size=sequence.size, frames=sequence.frames)


def check_count(sequence: Video, frames: list[FrameResult]) -> None:
    """Refuse a source that is shorter than the configuration says.

    Raises:
        VideoError: it is.
    """
    if sequence.exact and len(frames) != sequence.frames:
        raise VideoError(
            f"{sequence.path}: holds {len(frames)} frames, not {sequence.frames} as the configuration says."
        )


def count_to_last(frames: list[FrameResult], bits: int) -> None:
    """Count what follows the last frame of a stream as part of it, so that the frames add up to the file."""
    frames[-1] = dataclasses.replace(frames[-1], bits=frames[-1].bits + bits)


def check_finite(quality: Quality, sequence: Video, index: int) -> Quality:
    """Refuse pictures with values that are not finite.

    Raises:
        EvaluationError: a value is not finite.
    """
    if not quality.finite:
        raise EvaluationError(
            f"{sequence}: frame {index} decodes to values that are not numbers; the model is damaged, or its values "
            "overflow in this precision."
        )
    return quality


def viewable(source: VideoReader, original: Frame, decoded: YuvFrame) -> tuple[RgbFrame, RgbFrame]:
    """Source and decoded frame for people to look at."""
    colour = coded_colour(source.info)
    shown = original if isinstance(original, RgbFrame) else yuv_to_rgb(original, colour)
    return shown, yuv_to_rgb(decoded, colour)
