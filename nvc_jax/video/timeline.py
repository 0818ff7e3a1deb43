"""Frame rate, frame count and seek points of a track, from the timestamps of its packets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

Times = npt.NDArray[np.int64]

GENERATED_TIMES = 0x80  # AVFMT_NOTIMESTAMPS: elementary streams, for which FFmpeg assumes 25 frames per second
_JUMPING_TIMES = 0x200  # AVFMT_TS_DISCONT: timestamps may be discontinuous
_JUMP_SECONDS = 10  # a larger step is a discontinuity, as in FFmpeg
_DISCARD_ALL = 48  # AVDISCARD_ALL
_MAX_STATED_RATE = 500  # of headers; more is the clock of a variable frame rate
_REORDER = 64  # packets scanned beyond the last wanted frame, as they may be shown before it


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    duration: int
    empty: bool
    key: bool
    hidden: bool


@dataclass(frozen=True)
class Timeline:
    """Timestamps of a video track.

    Attributes:
        time_base: seconds per tick; None without timestamps.
        times: presentation timestamps in ticks, rising.
        settled: number of leading timestamps that no reordered frame lost by truncation can lie between.
        keys: timestamps of key packets, rising.
        held: duration of the last frame in ticks; 0 if unknown.
        frames: number of frames shown.
        packets: number of packets, empty and hidden ones included.
        repeats: number of packets without data, which repeat a frame.
        complete: the track was scanned to its end.
        exact: `times` has the decoder's timestamp of every frame.
    """

    time_base: Fraction | None
    times: Times
    settled: int
    keys: Times
    held: int
    frames: int
    packets: int
    repeats: int
    complete: bool
    exact: bool

    @property
    def last_ticks(self) -> int:
        """Duration of the last frame in ticks: stated, or the median."""
        return self.held or (int(np.median(np.diff(self.times))) if len(self.times) > 1 else 0)


@dataclass(frozen=True)
class TrackIndex:
    """Result of scanning a file, for reopening it.

    Attributes:
        stream: FFmpeg's index of the chosen track.
        timeline: its timestamps.
    """

    stream: int
    timeline: Timeline


def scan(source: InputContainer, streams: Sequence[VideoStream], frames: int | None = None) -> dict[int, Timeline]:
    """Scan the packets of tracks without decoding them.

    Args:
        source: read to its end; open another one to decode.
        streams: the tracks.
        frames: scan about this many frames only.

    Returns:
        Timelines by the index of the track.
    """
    packets: dict[int, list[_Packet]] = {stream.index: [] for stream in streams}
    complete = True
    for other in source.streams:
        if other.index not in packets and hasattr(other, "discard"):
            setattr(other, "discard", _DISCARD_ALL)  # noqa: B010  (the stubs of PyAV want an enumeration)
    try:
        for packet in source.demux(*streams):
            if packet.pts is None and packet.dts is None and not packet.size:
                continue  # FFmpeg's flush packet at the end of a track
            found = packets[packet.stream.index]
            found.append(_summary(packet))
            if frames is not None and len(found) > frames + _REORDER:
                complete = False
                break
    except av.FFmpegError:
        pass  # decoding will report it
    flags = int(source.format.flags)
    avi = source.format.name == "avi"
    return {stream.index: _timeline(stream, packets[stream.index], flags, avi, complete) for stream in streams}


def _summary(packet: Packet[Stream]) -> _Packet:
    hidden = packet.is_discard
    if packet.size and packet.stream.codec_context.name in ("vp8", "libvpx"):
        hidden = hidden or not memoryview(packet)[0] & 16  # show_frame, RFC 6386, 9.1
    return _Packet(packet.pts, packet.dts, packet.duration or 0, not packet.size, packet.is_keyframe, hidden)


def _timeline(stream: VideoStream, packets: list[_Packet], flags: int, avi: bool, complete: bool) -> Timeline:
    shown = [p for p in packets if not p.empty and not p.hidden]
    empty = sum(p.empty and not p.hidden for p in packets)
    nothing = np.zeros(0, np.int64)
    time_base = stream.time_base
    if flags & GENERATED_TIMES or not time_base:
        return Timeline(None, nothing, 0, nothing, 0, len(shown), len(packets), empty, complete, False)
    offsets, jumps = _offsets(shown, time_base) if flags & _JUMPING_TIMES else ([0] * len(shown), False)
    timed = sorted((p.pts + offset, p.duration) for p, offset in zip(shown, offsets, strict=True) if p.pts is not None)
    times = np.array([time for time, _ in timed], np.int64)
    exact = len(timed) == len(shown) and not jumps and bool((np.diff(times) > 0).all())
    if avi and len(times) > 1:  # no timestamps: a tick per frame, and those without data are left out
        empty += int(times[-1] - times[0]) + 1 - len(times)
        order = np.diff([p.pts or 0 for p in shown])
        exact = exact and not (stream.codec_context.has_b_frames and bool((order > 0).all()))  # guessed by FFmpeg
    keys = np.array(sorted(p.pts for p in packets if p.key and p.pts is not None), np.int64)
    held = timed[-1][1] if timed and complete else 0
    ends = [p.dts + offset for p, offset in zip(shown, offsets, strict=True) if p.dts is not None]
    settled = int((times <= max(ends)).sum()) if ends else len(times)
    return Timeline(time_base, times, settled, keys, held, len(shown), len(packets), max(0, empty), complete, exact)


def _offsets(packets: list[_Packet], time_base: Fraction) -> tuple[list[int], bool]:
    """Compute the offsets that make discontinuous timestamps continuous, and whether any were."""
    offsets: list[int] = []
    offset, jumps = 0, False
    last: int | None = None
    duration = 0
    for packet in packets:
        if packet.dts is not None:
            if last is not None and not 0 <= (packet.dts - last) * time_base < _JUMP_SECONDS:
                offset += last + duration - packet.dts
                jumps = True
            last, duration = packet.dts, packet.duration
        offsets.append(offset)
    return offsets, jumps


def frame_rate(timeline: Timeline, stream: VideoStream) -> tuple[Fraction | None, bool]:
    """Determine the frame rate, and whether it is the mean of a variable one."""
    stated = [Fraction(rate) for rate in (stream.guessed_rate, stream.average_rate) if rate]
    if timeline.time_base is None or len(timeline.times) < 2:
        return (clean_rate(stated[0]) if stated else None), False
    ticks = timeline.times - timeline.times[0]
    constant = _constant_rate(ticks, timeline.time_base, stated)
    if constant is None and timeline.settled > 2:
        constant = _constant_rate(ticks[: timeline.settled], timeline.time_base, stated)
    if constant is not None and timeline.held * timeline.time_base * constant < Fraction(3, 2):
        return clean_rate(constant), False
    seconds = (int(ticks[-1]) + timeline.last_ticks) * timeline.time_base
    return clean_rate(len(ticks) / seconds), True


def _constant_rate(ticks: Times, time_base: Fraction, stated: Sequence[Fraction]) -> Fraction | None:
    """Find a constant rate that fits timestamps from 0 on, stated rates first; None if none does."""
    mean = (len(ticks) - 1) / (int(ticks[-1]) * time_base)
    seconds, numbers = ticks * float(time_base), np.arange(len(ticks))
    # Timestamps are rounded to ticks, and often to milliseconds before; those of cameras jitter.
    rounding = max(time_base, Fraction(1, 1000)) * Fraction(101, 100)
    for tolerance in (rounding, Fraction(1, 4) / mean):
        for rate in (*stated, Fraction(round(mean)), mean):
            if rate and np.ptp(seconds - numbers / float(rate)) <= float(tolerance):
                return rate
    return None


def stated_rate(stream: VideoStream) -> Fraction | None:
    """Read the frame rate in the headers of an elementary stream; None if absent."""
    rate = getattr(stream.codec_context, "framerate", None)
    return clean_rate(Fraction(rate)) if rate and rate <= _MAX_STATED_RATE else None


def clean_rate(rate: Fraction) -> Fraction:
    """Undo the rounding of timestamps: 19001/317 was 60000/1001 in nanoseconds."""
    rate = rate.limit_denominator(1_000_000)
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    return ntsc if ntsc and abs(rate / ntsc - 1) < Fraction(5, 10**7) else rate


def missing_frames(timeline: Timeline, source: InputContainer, stream: VideoStream, fps: Fraction) -> int:
    """Count the frames that the container declares but, being truncated, does not hold."""
    if not timeline.complete:
        return 0
    if source.format.name == "avi":
        return max(0, stream.frames - timeline.frames - timeline.repeats)
    entries = len(stream.index_entries) if "mp4" in source.format.name and hasattr(stream, "index_entries") else 0
    missing = entries - timeline.packets
    seconds = _declared_seconds(source, stream)
    if seconds is not None and timeline.time_base is not None and len(timeline.times):
        late = seconds - (int(timeline.times[-1]) + timeline.last_ticks) * timeline.time_base
        if late * fps > Fraction(3, 2):
            missing = max(missing, round(late * fps))
    return max(0, missing)


def _declared_seconds(source: InputContainer, stream: VideoStream) -> Fraction | None:
    """Read the declared end of a track, where it is not that of the sound, which may be longer."""
    if "matroska" in source.format.name and "DURATION" in stream.metadata:
        try:
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            return (60 * int(hours) + int(minutes)) * 60 + Fraction(seconds)
        except ValueError:
            return None
    alone = len(source.streams) == 1 and ("matroska" in source.format.name or source.format.name == "flv")
    return Fraction(source.duration, av.time_base) if alone and source.duration else None
