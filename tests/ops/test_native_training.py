"""DC blocks and their gradients in C++ agree with XLA's except for roundings, and are the same at every call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.ops import floating, native
from nvc_jax.ops.block import BlockLayers, TrainedKernel

KINDS = native.available("float32")
pytestmark = pytest.mark.skipif(not KINDS, reason="this processor has neither AVX2 nor AVX-512")


def numbers(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(np.prod(shape[:-1])))


def block(shape, middle):
    """Input, layers, and weights of the output in the loss."""
    rng = np.random.default_rng(shape[-1])
    c = shape[-1]
    kernels = (c, c), (3, 3, c), (c, c), (c, middle * c), (middle * c // 2, c)
    layers = BlockLayers(*((numbers(rng, *kernel), numbers(rng, kernel[-1])) for kernel in kernels))
    x, weights = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    return x, layers, weights


def output_and_gradients(x, layers, weights, shortcut, isa):
    def output(x, layers):
        if isa:
            first, bias = layers.first
            layers = layers._replace(first=(TrainedKernel(first, isa), bias))
        return floating.dc_block(x, layers, shortcut)

    def run(x, layers):
        y, back = jax.vjp(output, x, layers)
        return y, back(weights)

    return jax.jit(run)(x, layers)


@pytest.mark.parametrize(
    ("shape", "middle", "shortcut"),
    [
        ((2, 5, 7, 16), 4, True),
        ((1, 3, 3, 8), 2, False),
        ((1, 1, 1, 6), 1, True),  # one position, panels that are mostly padding
        ((3, 13, 9, 70), 4, False),  # several work items, a remainder of every kind of tile
    ],
)
@pytest.mark.parametrize("isa", KINDS)
def test_gradients_agree(shape, middle, shortcut, isa):
    operands = block(shape, middle)
    expected = jax.tree.leaves(output_and_gradients(*operands, shortcut, None))
    results = jax.tree.leaves(output_and_gradients(*operands, shortcut, isa))
    assert len(results) == 12  # the output, x, ten parameters
    for result, right in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, right, atol=4e-6 * np.abs(right).max())


@pytest.mark.parametrize("isa", KINDS)
def test_same_in_a_scan_and_without_gradient(isa):
    """The forward pass keeps nothing where no gradient is asked for, and computes the same."""
    x, layers, _ = block((1, 6, 5, 24), 4)
    first, bias = layers.first
    layers = layers._replace(first=(TrainedKernel(jnp.asarray(first), isa), bias))
    one = jax.jit(lambda x: floating.dc_block(x, layers, True))
    scanned = jax.jit(lambda x: jax.lax.scan(lambda x, _: (floating.dc_block(x, layers, True),) * 2, x, None, 2))(x)[1]
    with_gradient, gradient = jax.jit(lambda x: jax.vjp(lambda x: floating.dc_block(x, layers, True), x))(x)
    np.testing.assert_array_equal(scanned[0], one(x))
    np.testing.assert_array_equal(scanned[1], one(one(x)))
    np.testing.assert_array_equal(with_gradient, one(x))
    np.testing.assert_array_equal(jax.jit(gradient)(x)[0], jax.jit(gradient)(x)[0])


def test_refuses_another_shape():
    x, parameters = np.zeros((1, 4, 4, 16), np.float32), np.zeros(7, np.float32)
    shapes, attributes = (x.shape, x.shape), {"middle": 64, "shortcut": False, "keep": False}
    with pytest.raises(jax.errors.JaxRuntimeError, match="shape mismatch"):
        jax.block_until_ready(native.call_for("block", KINDS[0], shapes, x, parameters, **attributes))
