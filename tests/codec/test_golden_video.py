"""Sequences against the official implementation (golden video_*.npz): one intra and nine inter frames."""

import io

import numpy as np
import pytest
import recording

from nvc_jax.bitstream.dcvc import DcvcReader, DcvcWriter
from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.schedule import Schedule
from nvc_jax.video import YuvFrame

CASES = [
    ("96x64", 8, None),
    ("96x64", 32, 0.12),
    ("96x64", 50, 0.12),
    ("96x64", 63, None),
    ("176x144", 24, None),
    ("176x144", 40, 0.12),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-qp{case[1]}")
def case(request, golden):
    """Size, qp, threshold and arrays of a golden file."""
    size, qp, threshold = request.param
    name = f"video_{size}_qp{qp}_{'none' if threshold is None else 'thr012'}.npz"
    with np.load(golden / name) as data:
        return *map(int, size.split("x")), qp, threshold, dict(data)


def of_frame(data, t):
    return {k.removeprefix(f"f{t}/"): v for k, v in data.items() if k.startswith(f"f{t}/")}


def test_encoder(golden_codec, case):
    width, height, qp, threshold, data = case
    source = [YuvFrame(y, *uv) for y, uv in zip(data["y420"], data["uv420"], strict=True)]
    encoder = Encoder(golden_codec("net"), width, height, Schedule(qp, qp, -1, reset_interval=4), threshold)
    file = io.BytesIO()
    writer = DcvcWriter(file)
    with recording.recorded_stages() as calls:
        for t, frame in enumerate(encoder.encode(source)):
            writer.write_frame(frame.header, frame.plan.kind, frame.plan.qp, frame.payload)
            assert (frame.plan.kind, frame.plan.qp) == (data["type"][t], data["qp"][t])
            assert frame.plan.refresh == frame.header.use_adaptor_i == data["use_ada_i"][t]
            assert frame.payload == data[f"f{t}/bit_stream"].tobytes(), f"frame {t}"
    assert file.getvalue() == data["container"].tobytes()
    for t, frame in enumerate(recording.frames(calls)):
        expected = of_frame(data, t)
        recording.assert_latents(frame, expected, threshold)
        if "feature" in expected:
            np.testing.assert_allclose(frame.feature(), expected["feature"], rtol=0, atol=1e-4)


def test_decoder(golden_codec, case):
    _, _, _, threshold, data = case
    reader = DcvcReader(io.BytesIO(data["container"].tobytes()))
    with recording.recorded_stages() as calls:
        decoded = list(Decoder(golden_codec("net"), threshold).decode(reader))
    frames, pictures = recording.frames(calls), recording.pictures(calls)
    for t, (frame, picture, output) in enumerate(zip(frames, pictures, decoded, strict=True)):
        expected = of_frame(data, t)
        recording.assert_latents(frame, expected, threshold)
        if "feature" in expected:
            np.testing.assert_allclose(frame.feature(), expected["feature"], rtol=0, atol=1e-4)
        if "x_hat" in expected:
            np.testing.assert_allclose(picture, expected["x_hat"], rtol=0, atol=2e-5)
        recording.assert_planes(output.planes, data["dec_y"][t], data["dec_uv"][t])
    assert len(decoded) == len(data["qp"])
