"""The Pallas kernels of a DC block, interpreted, against the plain function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.errors import ConfigError
from nvc_jax.ops import floating, pallas_block
from nvc_jax.ops.block import BlockLayers, PallasKernel, paired_halves
from nvc_jax.ops.pallas_block import Strip, Tiling, Tilings

TILINGS = Tilings(Tiling(32, 16, 0, 4, 2), Strip(4, 8, 16, 4), Tiling(32, 16, 16, 4, 2))  # several tiles per kernel


def random_layers(rng, channels, middle=4):
    """A block whose activations stay near 1."""

    def layer(*shape, fan_in):
        kernel = rng.normal(0, 1 / np.sqrt(fan_in), shape).astype(np.float32)
        return jnp.asarray(kernel), jnp.asarray(rng.normal(0, 0.1, shape[-1]), jnp.float32)

    c, half = channels, middle * channels // 2
    return BlockLayers(
        layer(c, c, fan_in=c),
        layer(3, 3, c, fan_in=9),
        layer(c, c, fan_in=c),
        layer(c, 2 * half, fan_in=c),
        layer(half, c, fan_in=half),
    )


def for_kernels(layers, interpret=True):
    """The same layers as `prepare_params` gives them to the kernels."""

    def wrapped(kernel, bias):
        return PallasKernel(kernel, interpret), bias

    widen = wrapped(*(paired_halves(parameters) for parameters in layers.widen))
    return BlockLayers(
        wrapped(*layers.first), layers.depthwise, wrapped(*layers.project), widen, wrapped(*layers.narrow)
    )


@pytest.mark.parametrize(
    ("channels", "middle", "height", "width", "shortcut", "tilings"),
    [
        (16, 4, 9, 7, False, TILINGS),
        pytest.param(48, 4, 5, 13, True, TILINGS, marks=pytest.mark.slow),
        pytest.param(48, 4, 3, 2, False, None, marks=pytest.mark.slow),
        (16, 2, 3, 5, True, TILINGS),
        (40, 1, 5, 3, False, TILINGS),
    ],
)
def test_kernels_compute_the_block(channels, middle, height, width, shortcut, tilings):
    rng = np.random.default_rng(0)
    layers = random_layers(rng, channels, middle)
    x = jnp.asarray(rng.standard_normal((2, height, width, channels)), jnp.float32)
    with jax.default_matmul_precision("highest"):
        expected = floating.dc_block(x, layers, shortcut)
        found = pallas_block.dc_block(x, for_kernels(layers), shortcut, tilings)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("channels", "middle"), [(40, 4), (16, 1)])
def test_products_too_small_for_triton_are_refused(channels, middle):
    layers = for_kernels(random_layers(np.random.default_rng(0), channels, middle), interpret=False)
    with pytest.raises(ConfigError, match="kernel backend 'pallas' needs multiples of 16 for the width of a DC block"):
        pallas_block.dc_block(jnp.zeros((1, 2, 2, channels)), layers, False)


def test_pairs_are_of_both_halves():
    paired = paired_halves(jnp.arange(16).reshape(2, 8))
    np.testing.assert_array_equal(paired, [[0, 4, 1, 5, 2, 6, 3, 7], [8, 12, 9, 13, 10, 14, 11, 15]])


def test_depthwise_alone():
    rng = np.random.default_rng(0)
    layers = random_layers(rng, 16)
    kernel, bias = layers.depthwise
    x = jnp.asarray(rng.standard_normal((1, 6, 11, 16)), jnp.float32)
    mixed = layers._replace(depthwise=(PallasKernel(kernel, interpret=True), bias))
    np.testing.assert_allclose(floating.dc_block(x, mixed, True), floating.dc_block(x, layers, True), atol=2e-5)
