"""Sequences against the official implementation (golden video_*.npz): one intra and nine inter frames."""

import numpy as np
import pytest
import recording
import streams

from nvc_jax.codec.schedule import Schedule
from nvc_jax.video import YuvFrame

CASES = [
    ("96x64", 8, None),
    ("96x64", 32, 0.12),
    pytest.param(("96x64", 50, 0.12), marks=pytest.mark.slow, id="96x64-qp50"),
    pytest.param(("96x64", 63, None), marks=pytest.mark.slow, id="96x64-qp63"),
    pytest.param(("176x144", 24, None), marks=pytest.mark.slow, id="176x144-qp24"),
    ("176x144", 40, 0.12),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-qp{case[1]}")
def case(request, golden):
    """Size, qp, threshold and arrays of a golden file."""
    size, qp, threshold = request.param
    name = f"video_{size}_qp{qp}_{'none' if threshold is None else 'thr012'}.npz"
    with np.load(golden / name) as data:
        return qp, threshold, dict(data)


def of_frame(data, t):
    return {k.removeprefix(f"f{t}/"): v for k, v in data.items() if k.startswith(f"f{t}/")}


def test_official_sequence(golden_codec, case):
    """One frame of one case has a scale on the edge between two table indexes."""
    qp, threshold, data = case
    decoded = streams.decode(golden_codec("net"), data["container"].tobytes(), threshold)
    for t, frame in enumerate(decoded):
        if f"f{t}/x_hat" in data:
            np.testing.assert_allclose(recording.nchw(frame.picture), data[f"f{t}/x_hat"], rtol=0, atol=2e-5)
        recording.assert_planes(frame.planes, data["dec_y"][t], data["dec_uv"][t])
    assert len(decoded) == len(data["qp"])
    resynced = [t for t, frame in enumerate(decoded) if frame.resynced]
    assert resynced == [] or (qp, resynced) == (40, [7])


def test_sequence(golden_codec, case, note_identical):
    qp, threshold, data = case
    codec = golden_codec("net")
    source = [YuvFrame(y, *uv) for y, uv in zip(data["y420"], data["uv420"], strict=True)]
    with recording.recorded_stages() as calls:
        stream, coded = streams.encode(codec, source, Schedule(qp, qp, -1, reset_interval=4), threshold, False)
    frames = recording.frames(calls)
    official = []
    for t, (frame, record) in enumerate(zip(coded, frames, strict=True)):
        assert (frame.coded.types, *frame.coded.qps) == (data["type"][t], data["qp"][t])
        assert frame.coded.refresh == data["use_ada_i"][t]
        same_indexes = recording.assert_latents(record, of_frame(data, t), threshold)
        official.append(frame.coded.payload == data[f"f{t}/bit_stream"].tobytes())
        assert official[-1] == same_indexes, f"frame {t}"
    note_identical(official)
    assert sum(official) >= len(official) - 1
    assert (stream == data["container"].tobytes()) == all(official)

    # The stream is the official one, but for a frame with a scale on the edge between two table indexes.
    with recording.recorded_stages() as calls:
        decoded = streams.decode(codec, stream, threshold)
    pictures = recording.pictures(calls)
    for t, (record, picture, frame) in enumerate(zip(recording.frames(calls), pictures, decoded, strict=True)):
        expected = of_frame(data, t)
        recording.assert_latents(record, expected, threshold)
        if "x_hat" in expected:
            np.testing.assert_allclose(picture, expected["x_hat"], rtol=0, atol=2e-5)
        recording.assert_planes(frame.planes, data["dec_y"][t], data["dec_uv"][t])
    assert len(decoded) == len(data["qp"])
