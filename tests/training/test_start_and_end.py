"""Initialisation and export of a run."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.demo.sequence import demo_sequence
from nvc_jax.errors import ConfigError
from nvc_jax.models.codecs import embedded, embedded_v2, tiny, ui2c_small
from nvc_jax.models.config import Stack
from nvc_jax.models.networks import networks
from nvc_jax.models.state import Feature, Pictures, SideInformation
from nvc_jax.ops.colour import planes_to_picture
from nvc_jax.training.rounding import rounded, straight_through
from nvc_jax.training.transform_init import patch_statistics, patch_transform, transform_codec


def test_rounding_keeps_significant_bits():
    x = np.float32([1 + 2**-10, 1 + 2**-12, 3e-7, -3e-20, 0.0])
    np.testing.assert_array_equal(round_vector(x, 11), np.float32([1 + 2**-10, 1.0, 5 * 2**-24, 0.0, 0.0]))
    found = np.asarray(round_vector(x, 12))
    np.testing.assert_array_equal(found[[0, 1, 4]], np.float32([1 + 2**-10, 1.0, 0.0]))
    np.testing.assert_allclose(found[2:4], x[2:4], rtol=2**-12)


def test_int8_kernels_have_a_power_of_two_for_each_channel():
    kernel = np.float32([[1.0, -0.126, 0.0], [0.2501, 0.0004, 0.0]])
    tree = {"inter": {"block": {"kernel": kernel, "bias": kernel}, "encoder_in": {"kernel": kernel}}}
    found = rounded(tree, 11, int8_kernels=True)["inter"]
    np.testing.assert_array_equal(found["block"]["kernel"], np.float32([[1, -65 / 512, 0], [0.25, 0, 0]]))
    in_float16 = rounded(tree, 11)["inter"]
    for layer, leaf in (("block", "bias"), ("encoder_in", "kernel")):
        np.testing.assert_array_equal(found[layer][leaf], in_float16[layer][leaf])
    assert not np.signbit(found["block"]["kernel"][found["block"]["kernel"] == 0]).any()
    in_a_program = jax.jit(functools.partial(rounded, significant_bits=11, int8_kernels=True))(tree)["inter"]
    jax.tree.map(np.testing.assert_array_equal, in_a_program, found)
    broken = {"inter": {"block": {"kernel": np.float32([[np.nan, np.inf, 0.3]])}}}  # is found when the model is loaded
    kept = rounded(broken, 11, int8_kernels=True)["inter"]["block"]["kernel"]
    np.testing.assert_array_equal(kept, np.float32([[np.nan, np.inf, 77 / 256]]))


def test_gradients_pass_straight_through_rounding():
    x = jnp.array([1.3, -0.7, 0.011])

    def loss(x):
        return (jnp.square(straight_through({"inter": {"block": {"bias": x}}}, 4)["inter"]["block"]["bias"])).sum()

    np.testing.assert_array_equal(jax.grad(loss)(x), 2 * round_vector(x, 4))


def round_vector(x, bits):
    return rounded({"inter": {"block": {"bias": x}}}, bits)["inter"]["block"]["bias"]


def test_patch_transform_inverts_on_subsampled_chroma():
    analysis, synthesis = patch_transform()
    rng = np.random.default_rng(0)
    chroma = rng.random((2, 4, 4)).repeat(2, axis=1).repeat(2, axis=2)
    patch = np.concatenate([rng.random((1, 8, 8)), chroma]).reshape(192)
    np.testing.assert_allclose(patch @ analysis @ synthesis, patch, atol=1e-12)


@pytest.mark.parametrize(
    "config", [embedded, pytest.param(embedded_v2, marks=pytest.mark.slow)], ids=lambda config: config.name
)
def test_transform_codec_codes_pictures_before_any_training(config):
    _, frames = demo_sequence(128, 64, 3)
    clip = jnp.stack([planes_to_picture(f.y[None], f.u[None], f.v[None])[0] for f in frames])
    statistics = patch_statistics(np.asarray(clip)[None])
    params = transform_codec(config, statistics, (8.0, 4096.0), (4.0, 2048.0), 0)
    network, variables = networks(config)["intra"], {"params": jax.device_put(params["intra"])}

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


def test_a_pair_starts_as_a_coder_of_differences_from_the_last_picture():
    pair = dataclasses.replace(ui2c_small["pair"], adaptor=Stack(1, 184), latent=192)
    config = ui2c_small.replace("pair", pair)
    _, frames = demo_sequence(128, 64, 5)
    clip = jnp.stack([planes_to_picture(f.y[None], f.u[None], f.v[None])[0] for f in frames])[None]
    params = transform_codec(config, patch_statistics(np.asarray(clip), 2), (8.0, 4096.0), (4.0, 2048.0), 0)
    network, variables = networks(config)["pair"], {"params": jax.device_put(params["pair"])}
    qps = jnp.array([[40.0, 48.0]])

    def apply(method, *args):
        return network.apply(variables, *args, method=method)

    @jax.jit
    def code(state, pictures):
        context = apply("context", apply("features", state, qps)[0])
        y, _ = apply("analyse", pictures, context, qps)
        features = [apply("synthesise", symbols, context, qps) for symbols in (y, jnp.zeros_like(y))]
        return features[0], *(apply("reconstruct", feature, None, qps) for feature in features)

    def psnr(found, wanted):
        return -10 * np.log10(np.square(found - wanted).mean())

    feature, first, repeated = code(Pictures(clip[:, :1]), clip[:, 1:3])
    assert psnr(repeated, clip[:, [0, 0]]) > 35
    assert psnr(first, clip[:, 1:3]) > psnr(clip[:, [0, 0]], clip[:, 1:3]) + 3
    _, second, repeated = code(Feature(feature), clip[:, 3:5])
    assert psnr(repeated, first[:, [1, 1]]) > 35
    assert psnr(second, clip[:, 3:5]) > psnr(first[:, [1, 1]], clip[:, 3:5]) + 3


@pytest.mark.parametrize("residual", [False, True])
def test_a_network_with_motion_starts_as_a_coder_of_what_it_is_given(residual):
    config = embedded.replace("inter", dataclasses.replace(embedded["inter"], residual=residual))
    _, frames = demo_sequence(64, 64, 2)
    clip = jnp.stack([planes_to_picture(f.y[None], f.u[None], f.v[None]) for f in frames])  # [2, 1, H, W, 3]
    params = transform_codec(config, patch_statistics(np.asarray(clip)[None, :, 0]), (8.0, 4096.0), (4.0, 2048.0), 0)
    network, variables = networks(config)["inter"], {"params": jax.device_put(params["inter"])}
    qps = jnp.array([[40.0]])

    def apply(method, *args):
        return network.apply(variables, *args, method=method)

    @jax.jit
    def code(before, pictures):
        side = SideInformation(jnp.zeros((1, 4, 4, 3), jnp.int8), before)
        context = apply("context", apply("features", network.start(before), qps)[0])
        y, _ = apply("analyse", network.source(pictures, side), context, qps)
        features = [apply("synthesise", symbols, context, qps) for symbols in (y, jnp.zeros_like(y))]
        return [apply("reconstruct", feature, side, qps) for feature in features]

    def psnr(found, wanted):
        return -10 * np.log10(np.square(found - wanted).mean())

    coded, repeated = code(clip[0][None], clip[1][None])
    assert psnr(repeated, clip[0][None]) > 35
    assert psnr(coded, clip[1][None]) > psnr(clip[0], clip[1]) + 3


@pytest.mark.parametrize(
    ("heads", "width"),
    [(2, 256), pytest.param(2, 368, marks=pytest.mark.slow), pytest.param(1, 200, marks=pytest.mark.slow)],
)
def test_heads_start_with_the_pictures_that_one_stack_makes(heads, width):
    one = ui2c_small.replace("pair", dataclasses.replace(ui2c_small["pair"], recon=Stack(1, 184)))
    other = one.replace("pair", dataclasses.replace(one["pair"], heads=heads, recon=Stack(1, width)))
    clip = np.random.default_rng(0).random((1, 3, 32, 32, 3), np.float32)
    statistics, qps = patch_statistics(clip, 2), jnp.array([[40.0, 48.0]])
    feature = jnp.zeros((1, 4, 4, 184)).at[..., :182].set(np.random.default_rng(1).normal(0, 0.01, (4, 4, 182)))
    found = []
    for config in (one, other):
        params = transform_codec(config, statistics, (8.0, 9.0), (4.0, 5.0), 0)
        variables = {"params": jax.device_put(params["pair"])}
        reconstruct = functools.partial(networks(config)["pair"].apply, method="reconstruct")
        found.append(jax.jit(reconstruct)(variables, feature, None, qps))
    np.testing.assert_allclose(found[0], found[1], atol=1e-2)


def test_codecs_that_cannot_start_as_transform_codecs():
    with pytest.raises(ConfigError, match="needs 96 intra and 98 inter"):
        transform_codec(tiny, patch_statistics(np.zeros((1, 2, 16, 16, 3), np.float32)), (8.0, 9.0), (4.0, 5.0), 0)
