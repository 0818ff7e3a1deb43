"""Initialisation and export of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.demo.sequence import demo_sequence
from nvc_jax.errors import ConfigError
from nvc_jax.models.config import embedded, embedded_v2, tiny, ui2c
from nvc_jax.models.networks import networks
from nvc_jax.ops.colour import planes_to_picture
from nvc_jax.training.rounding import rounded, straight_through
from nvc_jax.training.transform_init import patch_statistics, patch_transform, transform_codec


def test_rounding_keeps_significant_bits():
    x = np.float32([1 + 2**-10, 1 + 2**-12, 3e-7, -3e-20, 0.0])
    np.testing.assert_array_equal(rounded({"x": x}, 11)["x"], np.float32([1 + 2**-10, 1.0, 5 * 2**-24, 0.0, 0.0]))
    found = np.asarray(rounded({"x": x}, 12)["x"])
    np.testing.assert_array_equal(found[[0, 1, 4]], np.float32([1 + 2**-10, 1.0, 0.0]))
    np.testing.assert_allclose(found[2:4], x[2:4], rtol=2**-12)


def test_gradients_pass_straight_through_rounding():
    x = jnp.array([1.3, -0.7, 0.011])

    def loss(x):
        return (jnp.square(straight_through({"x": x}, 4)["x"])).sum()

    np.testing.assert_array_equal(jax.grad(loss)(x), 2 * rounded({"x": x}, 4)["x"])


def test_patch_transform_inverts_on_subsampled_chroma():
    analysis, synthesis = patch_transform()
    rng = np.random.default_rng(0)
    chroma = rng.random((2, 4, 4)).repeat(2, axis=1).repeat(2, axis=2)
    patch = np.concatenate([rng.random((1, 8, 8)), chroma]).reshape(192)
    np.testing.assert_allclose(patch @ analysis @ synthesis, patch, atol=1e-12)


@pytest.mark.parametrize("config", [embedded, embedded_v2], ids=lambda config: config.name)
def test_transform_codec_codes_pictures_before_any_training(config):
    _, frames = demo_sequence(128, 64, 3)
    clip = jnp.stack([planes_to_picture(f.y[None], f.u[None], f.v[None])[0] for f in frames])
    statistics = patch_statistics(np.asarray(clip)[None])
    params = transform_codec(config, statistics, (8.0, 4096.0), (4.0, 2048.0), 0)
    network, variables = networks(config)["intra"], {"params": jax.tree.map(jnp.asarray, params["intra"])}

    @jax.jit
    def code(qps):
        y, _ = network.apply(variables, clip[None, :1], None, qps, method="analyse")
        symbols = jnp.round(y)  # both gains are 1 at the start
        feature = network.apply(variables, symbols, None, qps, method="synthesise")
        return jnp.abs(symbols).mean(), network.apply(variables, feature, None, qps, method="reconstruct")

    sizes, psnr = [], []
    for qp in (0.0, 25.0, 50.0):
        size, picture = code(jnp.array([[qp]]))
        sizes.append(size)
        psnr.append(-10 * np.log10(np.square(picture - clip[None, :1])[..., 0].mean()))
    assert sizes[0] < sizes[1] < sizes[2]
    assert psnr[0] < psnr[1] < psnr[2]
    assert psnr[2] > 36


@pytest.mark.parametrize(("config", "message"), [(tiny, "needs 96 intra and 98 inter"), (ui2c, "has no intra network")])
def test_codecs_that_cannot_start_as_transform_codecs(config, message):
    with pytest.raises(ConfigError, match=message):
        transform_codec(config, patch_statistics(np.zeros((1, 2, 16, 16, 3), np.float32)), (8.0, 9.0), (4.0, 5.0), 0)
