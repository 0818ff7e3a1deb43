"""Codecs under test: each codes a sequence at one quality and measures the result."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self

from nvc_jax.bitstream import Packet, open_reader
from nvc_jax.bitstream.packets import shared
from nvc_jax.codec.containers import Container, default_precision, default_rdoq
from nvc_jax.codec.decoder import DecodedFrame, Decoder
from nvc_jax.codec.descriptions import find_model, read_description
from nvc_jax.codec.files import encode_file
from nvc_jax.codec.memory import enough_memory
from nvc_jax.codec.model import Codec
from nvc_jax.codec.report import Report
from nvc_jax.codec.schedule import DEFAULT_OFFSETS, QpOffsets, Schedule
from nvc_jax.codec.store import model_offsets
from nvc_jax.errors import ConfigError, EvaluationError, VideoError
from nvc_jax.evaluation.metrics import Quality, picture_quality
from nvc_jax.evaluation.results import FrameResult
from nvc_jax.evaluation.sequences import Video
from nvc_jax.models.config import CodecConfig
from nvc_jax.spec import DEFAULT_PRESET, DEFAULT_SKIP_THRESHOLD, Preset
from nvc_jax.video import Frame, RgbFrame, VideoReader, YuvFrame, open_video, yuv_to_rgb
from nvc_jax.video.colour import coded_colour


@dataclasses.dataclass(frozen=True)
class Measured:
    """Result of coding one sequence at one quality.

    Attributes:
        frames: every frame.
        pixels: of a frame.
        pictures: the last frame, source and decoded.
        encode_s: seconds per frame to encode, with entropy coding, without file access; None for too few frames.
        decode_s: likewise to decode.
    """

    frames: list[FrameResult]
    pixels: int
    pictures: tuple[RgbFrame, RgbFrame]
    encode_s: float | None = None
    decode_s: float | None = None


class Coder(Protocol):
    """Encodes, decodes and measures. Pickled to worker processes, so it is small and loads models there.

    Attributes:
        name: of results and streams.
        qps: to measure, from low to high rate.
        suffix: of its streams; empty if it writes none.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def qps(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def suffix(self) -> str: ...  # noqa: D102

    def intra_qp(self, qp: int) -> float:
        """Compute the qp of pictures that start a run, at a base qp."""

    def settings(self, sequence: Video, qp: int) -> dict[str, Any]:
        """Everything the result depends on, for JSON."""

    def measure(self, sequence: Video, qp: int, stream: Path) -> Measured:
        """Encode a sequence into a stream, decode the stream and compare.

        Raises:
            NvcError: encoding or decoding fails.
        """


@functools.lru_cache(maxsize=1)
def load_codec(model: str, precision: str) -> Codec:
    """Load a model, or take the one that this process loaded last."""
    return Codec.load(model, precision)


@dataclasses.dataclass(frozen=True)
class ModelCoder:
    """A model of this package, measured on real streams.

    Attributes:
        model: packaged model or model directory.
        identity: see `StoredModel`.
        config: its architecture.
        qps: base qps, of inter frames; pictures that start a run have the offset of the model on top.
        container: of the streams, "nvc" or "dcvc".
        precision: see `Codec`.
        reset_interval: see `Schedule`.
        skip_threshold: see `encode_file`.
        rdoq: see `Encoder`.
        skip_blocks: see `Encoder`.
        preset: see `Encoder`.
        offsets: see `StoredModel`.
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
    preset: Preset
    offsets: QpOffsets = DEFAULT_OFFSETS

    @classmethod
    def described(
        cls,
        model: str,
        qps: tuple[int, ...],
        reset_interval: int,
        *,
        container: Container = "nvc",
        precision: str | None = None,
        skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
        rdoq: float | None = None,
        skip_blocks: bool = True,
        preset: Preset = DEFAULT_PRESET,
    ) -> Self:
        """Read the description of a model; precision and rdoq: None takes the defaults of the container.

        Raises:
            ConfigError: the model cannot be measured like this.
            ModelError: there is no such model, or its description is damaged.
        """
        description = read_description(find_model(model))
        config, own = description.get("config", {}), description.get("precision", "float32")
        precision = precision or default_precision(container) or own
        if own == "int16" and precision != "int16":
            raise ConfigError(f"{model} is an int16 model; it cannot be evaluated in {precision}.")
        try:
            rdoq = default_rdoq(container, CodecConfig.from_dict(config)) if rdoq is None else rdoq
        except ConfigError as error:
            raise ConfigError(f"{model}: {error}") from None
        return cls(
            model=model,
            identity=description["identity"],
            config=config,
            qps=qps,
            container=container,
            precision=precision,
            reset_interval=reset_interval,
            skip_threshold=skip_threshold,
            rdoq=rdoq,
            skip_blocks=skip_blocks,
            preset=preset,
            offsets=model_offsets(description, model),
        )

    @property
    def suffix(self) -> str:
        """File name extension of the container."""
        return ".bin" if self.container == "dcvc" else ".nvc"

    @property
    def name(self) -> str:
        """Name of the packaged model or of the model directory."""
        return Path(self.model).name

    def intra_qp(self, qp: int) -> float:
        """Add the offset of the model to the base qp."""
        return Schedule(qp).for_model(self.offsets).start_qp

    def settings(self, sequence: Video, qp: int) -> dict[str, Any]:
        """Model, container, precision, schedule and encoder options."""
        return self.offsets.to_dict() | {
            "identity": self.identity,
            "config": self.config,
            "container": self.container,
            "precision": self.precision,
            "intra_period": sequence.intra_period,
            "reset_interval": self.reset_interval,
            "skip_threshold": self.skip_threshold,
            "rdoq": self.rdoq,
            "skip_blocks": self.skip_blocks,
            "preset": self.preset,
        }

    def schedule(self, sequence: Video, qp: int) -> Schedule:
        """Schedule of a sequence at a base qp."""
        return Schedule(qp, None, sequence.intra_period, self.reset_interval)

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
            preset=self.preset,
            size=sequence.size,
            frames=sequence.frames,
        )
        with open_reader(stream) as packets, open_source(sequence) as source:
            width, height = source.info.width, source.info.height
            decoder = Decoder(codec, self.skip_threshold)
            speed = Report(codec, decoder.timer, source.info)
            frames: list[FrameResult] = []
            with enough_memory(codec, width, height, str(sequence)):
                for frame in _in_groups(_timed(decoder.frames(packets), speed)):
                    original = next(source)
                    quality = check_finite(picture_quality(frame.picture, original), sequence, frame.index)
                    frames.append(FrameResult(frame.type, frame.bits, _payload_bits(frame), quality))
            check_count(sequence, frames)
            count_to_last(frames, 8 * packets.trailer_bytes)
            pictures = viewable(source, original, frame.planes)
        times = (_seconds_per_frame(fps) if speed.is_warm else None for fps in (coded["fps"], speed.fps))
        return Measured(frames, width * height, pictures, *times)


_GROUP = 8  # frames decoded before any is measured: metrics that run beside the decoder would hide its time


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
    """Sum over network and entropy coder; None where a rate is unknown."""
    return sum(1 / fps[part] for part in ("network", "entropy")) if min(fps.values()) > 0 else None


def open_source(sequence: Video) -> VideoReader:
    """Open the source of a sequence."""
    return open_video(sequence.path, size=sequence.size, frames=sequence.frames, track=sequence.track)


def check_count(sequence: Video, frames: list[FrameResult]) -> None:
    """Check the number of frames against the dataset configuration.

    Raises:
        VideoError: the source is shorter.
    """
    if sequence.exact and len(frames) != sequence.frames:
        raise VideoError(
            f"{sequence.path}: holds {len(frames)} frames, not {sequence.frames} as the configuration says."
        )


def count_to_last(frames: list[FrameResult], bits: int) -> None:
    """Count the bits after the last packet to the last frame, so that the frames add up to the file."""
    frames[-1] = dataclasses.replace(frames[-1], bits=frames[-1].bits + bits)


def check_finite(quality: Quality, sequence: Video, index: int) -> Quality:
    """Check for NaN and infinity.

    Raises:
        EvaluationError: a value is not finite.
    """
    if not quality.finite:
        raise EvaluationError(
            f"{sequence}: frame {index} decodes to NaN or infinity; the model is damaged, or its "
            "activations overflow in this precision."
        )
    return quality


def viewable(source: VideoReader, original: Frame, decoded: YuvFrame) -> tuple[RgbFrame, RgbFrame]:
    """Source and decoded frame in RGB."""
    colour = coded_colour(source.info)
    shown = original if isinstance(original, RgbFrame) else yuv_to_rgb(original, colour)
    return shown, yuv_to_rgb(decoded, colour)
