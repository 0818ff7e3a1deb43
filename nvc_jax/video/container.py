"""mp4, mkv, webm and whatever else FFmpeg reads, through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.plane import VideoPlane
from av.video.stream import VideoStream

from nvc_jax.errors import OutputError, VideoError
from nvc_jax.files import PathLike, atomic_output
from nvc_jax.video.frame import (
    DEFAULT_FPS,
    U8,
    Colour,
    Frame,
    RgbFrame,
    VideoInfo,
    YuvFrame,
    check_size,
    chroma_size,
)
from nvc_jax.video.stream import VideoReader, VideoWriter

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}

# FFmpeg draws the text of such files as pictures, or follows their links to other files and to the network.
_NOT_VIDEO = {"tty", "bin", "xbin", "adf", "idf", "concat", "hls", "applehttp", "sdp", "rtsp", "dash", "imf"}
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(sorted(av.formats_available - _NOT_VIDEO)),
    "pattern_type": "none",
}
_UNSPECIFIED = 2  # H.273, for primaries, transfer and matrix alike
_RANGE_CODE = {None: 0, False: 1, True: 2}
_RANGE = {1: False, 2: True}


def open_container(path: PathLike) -> VideoReader:
    """Read the first video stream of a file. Sound, rotation and pixel shape are not carried; notes say so.

    Raises:
        VideoError: no video that FFmpeg can decode.
    """
    name = os.fspath(path)
    with ExitStack() as stack:
        try:
            source = av.open(f"file:{name}", metadata_errors="replace", options=_OPTIONS)
            stack.callback(source.close)
            streams = [s for s in source.streams.video if s.codec_context is not None]
            if not streams:
                raise VideoError(f"{name}: has no video that can be decoded")
            stream = streams[0]
            stream.thread_type = "AUTO"
            decoded = source.decode(stream)
            first = next(decoded, None)
        except av.FFmpegError as error:
            raise VideoError(f"{name}: is not a video that can be read ({_reason(error)})") from None
        if first is None:
            raise VideoError(f"{name}: holds no frames")
        check_size(first.width, first.height, name)
        notes = _notes(stream, first)
        fps, varies = _frame_rate(stream)
        if fps is None:
            fps = DEFAULT_FPS
            notes.append(f"no frame rate in the source: {fps} assumed")
        elif varies:
            notes.append(f"the frame times vary: every frame is kept, at {float(fps):.5g} per second")
        if source.streams.audio:
            notes.append("the sound is not carried")
        info = VideoInfo(
            first.width,
            first.height,
            fps,
            _colour(first),
            _expected_frames(source, stream, fps),
            has_audio=bool(source.streams.audio),
            is_rgb=_is_rgb(first),
            notes=tuple(notes),
        )
        begin = first.pts
        seek = None
        if begin is not None and stream.time_base and not varies:

            def seek(frames: int) -> Iterator[Frame]:
                return _read_frames(*_frames_from(source, stream, begin, frames / fps, name), name)

        return VideoReader(name, info, _read_frames(first, decoded, name), stack.pop_all(), seek)


def _frames_from(
    source: av.container.InputContainer, stream: VideoStream, begin: int, seconds: Fraction, name: str
) -> tuple[av.VideoFrame, Iterator[av.VideoFrame]]:
    """The frame that is shown `seconds` after the time `begin` of the first one, and those that follow."""
    unit = stream.time_base
    assert unit is not None
    target = begin + int(seconds / unit)
    slack = int(Fraction(1, 500) / unit)  # containers round times; no video has 250 frames per second
    try:
        source.seek(target, stream=stream)
        decoded = source.decode(stream)
        for frame in decoded:
            if frame.pts is not None and frame.pts >= target - slack:
                return frame, decoded
    except av.FFmpegError as error:
        raise VideoError(f"{name}: cannot be read from {float(seconds):.3f} s on ({_reason(error)})") from None
    raise VideoError(f"{name}: ends before {float(seconds):.3f} s, which its header does not say")


def _reason(error: av.FFmpegError) -> str:
    """FFmpeg's own words for an error."""
    return (error.strerror or type(error).__name__).lower()


def _read_frames(first: av.VideoFrame, rest: Iterator[av.VideoFrame], name: str) -> Iterator[Frame]:
    frame: av.VideoFrame | None = first
    layout, size, index = first.format.name, (first.width, first.height), 0
    del first
    while frame is not None:
        if (frame.width, frame.height) != size or frame.format.name != layout:
            found = f"{frame.width}x{frame.height} {frame.format.name}"
            began = f"{size[0]}x{size[1]} {layout}"
            raise VideoError(f"{name}: frame {index} is {found}, but the first is {began}; cut it there")
        yield _convert(frame)
        index += 1
        try:
            frame = next(rest, None)
        except av.FFmpegError as error:
            raise VideoError(f"{name}: frame {index} cannot be decoded ({_reason(error)})") from None


def _is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb or frame.format.has_palette


def _is_grey(frame: av.VideoFrame) -> bool:
    return len(frame.format.components) == 1 and not _is_rgb(frame)


def _convert(frame: av.VideoFrame) -> Frame:
    if _is_rgb(frame):
        return RgbFrame(np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
    if _is_grey(frame):
        y = _plane(frame if frame.format.name == "gray" else _reformat(frame, "gray"), 0)
        columns, rows = chroma_size(frame.width, frame.height)
        neutral = np.full((rows, columns), 128, np.uint8)
        return YuvFrame(y, neutral, neutral)
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = _reformat(frame, "yuv420p")
    return YuvFrame(_plane(frame, 0), _plane(frame, 1), _plane(frame, 2))


def _reformat(frame: av.VideoFrame, layout: str) -> av.VideoFrame:
    """Another layout, the same matrix and range."""
    return frame.reformat(
        format=layout,
        src_colorspace=frame.colorspace,
        dst_colorspace=frame.colorspace,
        src_color_range=frame.color_range,
        dst_color_range=frame.color_range,
    )


def _plane(frame: av.VideoFrame, index: int) -> U8:
    return _pixels(frame.planes[index]).copy()  # the decoder reuses its memory


def _pixels(plane: VideoPlane) -> U8:
    """A view of the picture part of a plane's memory, [H, W]."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _notes(stream: VideoStream, frame: av.VideoFrame) -> list[str]:
    notes = []
    layout = frame.format.name
    if _is_rgb(frame):
        if any(component.bits > 8 for component in frame.format.components):
            notes.append(f"converted from {layout} to 8-bit RGB")
    elif layout not in ("yuv420p", "yuvj420p"):
        notes.append(f"converted from {layout} to 8-bit 4:2:0")
    if frame.rotation:
        notes.append(f"the source asks to be shown turned by {frame.rotation} degrees: that is not carried")
    if (stream.sample_aspect_ratio or 1) != 1:
        notes.append(f"the pixels are not square ({stream.sample_aspect_ratio}): their shape is not carried")
    if frame.interlaced_frame:
        notes.append("the source is interlaced: its fields are coded together, as progressive frames")
    return notes


def _frame_rate(stream: VideoStream) -> tuple[Fraction | None, bool]:
    """(frames per second, whether frame times seem to vary)."""
    mean, guess = stream.average_rate, stream.guessed_rate
    if not mean or not guess:
        return (mean or guess or None), False
    varies = abs(guess / mean - 1) > Fraction(1, 50)
    rate = (mean if varies else guess).limit_denominator(1_000_000)
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)  # mkv keeps nanoseconds: 19001/317 was 60000/1001
    return (ntsc if ntsc and abs(rate / ntsc - 1) < Fraction(5, 10**7) else rate), varies


def _expected_frames(source: av.container.InputContainer, stream: VideoStream, fps: Fraction) -> int | None:
    """Of the stream's own length where the container tells it; sound may be longer."""
    if stream.frames:
        return stream.frames
    seconds = _tagged_seconds(stream)
    if seconds is None and stream.duration and stream.time_base:
        seconds = stream.duration * stream.time_base
    if seconds is None and source.duration:
        seconds = Fraction(source.duration, av.time_base)
    return None if seconds is None else max(1, round(seconds * fps))


def _tagged_seconds(stream: VideoStream) -> Fraction | None:
    """What Matroska files tell of a stream's length, such as `00:00:01.320000000`."""
    try:
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return (60 * int(hours) + int(minutes)) * 60 + Fraction(seconds) or None
    except (KeyError, ValueError):
        return None


def _colour(frame: av.VideoFrame) -> Colour:
    codes = (frame.color_primaries, frame.color_trc, 0 if _is_rgb(frame) else frame.colorspace)
    primaries, transfer, matrix = (None if code == _UNSPECIFIED or not code else int(code) for code in codes)
    full = True if frame.format.name.startswith("yuvj") else _RANGE.get(int(frame.color_range))
    return Colour(primaries, transfer, matrix, full)


class ContainerWriter(VideoWriter):
    """Writes mp4, mkv, mov and webm, visually lossless.

    H.264 codes 4:2:0 in even sizes only, so odd sizes (and webm) are coded with VP9, which keeps size and
    chroma; mov cannot hold that.
    """

    def __init__(self, path: PathLike, info: VideoInfo) -> None:
        super().__init__(os.fspath(path), info)
        suffix = Path(path).suffix.lower()
        even = info.width % 2 == 0 and info.height % 2 == 0
        if suffix == ".mov" and not even:
            raise VideoError(f"{path}: .mov holds even sizes only, not {info.width}x{info.height}; use .mp4")
        self._file = _FirstError(self._resources.enter_context(atomic_output(path)))
        try:
            self._sink = av.open(self._file, "w", format=FORMATS[suffix])
            self._resources.callback(self._close)
            if even and suffix != ".webm":
                options = {"crf": "12", "preset": "fast"}
                self._stream = self._sink.add_stream("libx264", rate=info.fps, options=options)
            else:
                options = {"crf": "12", "b:v": "0", "cpu-used": "4", "row-mt": "1"}
                self._stream = self._sink.add_stream("libvpx-vp9", rate=info.fps, options=options)
            self._set_up(self._stream.codec_context)
        except BaseException as error:
            with suppress(OSError):
                self._resources.__exit__(type(error), error, error.__traceback__)
            if isinstance(error, av.FFmpegError | OverflowError | ValueError):
                raise OutputError(f"{self.name}: cannot set up the encoder ({error})") from None
            raise

    def _set_up(self, context: VideoCodecContext) -> None:
        context.width, context.height, context.pix_fmt = self.info.width, self.info.height, "yuv420p"
        context.color_range = _RANGE_CODE[self.colour.full_range]
        context.color_primaries = self.colour.primaries or _UNSPECIFIED
        context.color_trc = self.colour.transfer or _UNSPECIFIED
        context.colorspace = self.colour.matrix or _UNSPECIFIED

    def _close(self) -> None:
        with self._translated():
            self._sink.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise OutputError(f"{self.name}: cannot write frame {self.count} ({_reason(error)})") from None
        self._file.check()

    def _write_yuv(self, frame: YuvFrame) -> None:
        picture = av.VideoFrame(self.info.width, self.info.height, "yuv420p")
        for plane, values in zip(picture.planes, (frame.y, frame.u, frame.v), strict=True):
            _pixels(plane)[:] = values
        picture.pts = self.count
        picture.time_base = 1 / self.info.fps
        self._encode(picture)

    def _finish(self) -> None:
        self._encode(None)

    def _encode(self, picture: av.VideoFrame | None) -> None:
        with self._translated():
            self._sink.mux(self._stream.encode(picture))


class _FirstError:
    """The output as FFmpeg sees it: a failure is kept until `check`, as FFmpeg would lose it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OutputError | None = None
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                return self._file.write(data)
            except OutputError as error:
                self._error = error
        return len(data)

    def check(self) -> None:
        if self._error is not None:
            raise self._error
