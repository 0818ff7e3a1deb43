"""Frame count, timestamps and seek points of a track, from its packets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
_REORDER = 64  # packets scanned beyond the last wanted frame, as they may be shown before it


def _no_times() -> Times:
    return np.zeros(0, np.int64)


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    duration: int
    empty: bool
    key: bool
    hidden: bool
    damaged: bool


@dataclass(frozen=True)
class Timeline:
    """Timestamps of a video track.

    Attributes:
        frames: number of frames shown.
        packets: number of packets, empty and hidden ones included.
        repeats: number of packets without data, which repeat a frame.
        complete: the track was scanned to its end.
        exact: `times` has the decoder's timestamp of every frame.
        time_base: seconds per tick; None without timestamps.
        times: presentation timestamps in ticks, rising.
        clock: the times at which frames are shown, for their rate: `times`, but in AVI its slots, and in elementary
            streams sums of durations.
        settled: number of leading timestamps that no reordered frame lost by truncation can lie between.
        reordered: number of frames that are shown before a frame but coded after it, at most.
        keys: timestamps of key packets, rising.
        damaged: timestamps of packets that the container knows to be damaged.
        held: duration of the last frame in ticks; 0 if unknown.
        lost: number of frames at the beginning that do not decode, not in the above.
    """

    frames: int
    packets: int
    repeats: int
    complete: bool
    exact: bool = False
    time_base: Fraction | None = None
    times: Times = field(default_factory=_no_times)
    clock: Times = field(default_factory=_no_times)
    settled: int = 0
    reordered: int = 0
    keys: Times = field(default_factory=_no_times)
    damaged: Times = field(default_factory=_no_times)
    held: int = 0
    lost: int = 0

    @property
    def last_ticks(self) -> int:
        """Duration of the last frame in ticks: stated, or the median."""
        return self.held or (int(np.median(np.diff(self.clock))) if len(self.clock) > 1 else 0)

    def from_first(self, time: int | None) -> Timeline:
        """Leave out the frames before the first that decodes: they refer to others before the beginning of the file."""
        lost = 0 if time is None else int(np.searchsorted(self.times, time))
        if not lost or lost == len(self.times) or self.times[lost] != time:
            return self
        return replace(
            self,
            times=self.times[lost:],
            clock=self.clock[lost:],
            settled=max(0, self.settled - lost),
            frames=self.frames - lost,
            lost=self.lost + lost,
        )


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
    except (av.FFmpegError, IndexError):  # IndexError: PyAV does not know streams that appear on the way
        pass  # decoding will report errors
    flags = int(source.format.flags)
    avi = source.format.name == "avi"
    return {stream.index: _timeline(stream, packets[stream.index], flags, avi, complete) for stream in streams}


def _summary(packet: Packet[Stream]) -> _Packet:
    hidden = packet.is_discard
    if packet.size and packet.stream.codec_context.name in ("vp8", "libvpx"):
        hidden = hidden or not memoryview(packet)[0] & 16  # show_frame, RFC 6386, 9.1
    duration, empty = packet.duration or 0, not packet.size
    return _Packet(packet.pts, packet.dts, duration, empty, packet.is_keyframe, hidden, packet.is_corrupt)


def _timeline(stream: VideoStream, packets: list[_Packet], flags: int, avi: bool, complete: bool) -> Timeline:
    shown = [p for p in packets if not p.empty and not p.hidden]
    empty = sum(p.empty and not p.hidden for p in packets)
    time_base = stream.time_base
    lost = 0
    if flags & (GENERATED_TIMES | _JUMPING_TIMES):  # a stream that may begin anywhere decodes from a key frame on
        lost = next((number for number, p in enumerate(shown) if p.key), 0)
        shown = shown[lost:]
    if flags & GENERATED_TIMES or not time_base:
        return Timeline(
            frames=len(shown),
            packets=len(packets),
            repeats=empty,
            complete=complete,
            time_base=time_base,
            clock=np.cumsum([0, *(p.duration for p in shown[:-1])], dtype=np.int64),
            held=shown[-1].duration if shown else 0,
            lost=lost,
        )
    offsets, jumps = _offsets(shown, time_base) if flags & _JUMPING_TIMES else ([0] * len(shown), False)
    in_order = [p.pts + offset for p, offset in zip(shown, offsets, strict=True) if p.pts is not None]
    decoded = [p.dts + offset for p, offset in zip(shown, offsets, strict=True) if p.dts is not None]
    times = np.sort(np.array(in_order, np.int64))
    exact = len(times) == len(shown) and not jumps and bool((np.diff(times) > 0).all())
    clock = times
    if avi and len(decoded) == len(shown) > 1:  # no timestamps: a tick per frame, and those without data are left out
        clock = np.sort(np.array(decoded, np.int64))
        empty = int(clock[-1]) - (stream.start_time or 0) + 1 - len(clock)
        order = np.diff([p.pts or 0 for p in shown])
        exact = exact and not (stream.codec_context.has_b_frames and bool((order > 0).all()))  # guessed by FFmpeg
    held = max(((p.pts, p.duration) for p in shown if p.pts is not None), default=(0, 0))[1]
    return Timeline(
        time_base=time_base,
        times=times,
        clock=clock,
        settled=int((times <= max(decoded)).sum()) if decoded else len(times),
        reordered=int((np.argsort(np.argsort(in_order)) - np.arange(len(in_order))).max(initial=0)),
        keys=np.array(sorted(p.pts for p in packets if p.key and p.pts is not None), np.int64),
        # Where streams were joined, the counters of packets jump too.
        damaged=np.array([p.pts for p in packets if p.damaged and p.pts is not None and not jumps], np.int64),
        held=held if complete else 0,
        frames=len(shown),
        packets=len(packets),
        repeats=max(0, empty),
        complete=complete,
        exact=exact,
        lost=lost,
    )


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


def missing_frames(timeline: Timeline, source: InputContainer, stream: VideoStream, fps: Fraction) -> int:
    """Count the frames that the container declares but, being truncated, does not hold."""
    if not timeline.complete:
        return 0
    if source.format.name == "avi":
        return max(0, stream.frames - timeline.lost - timeline.frames - timeline.repeats)
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
