"""Small codecs and clips, of one picture size so that compiled functions are shared."""

import numpy as np
import pytest
import synthetic

import nvc_jax
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import CodecConfig, PairConfig, Stack
from nvc_jax.video import YuvFrame

WIDTH, HEIGHT, LENGTH = 33, 17, 6


@pytest.fixture(scope="session")
def codec():
    return nvc_jax.Codec(synthetic.tiny_model())


@pytest.fixture(scope="session")
def moving():
    """A codec with motion."""
    return nvc_jax.Codec(synthetic.tiny_model(motion=True))


@pytest.fixture(scope="session")
def residual():
    """A codec of differences from the moved picture, with merged vectors."""
    return nvc_jax.Codec(synthetic.tiny_model(residual=True))


@pytest.fixture(scope="session")
def pair():
    """A codec whose packets have two pictures."""
    config = CodecConfig("ui2c", (("pair", PairConfig(**vars(tiny["inter"]), adaptor=Stack(1, 16))),), "pair", "pair")
    return nvc_jax.Codec(synthetic.model_of(config))


@pytest.fixture(scope="session")
def yuv():
    """Planes with T in front."""
    frames: list[YuvFrame] = synthetic.moving_picture(WIDTH, HEIGHT, LENGTH)
    return nvc_jax.Planes(*(np.stack([getattr(frame, name) for frame in frames]) for name in "yuv"))


@pytest.fixture(scope="session")
def rgb(yuv):
    """[T, H, W, 3] uint8."""
    return np.stack([yuv.y, yuv.y[:, ::-1], 255 - yuv.y], axis=-1)


@pytest.fixture(scope="session")
def stream(codec, rgb):
    """Six pictures with an intra frame at 0 and 4."""
    return codec.encode(rgb, 30, intra_period=4)
