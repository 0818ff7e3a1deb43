"""Whole files: video in, stream out, and back. Outputs appear complete or not at all."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

from nvc_jax.bitstream import LostPicture, NvcHeader, Packet, open_reader
from nvc_jax.bitstream.packets import shared
from nvc_jax.codec.containers import Container, StreamEncoder, container_of, is_coded_rgb
from nvc_jax.codec.decoder import LOST, DecodedFrame, Decoder
from nvc_jax.codec.encoder import EncodedPacket
from nvc_jax.codec.memory import enough_memory
from nvc_jax.codec.model import Codec
from nvc_jax.codec.rate_control import BitrateTarget, RateControl
from nvc_jax.codec.report import Report
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import BitstreamError, ConfigError, OutputError, VideoError
from nvc_jax.io.files import atomic_output, same_file
from nvc_jax.spec import DEFAULT_PRESET, DEFAULT_SKIP_THRESHOLD, Preset
from nvc_jax.video import (
    Colour,
    RgbFrame,
    VideoInfo,
    YuvFrame,
    coded_colour,
    create_video,
    open_video,
    rgb_to_yuv,
)

Progress = Callable[[Report, int | None], None]  # called after every frame, with the number of frames if known
CodecChoice = Callable[[NvcHeader | None], Codec]  # by what a stream says about itself; None if it says nothing


def encode_file(
    codec: Codec,
    source: str | Path,
    target: str | Path,
    schedule: Schedule,
    *,
    container: Container = "auto",
    skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
    rdoq: float | None = None,
    skip_blocks: bool = True,
    preset: Preset = DEFAULT_PRESET,
    size: tuple[int, int] | None = None,
    fps: Fraction | None = None,
    frames: int | None = None,
    track: int | None = None,
    reconstruct: bool = False,
    rate_control: RateControl | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Code a video into a stream.

    Args:
        codec: the model. Streams in int16 (FILE_PRECISION) decode on every machine, others on machines of one kind.
        source: any video `open_video` reads.
        target: the stream; `-` is standard output.
        schedule: qps, intra period, refresh. In an `.nvc` file qps are rounded to 1/256.
        container: see `container_of`.
        skip_threshold: symbols with a scale not above it are not coded; None codes all.
        rdoq: see `Encoder`; None is that of `default_rdoq`.
        skip_blocks: see `Encoder`.
        preset: see `Encoder`.
        size: (width, height) of a raw source.
        fps: frame rate, if the source has none or another is wanted.
        frames: code at most this many.
        track: number of the video track, see `open_video`.
        reconstruct: also decode, for PSNRs and hashes in the report.
        rate_control: a target that the qps follow, instead of those of the schedule.
        progress: called after every frame.
        note: called with sentences for the user.

    Returns:
        The report.

    Raises:
        NvcError: nothing is left behind then.
    """
    _check_paths(source, target)
    container = container_of(target, container)
    config = codec.stored.config
    if container == "dcvc" and config.side is not None:
        (note or _ignore)(f"the official code cannot decode {target}: the model {config.name} has {config.side}")
    if container == "dcvc" and codec.precision != "float32":
        (note or _ignore)(f"{target} does not say its precision: to decode it, `precision` {codec.precision} is needed")
    with ExitStack() as stack:
        reader = stack.enter_context(open_video(source, size=size, fps=fps, frames=frames, track=track))
        info = reader.info
        stack.enter_context(enough_memory(codec, info.width, info.height, reader.name))
        file = stack.enter_context(atomic_output(target))
        for sentence in info.notes:
            (note or _ignore)(sentence)
        encoder = StreamEncoder(
            file,
            container,
            codec,
            info,
            schedule,
            skip_threshold=skip_threshold,
            rdoq=rdoq,
            skip_blocks=skip_blocks,
            preset=preset,
            reconstruct=reconstruct,
            rate_control=rate_control,
        )
        report = Report(codec, encoder.timer, info)
        for packet, size_bytes in encoder.packets(reader):
            _add_packet(report, packet, 8 * size_bytes, info)
            (progress or _ignore)(report, info.frames)
        if info.frames is not None and len(report.frames) < info.frames:
            (note or _ignore)(f"{source} ends after {len(report.frames)} of about {info.frames} frames; is it cut?")
        for sentence in reader.findings.notes():
            (note or _ignore)(sentence)
        if not report.frames:
            raise VideoError(f"{source}: holds no frame to code.")
        report.add_bits(8 * encoder.finish())
        if rate_control is not None and isinstance(rate_control.target, BitrateTarget):
            buffer_bits = rate_control.target.bitrate * rate_control.target.buffer_seconds
            over = sum(frame.get("buffer_bits", 0) > buffer_bits for frame in report.frames)
            if over:
                (note or _ignore)(
                    f"the bitrate is too low: the buffer ran over in {over} of {len(report.frames)} frames, at the "
                    "lowest qp that is allowed"
                )
    return report.summary()


def decode_file(
    codec: Codec | CodecChoice,
    source: str | Path,
    target: str | Path,
    *,
    skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
    start: int = 0,
    frames: int | None = None,
    keep_partial: bool = False,
    conceal: bool = False,
    hashes: bool = False,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Decode a stream into a video.

    Args:
        codec: the model the stream was made with, or a function that finds it.
        source: the stream, of either container; `-` is standard input.
        target: any video `create_video` writes.
        skip_threshold: that of the encoder, if the stream does not say it.
        start: the first frame wanted; decoding begins at the last intra frame before it, if the stream has an index.
        frames: decode at most this many.
        keep_partial: when the stream turns out to be damaged, keep the frames before the damage.
        conceal: repeat a picture for frames that are lost, and go on at the next intra frame.
        hashes: put the hash of every frame into the report.
        progress: called after every frame.
        note: called with sentences for the user.

    Returns:
        The report.

    Raises:
        NvcError: nothing is left behind then, unless `keep_partial` asks for it; then a BitstreamError has the report.
    """
    _check_paths(source, target)
    if start < 0 or (frames is not None and frames < 1):
        raise ConfigError("nothing to decode: frames are counted from 0, and at least one must be asked for.")
    failure: BitstreamError | None = None
    with open_reader(source, conceal) as stream:
        with ExitStack() as stack:
            codec = codec if isinstance(codec, Codec) else codec(stream.header)
            if start:
                if stream.frame_count is not None and start >= stream.frame_count:
                    raise ConfigError(f"{source}: has {stream.frame_count} frames, there is no frame {start}.")
                stream.seek(start)
            units = _of_one_size(_until(stream, None if frames is None else start + frames))
            first = next(units, None)
            if first is None:
                raise BitstreamError(stream.damage or "the stream holds no frame.")
            info = _video_info(first, stream.header, _wanted(stream.frame_count, start, frames))
            if stream.header is None:
                (note or _ignore)("the official container has no frame rate; the output plays at 30 frames per second")
            else:
                skip_threshold = stream.header.skip_threshold
            stack.enter_context(enough_memory(codec, info.width, info.height, str(source)))
            writer = stack.enter_context(create_video(target, info))
            for sentence in writer.notes:
                (note or _ignore)(sentence)
            decoder = Decoder(codec, skip_threshold, writer.takes_rgb and is_coded_rgb(stream.header), conceal)
            report = Report(codec, decoder.timer, info)
            try:
                for frame in decoder.frames(itertools.chain([first], units)):
                    if frame.index < start or (frames is not None and frame.index >= start + frames):
                        continue  # of the first or the last packet
                    writer.write(frame.planes if frame.rgb is None else frame.rgb)
                    _add(report, frame, hashes)
                    (progress or _ignore)(report, info.frames)
            except BitstreamError as error:
                if not report.frames:
                    raise
                text = str(error)
                text += "" if text.endswith((".", "?")) else "."
                if not keep_partial:
                    raise type(error)(
                        f"{text} `keep_partial` keeps the frames before it ({len(report.frames)})."
                    ) from None
                failure = type(error)(f"{source}: {text} {target} has the frames before it ({len(report.frames)}).")
            if not report.frames:
                raise ConfigError(f"{source}: the stream ends before frame {start}.")
            report.add_bits(8 * stream.trailer_bytes)
    if stream.damage is not None:
        (note or _ignore)(f"damage was passed over, {len(report.frames)} frames were written: {stream.damage}")
    lost = sum(frame["type"] == LOST for frame in report.frames)
    if lost:
        (note or _ignore)(
            f"{lost} of {len(report.frames)} frames are lost; they repeat the picture before them, or are grey"
        )
    resynced = sum(frame["resynced"] > 0 for frame in report.frames)
    if resynced:
        (note or _ignore)(
            f"{resynced} of {len(report.frames)} frames decode only with a few scales rounded otherwise than here: "
            "they were coded on another kind of machine"
        )
    if failure is not None:
        failure.report = report.summary() | {"damage": str(failure)}
        raise failure
    return report.summary()


def _ignore(*_: object) -> None:
    pass


def _check_paths(source: str | Path, target: str | Path) -> None:
    if same_file(source, target):
        raise OutputError(f"{target}: is the input itself; give the output another name.")


def _planes(frame: YuvFrame | RgbFrame, info: VideoInfo) -> YuvFrame:
    return rgb_to_yuv(frame, coded_colour(info)) if isinstance(frame, RgbFrame) else frame


def _video_info(first: Packet | LostPicture, header: NvcHeader | None, frames: int | None) -> VideoInfo:
    if header is None:
        return VideoInfo(first.width, first.height, frames=frames)
    return VideoInfo(header.width, header.height, header.fps, Colour(*header.colour), frames)


def _wanted(count: int | None, start: int, frames: int | None) -> int | None:
    """Number of frames to come, of `count` in the stream, None if unknown."""
    left = None if count is None else max(0, count - start)
    return left if frames is None else frames if left is None else min(frames, left)


def _until(units: Iterable[Packet | LostPicture], end: int | None) -> Iterator[Packet | LostPicture]:
    """The packets up to picture `end`; nothing is read beyond them."""
    for unit in units:
        yield unit
        if end is not None and unit.index + (len(unit.qps) if isinstance(unit, Packet) else 1) >= end:
            return


def _of_one_size(units: Iterable[Packet | LostPicture]) -> Iterator[Packet | LostPicture]:
    """The frames; the official container allows another size at each intra frame, a video file does not."""
    size = None
    for unit in units:
        found = unit.width, unit.height
        size = size or found
        if found != size:
            raise BitstreamError(
                "frame {}: the picture size changes from {}x{} to {}x{}.".format(unit.index, *size, *found)
            )
        yield unit


def _add_packet(report: Report, packet: EncodedPacket, bits: int, info: VideoInfo) -> None:
    """One row for each picture, the bits of the packet shared among them."""
    decoded = packet.reconstructions
    for number, (qp, mine) in enumerate(zip(packet.coded.qps, shared(bits, len(packet.coded.qps)), strict=True)):
        original = None if decoded is None else _planes(packet.sources[number], info)
        picture = None if decoded is None else decoded[number]
        report.add(
            packet.index + number,
            packet.coded.types[number],
            qp,
            mine,
            picture,
            original,
            buffer_bits=packet.buffer_bits,
        )


def _add(report: Report, frame: DecodedFrame, hashes: bool) -> None:
    report.add(frame.index, frame.type, frame.qp, frame.bits, frame.planes if hashes else None, resynced=frame.resynced)
