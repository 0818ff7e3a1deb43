"""Streams that are cut, flipped, forged or something else: an error or a picture, soon, in little memory."""

import resource
import time

import numpy as np
import pytest
import synthetic
from command_line import FRAMES, HEIGHT, WIDTH, hashes, unchanged

from nvc_jax.bitstream import open_reader
from nvc_jax.codec import memory
from nvc_jax.codec.files import decode_file
from nvc_jax.codec.model import Codec
from nvc_jax.codec.store import load_model
from nvc_jax.errors import BitstreamError, ConfigError, NvcError, TruncatedError

FLAGS = 7  # of the sequence header of the clip: kind, height (1 byte), width (1), flags


@pytest.fixture(scope="module")
def codec(model):
    """The model, loaded once for hundreds of streams."""
    return Codec(load_model(model))


@pytest.fixture
def frugal():
    """Fails when the test takes gigabytes (compiled programs take some memory) or minutes of computing."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB
    assert time.process_time() - start < 60  # of this process: other programs may run


def decode(codec, data, work):
    """Decode bytes; an error leaves nothing behind."""
    path = work / "damaged.bin"
    path.write_bytes(data)
    try:
        return decode_file(codec, path, work / "d.y4m", hashes=True)
    except NvcError:
        assert {found.name for found in work.iterdir()} == {path.name}
        raise
    finally:
        (work / "d.y4m").unlink(missing_ok=True)


def test_cut(codec, stream, work, frugal):
    data = stream.read_bytes()
    ends = frame_ends(stream)
    for end in np.random.default_rng(1).choice(len(data), 100, replace=False):
        if end in ends:  # a shorter stream, and a good one
            assert decode(codec, data[:end], work)["frame_count"] == ends.index(end) + 1
            continue
        with pytest.raises(BitstreamError if end == 0 else TruncatedError, match=r"damaged\.bin: "):
            decode(codec, data[:end], work)


def frame_ends(stream):
    with open_reader(stream) as reader:
        return [unit.offset + unit.size_bytes for unit in reader]


def test_flipped(codec, coded, work, frugal):
    """The container has no checksum: what still fits the entropy coder is a picture, but seldom."""
    stream, report = coded
    data = stream.read_bytes()
    rng = np.random.default_rng(2)
    decoded = 0
    for _ in range(200):
        damaged = bytearray(data)
        for place in rng.choice(np.arange(FLAGS, len(data)), rng.integers(1, 4), replace=False):
            damaged[place] ^= 1 << rng.integers(8)
        try:
            found = decode(codec, damaged, work)
        except BitstreamError:
            continue
        decoded += 1
        assert hashes(found) != hashes(report)
    assert decoded <= 20


def test_foreign(nvc, stream, clip, work):
    (work / "text").write_text("This is not a stream.\n" * 100)
    (work / "empty").touch()
    (work / "folder").mkdir()
    for name, words in {
        "text": "text: not an nvc or dcvc stream (unknown unit type 5, byte 0)",
        "empty": "empty: the file is empty",
        "folder": "folder: cannot read (Is a directory)",
        "missing": "missing: no such file",
        clip: "not an nvc or dcvc stream but y4m (nvc-jax encode takes it)",
    }.items():
        with unchanged(work):
            assert words in nvc("decode", name, "d.y4m").refusal()
            assert words in nvc("info", name).refusal()
    (work / "cut").write_bytes(stream.read_bytes()[:-1])
    with unchanged(work):
        assert f"cut: frame {FRAMES - 1}: payload needs" in nvc("decode", "cut", "d.y4m").refusal()
        told = nvc("info", "cut")
    assert told.code == 1
    assert told.err.startswith(f"nvc-jax: cut: frame {FRAMES - 1}: payload needs")
    assert f"frames  {FRAMES - 1}\n" in told.out


def test_other_skip_threshold(nvc, stream, work):
    with unchanged(work):
        sentence = nvc("decode", stream, "d.y4m", "--skip-threshold", "none").refusal()
    assert "frame 0: the payload" in sentence
    assert "or coded with another model, precision or skip threshold?" in sentence


def test_size_changes(codec, stream, make_clip, nvc, work):
    clip = make_clip("small.y4m", synthetic.moving_picture(16, 16, 1))
    assert nvc("encode", clip, "small.bin").code == 0
    small = (work / "small.bin").read_bytes()
    (work / "small.bin").unlink()
    with pytest.raises(BitstreamError, match=rf"frame {FRAMES}: the picture size changes from 32x48 to 16x16"):
        decode(codec, stream.read_bytes() + small, work)


def forged(stream, height, width):
    """The clip's stream with another size."""
    data = stream.read_bytes()
    assert data[1:3] == bytes([HEIGHT, WIDTH])
    return data[:1] + b"".join((0b11 << 30 | n).to_bytes(4, "big") for n in (height, width)) + data[3:]


@pytest.mark.parametrize("size", [(16383, 4096), (4096, 16383), (16384, 16), (8192, 8192)], ids="{0[0]}x{0[1]}".format)
def test_forged_size(codec, stream, work, frugal, size):
    """z is read first, and a payload too short for it is refused before the device allocates anything."""
    with pytest.raises(NvcError, match=r"frame 0: the payload (ends before|holds an impossible)|need more than"):
        decode(codec, forged(stream, *size), work)


def test_size_out_of_range(codec, stream, work):
    for size in ((16385, 16), (0, 16), (16384, 16384), (1 << 29, 1 << 29)):
        with pytest.raises(BitstreamError, match=r"not an nvc or dcvc stream \(picture size .* is out of range"):
            decode(codec, forged(stream, *size), work)


def test_size_beyond_the_memory(codec, stream, work, monkeypatch):
    monkeypatch.setattr(memory, "_memory", lambda: 1 << 30)
    with pytest.raises(ConfigError, match="pictures of 4096x16383 need more than 4 GiB of memory with the model tiny"):
        decode(codec, forged(stream, 16383, 4096), work)
