"""Read mp4, mkv, webm and all other containers of FFmpeg through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from nvc_jax.errors import VideoError
from nvc_jax.io.files import PathLike
from nvc_jax.video.colour import has_formula, matrix_name, substitute_matrix
from nvc_jax.video.frame import Frame, VideoInfo, check_size
from nvc_jax.video.frame_rate import judge_rate
from nvc_jax.video.layouts import (
    UNSPECIFIED,
    Watch,
    can_crop,
    colour_of,
    convert,
    crop,
    is_rgb,
    is_subsampled,
    is_transparent,
    reason_of,
)
from nvc_jax.video.orientation import jpeg_wish, matrix_wish, orientation_note
from nvc_jax.video.stream import VideoReader
from nvc_jax.video.timeline import GENERATED_TIMES, Timeline, TrackIndex, missing_frames, scan
from nvc_jax.video.track_header import Window, read_track_header
from nvc_jax.video.tracks import candidates, choice_notes, choose

# Demuxers that render text as pictures, or follow links to other files and to the network.
_NOT_VIDEO = {"tty", "bin", "xbin", "adf", "idf", "concat", "hls", "applehttp", "sdp", "rtsp", "dash", "imf"}
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(sorted(av.formats_available - _NOT_VIDEO)),
    "pattern_type": "none",
}
_HDR = {
    "MASTERING_DISPLAY_METADATA": "mastering display",
    "CONTENT_LIGHT_LEVEL": "light level",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
    "DOVI_METADATA": "Dolby Vision",
}
_EXIF_BYTES = 1 << 18  # searched at the beginning of a JPEG file


def open_container(
    path: PathLike,
    *,
    track: int | None = None,
    fps: Fraction | None = None,
    frames: int | None = None,
    index: TrackIndex | None = None,
) -> VideoReader:
    """Open a video track of a file; notes list what is not carried (sound, rotation, pixel aspect ratio, ...).

    Args:
        path: the file.
        track: number of the video track; by default the one that FFmpeg prefers.
        fps: overrides the frame rate of the file.
        frames: how many will be read at most; a longer file is scanned no further.
        index: of an earlier reader of the same file, to skip scanning it again.

    Raises:
        VideoError: FFmpeg cannot decode a video from the file.
    """
    name = os.fspath(path)
    with ExitStack() as stack:
        try:
            index = index or _look_through(name, track, frames)
            source = _open(name)
            stack.callback(source.close)
            stream, timeline = _track(source, index.stream), index.timeline
            decoded = _decode(source, stream)
            first = next(decoded, None)
        except av.FFmpegError as error:
            raise VideoError(f"{name}: is not a video that can be read ({reason_of(error)})") from None
        if first is None:
            raise VideoError(f"{name}: holds no frames")
        check_size(first.width, first.height, name)
        timeline = timeline.from_first(first.pts)
        index = TrackIndex(stream.index, timeline)
        header = read_track_header(stream)
        window = header.window if header.window and can_crop(first, header.window) else None
        transparent = is_transparent(first) or stream.metadata.get("alpha_mode") == "1"
        rate, rate_notes = judge_rate(source, stream, timeline, fps)
        notes = choice_notes(source, stream)
        notes += _picture_notes(path, stream, first)
        if transparent:
            notes.append("transparency is left out")
        if header.window:
            notes.append(_crop_note(header.window, window is not None))
        notes += rate_notes
        if timeline.lost:
            notes.append(f"the first {timeline.lost} frames do not decode: they refer to frames that were cut off")
        if timeline.repeats:
            notes.append(f"repeat frames without data are dropped ({timeline.repeats})")
        if source.streams.audio:
            notes.append("the sound is not carried")
        colour = colour_of(first)
        if is_subsampled(first):
            colour = replace(colour, chroma_location=header.chroma_location)
        info = VideoInfo(
            window.width if window else first.width,
            window.height if window else first.height,
            rate,
            colour,
            (timeline.frames + missing_frames(timeline, source, stream, rate)) or None,
            has_audio=bool(source.streams.audio),
            is_rgb=is_rgb(first),
            notes=tuple(notes),
        )
        watch = Watch(first, name, transparent, timeline.damaged)
        reading = _Reading(name, source, stream, timeline, watch, window, stack.pop_all())
        return VideoReader(
            name, info, reading.frames(first, decoded), reading.resources, reading.frames_from, watch.findings, index
        )


def _open(name: str) -> InputContainer:
    return av.open(f"file:{name}", metadata_errors="replace", options=_OPTIONS)


def _track(source: InputContainer, index: int) -> VideoStream:
    """Set up the decoder of a track."""
    stream = source.streams[index]
    assert isinstance(stream, VideoStream)
    stream.thread_type = "AUTO"
    if int(source.format.flags) & GENERATED_TIMES:  # probing has read the colours of later pictures
        context = stream.codec_context
        context.color_range = 0
        context.colorspace = context.color_primaries = context.color_trc = UNSPECIFIED
    return stream


def _look_through(name: str, track: int | None, frames: int | None) -> TrackIndex:
    """Choose a track and scan its timestamps."""
    with _open(name) as source:
        streams = candidates(source, track, name)
        timelines = scan(source, streams, frames)
        chosen = choose(streams, timelines).index
        return TrackIndex(chosen, timelines[chosen])


def _decode(source: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    try:
        yield from source.decode(stream)
    except IndexError:  # PyAV does not know streams that appear on the way, and does not flush the decoder then
        with suppress(av.EOFError):
            yield from stream.codec_context.decode(None)


class _Reading:
    """Decodes an open track from its first frame or from a later one."""

    def __init__(
        self,
        name: str,
        source: InputContainer,
        stream: VideoStream,
        timeline: Timeline,
        watch: Watch,
        window: Window | None,
        resources: ExitStack,
    ) -> None:
        self.resources = resources
        self._name, self._source, self._stream, self._timeline = name, source, stream, timeline
        self._watch, self._window = watch, window

    def frames(self, first: av.VideoFrame, rest: Iterator[av.VideoFrame], index: int = 0) -> Iterator[Frame]:
        """Convert the decoded frames from `first`, frame `index`, on."""
        frame: av.VideoFrame | None = first
        del first
        while frame is not None:
            self._watch.see(frame)
            picture = convert(frame)
            yield crop(picture, self._window) if self._window else picture
            index += 1
            try:
                frame = next(rest, None)
            except av.FFmpegError as error:
                raise VideoError(f"{self._name}: frame {index} cannot be decoded ({reason_of(error)})") from None

    def frames_from(self, number: int) -> Iterator[Frame]:
        """Seek to a frame and decode from there.

        Raises:
            VideoError: the frame does not exist or cannot be decoded.
        """
        try:
            found = self._seek(number) or self._count(number)
        except av.FFmpegError as error:
            raise VideoError(f"{self._name}: cannot be read from frame {number} on ({reason_of(error)})") from None
        if found is None:
            raise VideoError(f"{self._name}: has no frame {number}; frames are counted from 0")
        return self.frames(*found, number)

    def _seek(self, number: int) -> tuple[av.VideoFrame, Iterator[av.VideoFrame]] | None:
        """Decode up to a frame from a key frame before it; None if that does not reach it."""
        timeline = self._timeline
        if not timeline.exact or number >= len(timeline.times):
            return None
        target = int(timeline.times[number])
        keys = timeline.keys[timeline.keys <= target].tolist()
        back = 1
        while back <= len(keys):  # without an index, a seek may land after the requested key frame
            try:
                self._source.seek(keys[-back], stream=self._stream)
                found = self._decode_to(target)
            except av.FFmpegError:
                found = None
            if found is not None:
                return found
            back *= 4
        return None

    def _decode_to(self, target: int) -> tuple[av.VideoFrame, Iterator[av.VideoFrame]] | None:
        decoded, whole = _decode(self._source, self._stream), False
        for frame in decoded:
            if frame.pts is None or frame.pts > target:
                return None
            # Frames before the key frame may refer to frames that were not decoded.
            whole = whole or bool((self._timeline.keys == frame.pts).any())
            if frame.pts == target:
                return (frame, decoded) if whole else None
            if whole:
                self._watch.pass_over(frame)
        return None

    def _count(self, number: int) -> tuple[av.VideoFrame, Iterator[av.VideoFrame]] | None:
        """Decode up to a frame from the first one."""
        source = _open(self._name)  # not every container seeks back to its beginning
        self.resources.callback(source.close)
        decoded = _decode(source, _track(source, self._stream.index))
        for index, frame in enumerate(decoded):
            if index == number:
                return frame, decoded
        return None


def _crop_note(window: Window, cropped: bool) -> str:
    size = f"{window.width}x{window.height}"
    if cropped:
        return f"cropped to {size}, as the container asks"
    return f"the crop to {size} that the container asks for starts at an odd offset: it is not carried"


def _picture_notes(path: PathLike, stream: VideoStream, frame: av.VideoFrame) -> list[str]:
    notes = []
    layout = frame.format.name
    if is_rgb(frame):
        if any(component.bits > 8 for component in frame.format.components):
            notes.append(f"converted from {layout} to 8-bit RGB")
    elif layout not in ("yuv420p", "yuvj420p"):
        notes.append(f"converted from {layout} to 8-bit 4:2:0")
    side_data = _side_data(frame)
    if side_data is None:
        wish = _exif_wish(path) or matrix_wish(None, frame.rotation)
    else:
        wish = matrix_wish(side_data.get("DISPLAYMATRIX"), frame.rotation)
    if wish:
        notes.append(orientation_note(wish))
    hdr = list(dict.fromkeys(words for kind, words in _HDR.items() if kind in (side_data or {})))
    if hdr:
        notes.append(f"the HDR metadata ({', '.join(hdr)}) is not carried")
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        notes.append(f"the pixel aspect ratio {aspect.numerator}:{aspect.denominator} is not carried")
    if frame.interlaced_frame:
        notes.append("the source is interlaced: its fields are coded together, as progressive frames")
    matrix = colour_of(frame).matrix
    if not is_rgb(frame) and not has_formula(matrix):
        notes.append(
            f"the matrix {matrix_name(matrix)} is carried, but not supported: RGB is converted with "
            f"{substitute_matrix(matrix, frame.height)}"
        )
    return notes


def _side_data(frame: av.VideoFrame) -> dict[str, bytes] | None:
    """Map FFmpeg's type names to a frame's side data; None if PyAV does not know one of the types."""
    try:
        return {data.type.name: bytes(data) for data in frame.side_data}  # type: ignore[attr-defined, arg-type]
    except ValueError:
        return None


def _exif_wish(path: PathLike) -> str | None:
    try:
        with open(path, "rb") as file:
            return jpeg_wish(file.read(_EXIF_BYTES))
    except OSError:
        return None
