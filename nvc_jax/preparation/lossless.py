"""Write sequences losslessly: FFV1 in Matroska, all key frames, the same bytes on every run; or y4m."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from nvc_jax.errors import OutputError
from nvc_jax.io.files import atomic_output
from nvc_jax.video import Frame, RgbFrame, VideoInfo, create_video
from nvc_jax.video.layouts import UNSPECIFIED, pixels, reason_of

SUFFIXES = (".mkv", ".y4m")
_SLICES = "4"  # part of the syntax, so that the number of threads changes no byte
_RANGE_CODE = {None: 0, False: 1, True: 2}


def write_lossless(path: Path, frames: Sequence[Frame], info: VideoInfo) -> None:
    """Write a sequence.

    Args:
        path: .mkv or .y4m.
        frames: 4:2:0, or (.mkv only) RGB.
        info: frame rate and colour; the size is that of the frames.

    Raises:
        OutputError: it cannot be written.
    """
    width, height = frames[0].size
    info = dataclasses.replace(info, width=width, height=height, frames=len(frames), has_audio=False, notes=())
    if path.suffix == ".y4m":
        with create_video(path, info) as writer:
            for frame in frames:
                writer.write(frame)
        return
    try:
        data = _matroska(frames, info)
    except av.FFmpegError as error:
        raise OutputError(f"{path}: cannot write the sequence ({reason_of(error)}).") from None
    with atomic_output(path) as file:
        file.write(data)


def _matroska(frames: Sequence[Frame], info: VideoInfo) -> bytes:
    buffer = io.BytesIO()
    # bitexact: without random identifiers and the date.
    with av.open(buffer, "w", format="matroska", options={"fflags": "+bitexact"}) as sink:
        stream = sink.add_stream("ffv1", rate=info.fps, options={"slices": _SLICES, "level": "3", "g": "1"})
        context = stream.codec_context
        context.flags |= av.codec.context.Flags.bitexact
        context.width, context.height = info.width, info.height
        context.pix_fmt = "bgr0" if info.is_rgb else "yuv420p"
        colour = info.colour
        context.color_range = _RANGE_CODE[colour.full_range]
        context.color_primaries = colour.primaries or UNSPECIFIED
        context.color_trc = colour.transfer or UNSPECIFIED
        context.colorspace = (0 if info.is_rgb else colour.matrix) or UNSPECIFIED
        for number, frame in enumerate(frames):
            picture = _picture(frame, context.pix_fmt)
            picture.pts, picture.time_base = number, 1 / info.fps
            sink.mux(stream.encode(picture))
        sink.mux(stream.encode(None))
    return buffer.getvalue()


def _picture(frame: Frame, layout: str) -> av.VideoFrame:
    picture = av.VideoFrame(*frame.size, layout)
    if isinstance(frame, RgbFrame):
        plane = np.frombuffer(memoryview(picture.planes[0]), np.uint8).reshape(-1, picture.planes[0].line_size)
        rows = plane[:, : 4 * frame.size[0]].reshape(-1, frame.size[0], 4)
        rows[..., :3], rows[..., 3] = frame.rgb[..., ::-1], 0
        return picture
    for target, values in zip(picture.planes, (frame.y, frame.u, frame.v), strict=True):
        pixels(target)[:] = values
    return picture
