"""Choose one of several video tracks."""

from __future__ import annotations

from collections.abc import Mapping

from av.container import InputContainer
from av.video.stream import VideoStream

from nvc_jax.errors import VideoError
from nvc_jax.video.timeline import Timeline

# AVDISPOSITION: ATTACHED_PIC, TIMED_THUMBNAILS, DEPENDENT
_PICTURES = 1 << 10 | 1 << 11 | 1 << 19
_DEFAULT = 1


def candidates(source: InputContainer, track: int | None, name: str) -> list[VideoStream]:
    """List the eligible video tracks: the requested one, or all but attached pictures.

    Raises:
        VideoError: no track is eligible.
    """
    tracks = source.streams.video
    if track is not None:
        if not 0 <= track < len(tracks):
            known = f"its video tracks are 0 to {len(tracks) - 1}" if tracks else "it has none"
            raise VideoError(f"{name}: has no video track {track}; {known}")
        if tracks[track].codec_context is None:
            raise VideoError(f"{name}: video track {track} cannot be decoded")
        return [tracks[track]]
    decodable = [stream for stream in tracks if stream.codec_context is not None]
    moving = [stream for stream in decodable if not _is_picture(stream)]
    if decodable and not moving:
        raise VideoError(f"{name}: has no video, only an attached picture (`track` 0 reads it)")
    if not tracks:
        raise VideoError(f"{name}: has no video")
    if not moving:
        raise VideoError(f"{name}: has no video that can be decoded")
    return moving


def choose(streams: list[VideoStream], timelines: Mapping[int, Timeline]) -> VideoStream:
    """Choose like FFmpeg, the default track and then the largest, but prefer a video to a single picture."""

    def merit(stream: VideoStream) -> tuple[bool, bool, int]:
        moves = timelines[stream.index].frames > 1
        return moves, bool(int(stream.disposition) & _DEFAULT), (stream.width or 0) * (stream.height or 0)

    return max(streams, key=merit)


def choice_notes(source: InputContainer, stream: VideoStream) -> list[str]:
    """Note which of several tracks is read, and attached pictures."""
    tracks = source.streams.video
    others = [track for track in tracks if track.index != stream.index]
    if not others:
        return []
    if all(_is_picture(other) for other in others):
        pictures = "the attached picture is" if len(others) == 1 else f"{len(others)} attached pictures are"
        return [f"{pictures} not carried (`track` N reads one)"]
    number = [track.index for track in tracks].index(stream.index)
    codec = f"{stream.codec_context.codec.canonical_name} {stream.width}x{stream.height}"
    return [f"{len(tracks)} video tracks: number {number} is read ({codec}), `track` N reads another"]


def _is_picture(stream: VideoStream) -> bool:
    return bool(int(stream.disposition) & _PICTURES)
