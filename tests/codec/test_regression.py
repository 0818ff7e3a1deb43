"""Codecs still write the bytes and give the pictures they used to. No other files are needed.

A failure means that streams made before can no longer be decoded. If that is intended: tools/make_test_data.py.
"""

import hashlib
from fractions import Fraction

import jax
import numpy as np
import pytest
import recording
import regression
import synthetic

from native_coder import float32_functions  # noqa: TID251
from nvc_jax.codec.files import decode_file, encode_file
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.ops.motion import estimate
from nvc_jax.video import Colour, VideoInfo, create_video

# Streams of embedded_v1, then `embedded`, made before networks had names and packets several pictures, and the SHA-256
# of the hashes of their pictures. Two runs, a refresh, motion, skipped blocks, qps with a fraction.
OLD = {
    "int16": "5df7fcdee28a13b62a66995313ac9bd5627eba7dfb0b35950459aa5b49e2750a",
    "float32": "1ddbd67752cdadd5a07387c6b60bdf5f6d775ae3d98d846a9e0b88895130ca56",
}
IN_CPP = pytest.mark.skipif(not float32_functions(), reason="float32 has the same bits only where C++ convolves")


@pytest.mark.parametrize("name", regression.CASES)
def test_streams_stay_what_they_were(tiny_codec, name):
    case = regression.CASES[name]
    with np.load(regression.DATA) as data:
        seed, stream = int(data[f"{name}/seed"]), data[f"{name}/stream"].tobytes()
        pictures = [data[f"{name}/{plane}"] for plane in "yuv"]
    assert regression.encode(tiny_codec, case, seed)[0] == stream
    decoded = regression.decode(tiny_codec, case, stream)
    for planes, y, u, v in zip(decoded, *pictures, strict=True):
        recording.assert_planes(planes, y, (u, v))


@pytest.mark.parametrize("precision", ["int16", pytest.param("float32", marks=IN_CPP)])
def test_streams_of_the_packaged_model(precision, tmp_path, monkeypatch):
    """The model is found by its name and identity; the pictures, and the stream made again, are the old ones."""
    # Since then the encoder has learnt to choose vectors that are cheaper to code, and to look again.
    as_found = jax.jit(lambda pictures, reference, qps: estimate(pictures[:, 0], reference[:, -1], qps[:, 0]))
    monkeypatch.setattr("nvc_jax.models.motion._estimate", as_found)
    stream = regression.DATA.with_name(f"embedded_{precision}.nvc")
    codecs = []

    def choose(header):
        codecs.append(Codec.for_stream(header, None, None))
        return codecs[0]

    report = decode_file(choose, stream, tmp_path / "d.y4m", hashes=True)
    assert report["precision"] == precision
    assert [frame["type"] for frame in report["frames"]] == [*"IPPPIPP"]
    hashes = "".join(frame["sha256"] for frame in report["frames"])
    assert hashlib.sha256(hashes.encode()).hexdigest() == OLD[precision]

    clip = tmp_path / "clip.y4m"
    with create_video(clip, VideoInfo(64, 48, Fraction(25), Colour(1, 1, 1, False), 7)) as writer:
        for frame in synthetic.moving_picture(64, 48, 7, seed=3):
            writer.write(frame)
    encode_file(
        codecs[0], clip, tmp_path / "s.nvc", Schedule(38.5, 44, intra_period=4, reset_interval=3), preset="fast"
    )
    assert (tmp_path / "s.nvc").read_bytes() == stream.read_bytes()
