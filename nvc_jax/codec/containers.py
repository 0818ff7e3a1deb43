"""Frames to the bytes of a stream: an encoder, the writer of a container, and the defaults that go with it."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, get_args

from nvc_jax.bitstream import DcvcWriter, NvcHeader, NvcWriter
from nvc_jax.bitstream.nvc_syntax import QP_STEPS
from nvc_jax.codec.encoder import EncodedPacket, Encoder
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pipeline import MAX_DELAY
from nvc_jax.codec.rate_control import Controller, RateControl
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import ConfigError, OutputError
from nvc_jax.models.config import CodecConfig
from nvc_jax.spec import DEFAULT_PRESET, DEFAULT_RDOQ, DEFAULT_SKIP_THRESHOLD, FILE_PRECISION, Preset
from nvc_jax.video import BT709, Frame, VideoInfo, coded_colour

Container = Literal["auto", "nvc", "dcvc"]
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .y4m .yuv .ts .mts .m2ts .mpg .mpeg .flv .wmv .ogv .3gp .gif .png .jpg .h264 .264 "
    ".h265 .265 .hevc .av1 .obu .ivf .vp9".split()
)  # of names that are no names of streams
CONTAINERS: tuple[Container, ...] = get_args(Container)


def container_of(target: str | Path, container: Container = "auto") -> Container:
    """The container of a stream with this name: "auto" is the official one for `*.bin`, else `.nvc`.

    Raises:
        ConfigError: the container is unknown, or not given for a name that promises a video.
    """
    if container not in CONTAINERS:
        raise ConfigError(f"unknown container {container!r}; available: {', '.join(CONTAINERS)}.")
    if container != "auto":
        return container
    path = Path(target)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        stream = path.with_suffix(".nvc").name
        raise ConfigError(
            f"{target}: is the name of a video, and a stream is no file for players; name it {stream}, and "
            f"nvc-jax decode {stream} {path.name} makes the video, or keep the name with the container nvc."
        )
    return "dcvc" if path.suffix.lower() == ".bin" else "nvc"


def default_precision(container: Container) -> str | None:
    """The precision to code in unless told otherwise; None is the model's own, which the official decoder uses."""
    return None if container == "dcvc" else FILE_PRECISION


def default_rdoq(container: Container, config: CodecConfig) -> float:
    """The RDOQ to code with unless told otherwise: 0 where the official encoder would write the same stream."""
    return 0.0 if container == "dcvc" and config.side is None else DEFAULT_RDOQ


def create_writer(
    file: BinaryIO,
    container: Container,
    codec: Codec,
    info: VideoInfo,
    schedule: Schedule,
    skip_threshold: float | None,
) -> DcvcWriter | NvcWriter:
    """The writer of a stream, with its header written. skip_threshold: that of the encoder."""
    if container == "dcvc":
        return DcvcWriter(file, info.width, info.height)
    colour, schedule = coded_colour(info), schedule.for_model(codec.stored.offsets)
    header = NvcHeader(
        identity=codec.stored.stream_identity,
        model=codec.stored.config.name,
        precision=codec.precision,
        arithmetic=codec.arithmetic,
        width=info.width,
        height=info.height,
        fps=info.fps,
        colour=(colour.primaries, colour.transfer, colour.matrix, colour.full_range, colour.chroma_location),
        skip_threshold=skip_threshold,
        qp=schedule.qp,
        intra_qp=schedule.start_qp,
        intra_period=schedule.intra_period,
        reset_interval=schedule.reset_interval,
        qp_offsets=schedule.qp_offsets or (),
        pictures=codec.stored.config.pictures,
    )
    return NvcWriter(file, header.to_bytes())


def is_coded_rgb(header: NvcHeader | None) -> bool:
    """True where the colour description asks for the codec's own RGB: BT.709, full range, from 4:4:4."""
    return header is None or header.colour[2:4] == (BT709, True)


class Written(NamedTuple):
    """A packet in the stream.

    Attributes:
        packet: as the encoder gave it.
        size_bytes: that it takes in the stream; the first packet counts the header.
    """

    packet: EncodedPacket
    size_bytes: int


class StreamEncoder:
    """Codes the frames of one sequence into a stream; see `Encoder` for the ways to give them.

    After a packet that could not be written nothing more is: part of it may be in the stream, and those after it are
    predicted from it.

    Attributes:
        controller: that of the rate control, if there is one.
        timer: see `Encoder`.
    """

    def __init__(
        self,
        file: BinaryIO,
        container: Container,
        codec: Codec,
        info: VideoInfo,
        schedule: Schedule,
        *,
        skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
        rdoq: float | None = None,
        skip_blocks: bool = True,
        preset: Preset = DEFAULT_PRESET,
        reconstruct: bool = False,
        delay: int = MAX_DELAY,
        rate_control: RateControl | None = None,
    ) -> None:
        """Write the header.

        Args:
            file: the stream.
            container: "nvc" or "dcvc".
            codec: the model.
            info: size, frame rate and colour description of the frames.
            schedule: qps, intra period, refresh. In an `.nvc` file qps are rounded to 1/256.
            skip_threshold: see `Encoder`.
            rdoq: see `Encoder`; None is that of `default_rdoq`.
            skip_blocks: see `Encoder`.
            preset: see `Encoder`.
            reconstruct: see `Encoder`.
            delay: see `Encoder`; with rate control 0, whatever it says.
            rate_control: a target that the qps follow, instead of those of the schedule.

        Raises:
            ConfigError: the container cannot hold what the options ask for, or an option is out of its range.
        """
        config = codec.stored.config
        if container == "dcvc" and config.pictures > 1:
            raise ConfigError(
                f"the official container holds one picture a packet, and the model {config.name} codes "
                f"{config.pictures}; write an .nvc file."
            )
        self._codec, self._container = codec, container
        schedule = self._storable(schedule)
        rdoq = default_rdoq(container, config) if rdoq is None else rdoq
        self._writer = create_writer(file, container, codec, info, schedule, skip_threshold)
        self.controller = self._controller(rate_control, info) if rate_control else None
        self._encoder = Encoder(
            codec,
            info.width,
            info.height,
            schedule,
            skip_threshold,
            self._writer.dialect,
            reconstruct,
            rdoq,
            skip_blocks,
            preset,
            0 if rate_control else delay,
            self.controller,
        )
        self.timer = self._encoder.timer
        self.force_intra = self._encoder.force_intra
        self._whole = True  # all packets so far are in the stream

    @property
    def schedule(self) -> Schedule:
        """See `Encoder`.

        Raises:
            ConfigError: the container cannot hold its qps.
        """
        return self._encoder.schedule

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        self._encoder.schedule = self._storable(schedule)

    def encode(self, frame: Frame) -> list[Written]:
        """See `Encoder`.

        Raises:
            OutputError: a packet cannot be written, or one before it could not.
        """
        self._check_whole()
        return list(map(self._write, self._encoder.encode(frame)))

    def flush(self) -> list[Written]:
        """See `Encoder` and `encode`."""
        self._check_whole()
        return list(map(self._write, self._encoder.flush()))

    def packets(self, frames: Iterable[Frame]) -> Iterator[Written]:
        """See `Encoder` and `encode`."""
        self._check_whole()
        return map(self._write, self._encoder.packets(frames))

    def finish(self) -> int:
        """Write the end of the stream. Returns the number of bytes.

        Raises:
            OutputError: it cannot be written, or a packet before it could not.
        """
        self._check_whole()
        return self._writer.finish()

    def _write(self, packet: EncodedPacket) -> Written:
        self._check_whole()
        self._whole = False
        written = Written(packet, self._writer.write(packet.coded))
        self._whole = True
        return written

    def _check_whole(self) -> None:
        if not self._whole:
            raise OutputError("a packet could not be written, so the stream cannot go on; begin another one.")

    def _controller(self, rate_control: RateControl, info: VideoInfo) -> Controller:
        offsets, step = self._codec.stored.offsets.inter, 1 / QP_STEPS if self._container == "nvc" else 1.0
        return rate_control.controller(float(info.fps), info.width * info.height, offsets, step)

    def _storable(self, schedule: Schedule) -> Schedule:
        """The schedule with qps that the container can hold."""
        resolved = schedule.for_model(self._codec.stored.offsets)
        if self._container == "nvc":
            qp, intra_qp = (round(qp * QP_STEPS) / QP_STEPS for qp in (resolved.qp, resolved.start_qp))
            return dataclasses.replace(schedule, qp=qp, intra_qp=None if schedule.intra_qp is None else intra_qp)
        for name, qp in (("qp", resolved.qp), ("intra qp", resolved.start_qp)):
            if qp != round(qp):
                raise ConfigError(
                    f"{name} {qp:g} is not a whole number, and the official container stores qp as one byte."
                )
        return schedule
