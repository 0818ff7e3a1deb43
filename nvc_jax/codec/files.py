"""Whole files: video in, stream out, and back. Outputs appear complete or not at all."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

from nvc_jax.bitstream import open_stream
from nvc_jax.bitstream.dcvc import DcvcReader, DcvcWriter, FrameUnit
from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.memory import enough_memory
from nvc_jax.codec.model import Codec
from nvc_jax.codec.report import Report
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import BitstreamError, ConfigError, OutputError, VideoError
from nvc_jax.files import atomic_output, same_file
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD
from nvc_jax.video import Colour, RgbFrame, VideoInfo, YuvFrame, create_video, open_video, rgb_to_yuv

Progress = Callable[[Report, int | None], None]  # called after every frame, with the number of frames if known

RGB_COLOUR = Colour(primaries=1, transfer=1, matrix=1, full_range=True)  # how RGB sources are coded (spec 10)


def encode_file(
    codec: Codec,
    source: str | Path,
    target: str | Path,
    schedule: Schedule,
    *,
    skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
    size: tuple[int, int] | None = None,
    fps: Fraction | None = None,
    frames: int | None = None,
    reconstruct: bool = False,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Code a video into the official container.

    Args:
        codec: the model.
        source: any video `open_video` reads.
        target: the stream; `-` is standard output.
        schedule: qps, intra period, refresh.
        skip_threshold: symbols with a scale not above it are not coded; None codes all.
        size: (width, height) of a raw source.
        fps: frame rate, if the source has none or another is wanted.
        frames: code at most this many.
        reconstruct: also decode, for PSNRs and hashes in the report.
        progress: called after every frame.
        note: called with sentences for the user.

    Returns:
        The report.

    Raises:
        NvcError: nothing is left behind then.
    """
    _check_paths(source, target)
    for name, qp in (("qp", schedule.qp), ("intra qp", schedule.intra_qp)):
        if qp != round(qp):
            raise ConfigError(f"{name} {qp:g} is not a whole number, and the official container stores qp as one byte.")
    with ExitStack() as stack:
        reader = stack.enter_context(open_video(source, size=size, fps=fps, frames=frames))
        info = reader.info
        stack.enter_context(enough_memory(codec, info.width, info.height, reader.name))
        file = stack.enter_context(atomic_output(target))
        for sentence in info.notes:
            (note or _ignore)(sentence)
        encoder = Encoder(codec, info.width, info.height, schedule, skip_threshold, reconstruct)
        report, writer = Report(codec, encoder.timer, info), DcvcWriter(file)
        for coded in encoder.encode(reader):
            plan = coded.plan
            size_bytes = writer.write_frame(coded.header, plan.kind, round(plan.qp), coded.payload)
            original = _planes(coded.source) if reconstruct else None
            report.add(plan.index, plan.kind, plan.qp, 8 * size_bytes, coded.reconstruction, original)
            (progress or _ignore)(report, info.frames)
        if not report.frames:
            raise VideoError(f"{source}: holds no frame to code.")
    return report.summary()


def decode_file(
    codec: Codec,
    source: str | Path,
    target: str | Path,
    *,
    skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
    frames: int | None = None,
    hashes: bool = False,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Decode a stream of the official container into a video.

    Args:
        codec: the model the stream was made with.
        source: the stream; `-` is standard input.
        target: any video `create_video` writes; PNG pictures come from 4:4:4 by BT.709.
        skip_threshold: that of the encoder.
        frames: decode at most this many.
        hashes: put the hash of every frame into the report.
        progress: called after every frame.
        note: called with sentences for the user.

    Returns:
        The report.

    Raises:
        NvcError: nothing is left behind then.
    """
    _check_paths(source, target)
    with ExitStack() as stack:
        file = stack.enter_context(open_stream(source))
        units = _of_one_size(itertools.islice(DcvcReader(file), frames))
        first = next(units, None)
        if first is None:
            raise ConfigError("nothing to decode: --frames is 0.")
        info = VideoInfo(first.header.width, first.header.height, frames=frames)
        stack.enter_context(enough_memory(codec, info.width, info.height, str(source)))
        (note or _ignore)("the official container has no frame rate; the output plays at 30 frames per second")
        writer = stack.enter_context(create_video(target, info))
        decoder = Decoder(codec, skip_threshold, rgb=writer.takes_rgb)
        report = Report(codec, decoder.timer, info)
        for frame in decoder.decode(itertools.chain([first], units)):
            writer.write(frame.planes if frame.rgb is None else frame.rgb)
            unit = frame.unit
            planes = frame.planes if hashes else None
            report.add(frame.index, unit.kind, unit.qp, 8 * unit.size_bytes, planes)
            (progress or _ignore)(report, frames)
    return report.summary()


def _ignore(*_: object) -> None:
    pass


def _planes(frame: YuvFrame | RgbFrame) -> YuvFrame:
    return rgb_to_yuv(frame, RGB_COLOUR) if isinstance(frame, RgbFrame) else frame


def _of_one_size(units: Iterable[FrameUnit]) -> Iterator[FrameUnit]:
    """The frames; the container allows another size at each intra frame, a video file does not."""
    size = None
    for index, unit in enumerate(units):
        found = unit.header.width, unit.header.height
        size = size or found
        if found != size:
            change = "from {}x{} to {}x{}".format(*size, *found)
            raise BitstreamError(f"frame {index}: the picture size changes {change} (byte {unit.offset}).")
        yield unit


def _check_paths(source: str | Path, target: str | Path) -> None:
    if same_file(source, target):
        raise OutputError(f"{target}: is the input itself; give the output another name.")
