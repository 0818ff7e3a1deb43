"""Intra frames against the official implementation (golden image.npz, synthetic weights)."""

import functools

import numpy as np
import pytest
import recording

from nvc_jax.codec.loop import batched, encode
from nvc_jax.codec.pictures import upload
from nvc_jax.codec.reading import decode
from nvc_jax.video import YuvFrame

THRESHOLDS = {"none": None, "thr012": 0.12}
CASES = [  # one size with whole blocks has all of them, one with padding two
    pytest.param(s, qp, t, marks=() if s == "64x64" or (s, qp) == ("130x98", 63) else pytest.mark.slow)
    for s in ("64x64", "176x144", "130x98")
    for qp in (0, 32, 63)
    for t in THRESHOLDS
]


@pytest.mark.parametrize(("size", "qp", "threshold"), CASES)
def test_intra_frame(golden, golden_codec, size, qp, threshold):
    with np.load(golden / "image.npz") as data:
        prefix, shared = f"{size}/qp{qp}/{threshold}/", f"{size}/qp{qp}/none/"
        expected = {k.removeprefix(prefix): data[k] for k in data.files if k.startswith(prefix)}
        expected |= {k: data[shared + k] for k in ("y", "z", "z_hat")}
        source, planes = data[f"{size}/x"], YuvFrame(data[f"{size}/y420"], *data[f"{size}/uv420"])
    width, height = map(int, size.split("x"))
    codec = golden_codec("net")
    loaded, qps = codec.networks(THRESHOLDS[threshold])["intra"], batched((qp,))
    pictures = upload([planes])
    np.testing.assert_allclose(recording.nchw(pictures[:, 0])[:, :, :height, :width], source, rtol=0, atol=1e-7)

    with recording.recorded_stages() as calls:
        symbols, _ = encode(loaded, pictures, None, qps)
    (encoded,) = recording.frames(calls)
    recording.assert_latents(encoded, expected, THRESHOLDS[threshold])
    if "params" in expected:  # output of prior fusion: two gains (before their sigmoid), scales, means
        ((prior, _),) = (call.output for call in encoded.of("prior"))
        gains = 0.5 + 1.5 / (1.0 + np.exp(-expected["params"][:, :2]))
        wanted = np.concatenate([gains, expected["params"][:, 2:]], axis=1)
        ours = np.concatenate([prior.gain_in, prior.gain_out, prior.scale, prior.mean], axis=-1)
        np.testing.assert_allclose(recording.nchw(ours), wanted, rtol=0, atol=1e-4)
    _, z, y = symbols.pack().to_host()
    for dialect, name in (("one_stream", "bit_stream"), ("two_streams", "bit_stream_two")):
        coder = codec.entropy_coders(dialect)["intra"]
        assert coder.encode(qp, z, y)[0] == expected[name].tobytes()
        open_payload = functools.partial(coder.decoder, expected[name].tobytes())
        synthesis, _ = decode(loaded, open_payload, None, (qp,), (width, height))
        x_hat = recording.nchw(loaded.reconstruct(synthesis, qps)[:, 0])
        np.testing.assert_allclose(x_hat, expected["x_hat"], rtol=0, atol=2e-5)
