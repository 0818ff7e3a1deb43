"""A distilled student is a codec like any other: its streams are its own, in float32 and int16."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import synthetic

from nvc_jax.bitstream import open_reader
from nvc_jax.codec.files import decode_file, encode_file
from nvc_jax.codec.integers import integerise
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.codec.store import load_model, make_model, save_model
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import Stack
from nvc_jax.models.params import flatten
from nvc_jax.training.adoption import adopt
from nvc_jax.video import Colour, VideoInfo, create_video

SIZE = 17, 33
SMALL = dataclasses.replace(
    tiny["inter"], extractor_context=Stack(1, 16, middle=2), decoder=Stack(1, 16, middle=2), recon=Stack(1, 8)
)


@pytest.fixture(scope="module")
def student():
    """The teacher `tiny` with half the FFN in extractor and decoder, and half the channels in reconstruction."""
    config = dataclasses.replace(tiny.replace("inter", SMALL), name="student")
    adopted = adopt(synthetic.model_of(config).params, synthetic.tiny_model().params)
    assert not [name for name in adopted.fresh if "extractor_context" not in name and "decoder" not in name
                and "recon" not in name]  # fmt: skip
    return make_model(config, adopted.params, "distilled")


@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.slow), "int16"])
def test_files_of_a_student(student, tmp_path, precision):
    save_model(tmp_path / "student", student)
    codec = Codec(load_model(tmp_path / "student"), precision)
    frames = synthetic.moving_picture(*SIZE, 4)
    with create_video(tmp_path / "in.y4m", VideoInfo(*SIZE, Fraction(25), Colour(1, 1, 1, False), 4)) as writer:
        for frame in frames:
            writer.write(frame)
    stream = tmp_path / "s.nvc"
    sent = encode_file(codec, tmp_path / "in.y4m", stream, Schedule(30, 36, reset_interval=2), reconstruct=True)
    got = decode_file(codec, stream, tmp_path / "out.y4m", hashes=True)
    assert [frame["sha256"] for frame in got["frames"]] == [frame["sha256"] for frame in sent["frames"]]
    assert [frame["type"] for frame in got["frames"]] == list("IPPP")
    teacher = synthetic.tiny_model()
    with open_reader(stream) as reader:
        assert codec.stored.made(reader.header.identity)
        assert not teacher.made(reader.header.identity)


def test_integers_of_what_was_taken_are_those_of_the_teacher(student):
    """The intra network and the entropy model of a frozen encoder side."""
    mine, theirs = (flatten(integerise(model).params) for model in (student, synthetic.tiny_model()))
    same = [name for name in mine if name.startswith(("intra/", "inter/hyper_", "inter/fusion", "inter/spatial"))]
    assert len(same) > 100
    for name in same:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
