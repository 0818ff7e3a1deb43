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


def test_sequence(golden_codec, case, note_identical):
    width, height, qp, threshold, data = case
    codec = golden_codec("net")
    source = [YuvFrame(y, *uv) for y, uv in zip(data["y420"], data["uv420"], strict=True)]
    encoder = Encoder(codec, width, height, Schedule(qp, qp, -1, reset_interval=4), threshold)
    file = io.BytesIO()
    writer = DcvcWriter(file)
    with recording.recorded_stages() as calls:
        coded = list(encoder.encode(source))
    frames = recording.frames(calls)
    official = []
    for t, (frame, record) in enumerate(zip(coded, frames, strict=True)):
        writer.write_frame(frame.header, frame.plan.kind, frame.plan.qp, frame.payload)
        assert (frame.plan.kind, frame.plan.qp) == (data["type"][t], data["qp"][t])
        assert frame.plan.refresh == frame.header.use_adaptor_i == data["use_ada_i"][t]
        same_indexes = recording.assert_latents(record, of_frame(data, t), threshold)
        official.append(frame.payload == data[f"f{t}/bit_stream"].tobytes())
        assert official[-1] == same_indexes, f"frame {t}"
    note_identical(official)
    assert sum(official) >= len(official) - 1
    assert (file.getvalue() == data["container"].tobytes()) == all(official)

    # The stream is the official one, but for a frame with a scale on the edge between two table indexes.
    with recording.recorded_stages() as calls:
        decoded = list(Decoder(codec, threshold).decode(DcvcReader(io.BytesIO(file.getvalue()))))
    pictures = recording.pictures(calls)
    for t, (record, picture, frame) in enumerate(zip(recording.frames(calls), pictures, decoded, strict=True)):
        expected = of_frame(data, t)
        recording.assert_latents(record, expected, threshold)
        if "x_hat" in expected:
            np.testing.assert_allclose(picture, expected["x_hat"], rtol=0, atol=2e-5)
        recording.assert_planes(frame.planes, data["dec_y"][t], data["dec_uv"][t])
    assert len(decoded) == len(data["qp"])
