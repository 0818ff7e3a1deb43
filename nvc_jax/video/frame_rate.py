"""Frame rate of a track, judged by its timestamps with the headers' rates as candidates."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from nvc_jax.video.frame import DEFAULT_FPS
from nvc_jax.video.timeline import GENERATED_TIMES, Timeline, Times

_MIN_STATED_RATE, _MAX_STATED_RATE = Fraction(1, 100), 500  # of headers; more is the clock of a variable frame rate
_MILLISECOND = Fraction(1, 1000)
_JITTER = Fraction(1, 4)  # of a frame: cameras, and films that repeat fields


def judge_rate(
    source: InputContainer, stream: VideoStream, timeline: Timeline, wanted: Fraction | None
) -> tuple[Fraction, list[str]]:
    """Determine the frame rate, with notes for the user; `wanted` overrides it."""
    kind = source.format.name
    if int(source.format.flags) & GENERATED_TIMES or kind.endswith("_pipe") or kind == "image2":
        rate, varies = _rate_of_elementary_stream(stream, timeline)
    elif timeline.time_base is None or len(timeline.clock) < 2 or timeline.clock[0] == timeline.clock[-1]:
        rate, varies = _rate_of_one_frame(stream, timeline), False
    else:
        rate, varies = _rate_of_timestamps(stream, timeline, timeline.time_base)
    found = wanted or rate
    if found is None:
        return DEFAULT_FPS, [f"no frame rate in the source: {DEFAULT_FPS} assumed"]
    return found, [f"variable frame rate: every frame is kept, at {float(found):.5g} per second"] if varies else []


def _header_rate(stream: VideoStream) -> Fraction | None:
    """Read the frame rate in the headers of the coded video; None if absent."""
    rate = getattr(stream.codec_context, "framerate", None)
    return _clean(Fraction(rate)) if rate and _MIN_STATED_RATE <= rate <= _MAX_STATED_RATE else None


def _rate_of_elementary_stream(stream: VideoStream, timeline: Timeline) -> tuple[Fraction | None, bool]:
    """Take the rate of the headers, and that of the film where MPEG-2 repeats fields of it."""
    rate, steps = _header_rate(stream), np.diff(timeline.clock)
    if rate is None or timeline.time_base is None or not len(steps) or steps.min() == steps.max():
        return rate, False
    if steps.min() != round(1 / (rate * timeline.time_base)):  # FFmpeg assumes a rate of its own
        return rate, False
    return _rate_of_timestamps(stream, timeline, timeline.time_base)


def _rate_of_one_frame(stream: VideoStream, timeline: Timeline) -> Fraction | None:
    rate = _header_rate(stream)
    if rate is None and timeline.time_base is not None and timeline.held:
        rate = 1 / (timeline.held * timeline.time_base)
    rate = rate or stream.average_rate or stream.guessed_rate
    return _clean(Fraction(rate)) if rate and 1 < rate <= _MAX_STATED_RATE else None  # 1 is the clock of pictures


def _rate_of_timestamps(stream: VideoStream, timeline: Timeline, time_base: Fraction) -> tuple[Fraction, bool]:
    """Determine the frame rate, and whether it is the mean of a variable one."""
    ticks = timeline.clock - timeline.clock[0]
    constant = _constant_rate(ticks, time_base, stream)
    if constant is None and 2 < timeline.settled < len(ticks):
        constant = _constant_rate(ticks[: timeline.settled], time_base, stream)
        if constant is not None and ticks[-1] * time_base * constant - (len(ticks) - 1) > timeline.reordered + _JITTER:
            constant = None  # more is missing than the reordered frames that a cut loses
    if constant is not None and timeline.held * time_base * constant < Fraction(3, 2):
        return _clean(constant), False
    seconds = (int(ticks[-1]) + timeline.last_ticks) * time_base
    return _clean(len(ticks) / seconds), True


def _constant_rate(ticks: Times, time_base: Fraction, stream: VideoStream) -> Fraction | None:
    """Find a constant rate that fits timestamps from 0 on; None if none does."""
    if not ticks[-1]:
        return None
    mean = (len(ticks) - 1) / (int(ticks[-1]) * time_base)
    header, steps = _header_rate(stream), np.diff(ticks)
    made_for_rate = bool(_MILLISECOND % time_base)  # not the clock of a format
    if (made_for_rate or (header is None and len(steps) > 2)) and (steps == steps[0]).all():
        return mean
    seconds, numbers = ticks * float(time_base), np.arange(len(ticks))

    def fitting(rates: Sequence[Fraction], tolerance: Fraction) -> Fraction | None:
        return next((r for r in rates if r and np.ptp(seconds - numbers / float(r)) <= float(tolerance)), None)

    stated = [Fraction(rate) for rate in (header, stream.average_rate, stream.guessed_rate) if rate]
    near = [Fraction(round(mean)), _ntsc(mean)]
    near.sort(key=lambda rate: (header is not None and rate.denominator != header.denominator, abs(rate - mean)))
    candidates = [*sorted(stated, key=lambda rate: not _is_usual(rate)), *near]
    # Timestamps are rounded to ticks and often to milliseconds before, twice where they are sums.
    rounding, jitter = max(time_base, _MILLISECOND) * Fraction(101, 100), _JITTER / mean
    return (
        fitting(candidates, min(rounding, 3 * jitter))
        or fitting(candidates, min(2 * rounding, jitter))
        or fitting([mean], min(rounding, jitter))
        or fitting([*candidates, mean], jitter)
    )


def _is_usual(rate: Fraction) -> bool:
    """Tell a rate that people choose from one that is a quotient of timestamps."""
    return (1000 * rate).denominator == 1 or rate == _ntsc(rate)


def _ntsc(rate: Fraction) -> Fraction:
    """Compute the nearest rate of the form N * 1000 / 1001."""
    return Fraction(round(rate * 1001 / 1000) * 1000, 1001)


def _clean(rate: Fraction) -> Fraction:
    """Undo the rounding of timestamps: 19001/317 was 60000/1001 in nanoseconds."""
    rate = max(rate.limit_denominator(1_000_000), Fraction(1, 1_000_000))
    ntsc = _ntsc(rate)
    return ntsc if ntsc and abs(rate / ntsc - 1) < Fraction(5, 10**7) else rate
