"""The codec's view of the entropy coder: frames of the official implementation, and its errors."""

import numpy as np
import pytest

from nvc_jax.entropy.coder import EntropyCoder
from nvc_jax.entropy.tables import CdfArrays
from nvc_jax.errors import BitstreamError, TruncatedError
from nvc_jax.spec import DIALECTS, LOG_SCALE_MIN, LOG_SCALE_STEP_RECIPROCAL, NOT_CODED, SCALE_MAX, SCALE_MIN


@pytest.fixture(scope="module")
def z_tables():
    """Three qps of two channels, each row with its own offset."""
    cdf = np.tile(np.array([0, 10_000, 50_000, 60_000, 65_536], np.int32), (6, 1))
    return CdfArrays(cdf, np.full(6, 5, np.int32), np.arange(-3, 3, dtype=np.int32))


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    z = rng.integers(-3, 3, (2, 3, 4), dtype=np.int8)
    planes = []
    for shape in ((6, 5, 7), (6, 5, 7)):
        indexes = rng.integers(0, 128, shape, dtype=np.uint8)
        indexes[rng.random(shape) < 0.4] = NOT_CODED
        symbols = np.where(indexes == NOT_CODED, 0, rng.integers(-9, 9, shape)).astype(np.int8)
        planes.append((symbols, indexes))
    return z, planes


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_frame_comes_back_in_its_shapes(z_tables, frame, dialect):
    z, planes = frame
    coder = EntropyCoder(z_tables, dialect)
    decoder = coder.decoder(*coder.encode(1, z, planes))
    np.testing.assert_array_equal(decoder.z(1, z.shape), z)
    for symbols, indexes in planes:
        np.testing.assert_array_equal(decoder.plane(indexes), symbols)
    decoder.finish()


def test_z_uses_the_rows_of_its_qp(z_tables, frame):
    z, planes = frame
    coder = EntropyCoder(z_tables, "one_stream")
    payloads = {coder.encode(qp, z, planes)[0] for qp in range(3)}
    assert len(payloads) == 3
    with pytest.raises(IndexError, match="row 7, the table has 6 rows"):
        coder.encode(3, z, planes)


@pytest.mark.parametrize("dialect", ["one_stream", "interleaved"])
def test_bad_payloads_raise_our_errors(z_tables, frame, dialect):
    z, planes = frame
    coder = EntropyCoder(z_tables, dialect)
    payload, _ = coder.encode(0, z, planes)

    def decode(data):
        decoder = coder.decoder(data)
        decoder.z(0, z.shape)
        for _, indexes in planes:
            decoder.plane(indexes)
        decoder.finish()

    # Without its end, the interleaved dialect finds other escape codes, which may be impossible.
    with pytest.raises(BitstreamError if dialect == "interleaved" else TruncatedError):
        decode(payload[: len(payload) // 2])
    with pytest.raises(BitstreamError, match="does not end after its last symbol"):
        decode(payload + b"\0")
    with pytest.raises(BitstreamError, match="impossible"):
        decode(b"\xff" * len(payload))


def table_indexes(scales, threshold):
    """Rows of the Gaussian table for scales as the official encoder computes them."""
    log = np.log(np.clip(scales, np.float32(SCALE_MIN), np.float32(SCALE_MAX)))
    steps = (log - np.float32(LOG_SCALE_MIN)) * np.float32(LOG_SCALE_STEP_RECIPROCAL)
    indexes = steps.astype(np.uint8)
    if threshold is not None:
        indexes[np.maximum(scales, np.float32(SCALE_MIN)) <= np.float32(threshold)] = NOT_CODED
    return indexes


def official_z_tables(golden, model):
    with np.load(golden / "entropy.npz") as arrays:
        parts = (f"z_{model}_cdf", f"z_{model}_cdf_length", f"z_{model}_offset")
        return CdfArrays(*(arrays[part].astype(np.int32) for part in parts))


@pytest.mark.parametrize(("name", "threshold"), [("video_96x64_qp50_thr012", 0.12), ("video_96x64_qp8_none", None)])
def test_payloads_of_official_frames(golden, name, threshold):
    coders = {
        "I": EntropyCoder(official_z_tables(golden, "image"), "one_stream"),
        "P": EntropyCoder(official_z_tables(golden, "video"), "one_stream"),
    }
    with np.load(golden / f"{name}.npz") as arrays:
        for t, kind in enumerate(arrays["type"]):
            coder, qp = coders[str(kind)], int(arrays["qp"][t])
            z = np.clip(np.rint(arrays[f"f{t}/z"][0]), -128, 127).astype(np.int8)
            planes = []
            for step in range(4 if kind == "I" else 2):
                symbols = np.ascontiguousarray(arrays[f"f{t}/y_q_w_{step}"])
                planes.append((symbols, table_indexes(arrays[f"f{t}/s_w_{step}"], threshold)))
            payload, check = coder.encode(qp, z, planes)
            assert payload == arrays[f"f{t}/bit_stream"].tobytes(), t
            decoder = coder.decoder(payload, check)
            np.testing.assert_array_equal(decoder.z(qp, z.shape), z)
            for symbols, indexes in planes:
                got = decoder.plane(indexes)
                np.testing.assert_array_equal(got, np.where(indexes == NOT_CODED, 0, symbols))
            decoder.finish()
