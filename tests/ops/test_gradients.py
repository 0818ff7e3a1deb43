"""Values and gradients of our convolutions against those of XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nvc_jax.ops.convolution import convolve3x3
from nvc_jax.ops.depthwise import depthwise3x3


def normal(seed, shape):
    return jax.random.normal(jax.random.key(seed), shape)


def grouped_convolution(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel[:, :, None], (1, 1), "SAME", dimension_numbers=layout, feature_group_count=x.shape[-1]
    )


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 1, 4), (1, 2, 1, 1)])
def test_depthwise_value_and_gradients(shape):
    x, kernel, weights = normal(0, shape), normal(1, (3, 3, shape[-1])), normal(2, shape)

    def loss(function):
        return lambda x, kernel: (weights * jnp.sin(function(x, kernel))).sum()

    with jax.default_matmul_precision("highest"):
        expected, ours = (
            jax.jit(lambda *inputs, function=f: (function(*inputs), jax.grad(loss(function), (0, 1))(*inputs)))(
                x, kernel
            )
            for f in (grouped_convolution, depthwise3x3)
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), ours, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_of_the_convolution(stride):
    x, kernel, g = normal(0, (2, 6, 8, 5)), normal(1, (3, 3, 5, 7)), normal(2, (2, 6 // stride, 8 // stride, 7))

    def plain(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (stride,) * 2, ((1, 1), (1, 1)), dimension_numbers=layout)

    with jax.default_matmul_precision("highest"):
        ours, expected = (
            jax.jit(lambda *inputs, function=f: (function(*inputs), *jax.vjp(function, *inputs)[1](g)))(x, kernel)
            for f in (lambda x, kernel: convolve3x3(x, kernel, stride), plain)
        )
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5)
