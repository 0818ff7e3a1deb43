"""Conventional encoders: real streams, one intra frame, and which bytes are pictures."""

import contextlib
import os

import av
import numpy as np
import pytest

from nvc_jax.errors import EvaluationError
from nvc_jax.evaluation import baselines
from nvc_jax.evaluation.baselines import BASELINES
from nvc_jax.evaluation.sequences import from_files
from nvc_jax.video import open_video, write_png


@pytest.fixture(params=BASELINES.values(), ids=BASELINES)
def baseline(request):
    if request.param.encoder not in av.codecs_available:
        pytest.skip(f"the FFmpeg of PyAV has no {request.param.encoder}")
    return request.param


def test_streams_and_their_measures(baseline, make_clip, tmp_path):
    (sequence,) = from_files([str(make_clip(128, 96, 6, "baseline.y4m"))])
    results = {}
    for qp in (baseline.qps[0], baseline.qps[-1]):
        stream = tmp_path / f"stream{baseline.suffix}"
        measured = results[qp] = baseline.measure(sequence, qp, stream)
        assert [frame.type for frame in measured.frames] == ["I"] + ["P"] * 5
        container = 32 + 12 * 6 if baseline.format == "ivf" else 0
        assert stream.stat().st_size == container + sum(frame.bits for frame in measured.frames) // 8
        assert all(0 < frame.payload_bits <= frame.bits for frame in measured.frames)
        assert measured.encode_s > 0
        assert measured.decode_s > 0
        with open_video(stream) as reader:
            assert len(list(reader)) == 6
    low, high = results.values()
    assert sum(f.bits for f in low.frames) < sum(f.bits for f in high.frames)
    assert all(a.quality.psnr[0] + 3 < b.quality.psnr[0] for a, b in zip(low.frames, high.frames, strict=True))


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no scheduling policies")
def test_the_scheduling_of_the_process_stays(baseline, make_clip, tmp_path):
    """SVT-AV1 makes its caller a real-time thread as root; workers and children started later would starve the rest."""
    (sequence,) = from_files([str(make_clip(128, 96, 2, "baseline.y4m"))])
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    baseline.measure(sequence, baseline.qps[0], tmp_path / f"stream{baseline.suffix}")
    assert (os.sched_getscheduler(0), os.sched_getparam(0)) == before


def test_headers_are_told_from_pictures(make_clip, tmp_path):
    (sequence,) = from_files([str(make_clip(128, 96, 3, "headers.y4m"))])
    for name, most in (("x264", 800), ("x265", 200), ("svt-av1", 30)):
        frames = BASELINES[name].measure(sequence, 40, tmp_path / name).frames
        headers = [(frame.bits - frame.payload_bits) // 8 for frame in frames]
        assert 10 < headers[0] < most  # parameter sets, and with x264 a text
        assert max(headers[1:]) <= 2  # AV1 has a delimiter of two bytes before every frame


def test_odd_sizes_are_refused(make_clip, tmp_path):
    (odd,) = from_files([str(make_clip(33, 32, 2, "odd.y4m"))])
    with pytest.raises(EvaluationError, match=r"clips/odd.y4m: is 33x32; x264 codes even sides only\.$"):
        BASELINES["x264"].measure(odd, 30, tmp_path / "stream")
    assert not (tmp_path / "stream").exists()


def test_rgb_is_refused_for_what_it_is(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((32, 32, 3), np.uint8))
    (picture,) = from_files([str(tmp_path / "a.png")])
    with pytest.raises(EvaluationError, match=r"x264 codes 4:2:0 here, and this video is RGB; convert it first\.$"):
        BASELINES["x264"].measure(picture, 30, tmp_path / "stream")


def test_streams_that_lose_frames(make_clip, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def without_the_last(path):
        with open_video(path) as reader:
            yield list(reader)[:-1]

    monkeypatch.setattr(baselines, "open_video", without_the_last)
    (sequence,) = from_files([str(make_clip(32, 32, 3, "lost.y4m"))])
    with pytest.raises(EvaluationError, match=r"the stream of libx264 decodes to 2 of 3 frames\."):
        BASELINES["x264"].measure(sequence, 30, tmp_path / "stream")


def test_missing_encoder(make_clip, tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", set())
    (sequence,) = from_files([str(make_clip(32, 32, 2, "none.y4m"))])
    with pytest.raises(EvaluationError, match="the FFmpeg of this PyAV has no libx264"):
        BASELINES["x264"].measure(sequence, 30, tmp_path / "stream")
