"""The bfloat16 convolutions in C++ are within a rounding of float32 sums, whatever the weights."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native_coder import bfloat16_functions, float32_functions  # noqa: TID251
from nvc_jax.ops import floating, native
from nvc_jax.ops.block import BlockLayers
from nvc_jax.ops.native_floating import affine, pack

ROUNDING = 2.0**-8  # of bfloat16, relative: half a unit of 8 significant bits, and as much again for sums near a tie
KINDS = native.available("bfloat16")  # registers them; none where the processor has no AVX512-BF16
dc_block = jax.jit(floating.dc_block, static_argnums=2)
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks Linux")
def test_are_there_where_the_processor_has_the_instructions():
    assert bool(bfloat16_functions()) == ("avx512_bf16" in Path("/proc/cpuinfo").read_text())
    assert native.available("bfloat16") == tuple(bfloat16_functions())


def test_training_takes_those_with_gradients():
    """None are of bfloat16, so that XLA trains."""
    assert native.with_gradients("bfloat16") == native.with_gradients("float16") == ()
    assert native.with_gradients("float32") == tuple(float32_functions())


def rounded(x):
    return jax.device_put(np.asarray(x).astype(jnp.bfloat16))


def wide(x):
    return np.asarray(x, np.float64)


def numbers(rng, *shape, spread=1.0):
    """Numbers of sizes that `spread` powers of two apart make as large as each other in a sum."""
    return rounded(rng.standard_normal(shape) * 2.0 ** rng.uniform(-spread, spread, shape))


def packed(weights, kind, parts=1):
    return pack(np.asarray(weights, np.float32), kind, parts, jnp.bfloat16)


def wsilu(x):
    with np.errstate(over="ignore"):
        return x / (1.0 + np.exp(-4.0 * x))


def assert_near(result, expected, magnitude):
    """Within a rounding of the result, and those of float32 sums of this magnitude; the smallest may be zero."""
    assert result.dtype == jnp.bfloat16
    error = np.abs(wide(result) - expected)
    assert (error <= ROUNDING * np.abs(expected) + 2.0**-19 * magnitude + 2.0**-121).all()


@each_kind
@pytest.mark.parametrize(("inputs", "outputs", "rows"), [(1, 3, 1), (16, 33, 5), (71, 128, 29), (601, 40, 250)])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.0, 4.0, 50.0]), activate=st.booleans())
def test_products_are_within_a_rounding(kind, inputs, outputs, rows, seed, spread, activate):
    """Odd inputs, padded panels, rows that leave every remainder of a tile, and numbers of all magnitudes."""
    rng = np.random.default_rng(seed)
    x, weights, bias = (
        numbers(rng, *shape, spread=spread) for shape in ((rows, inputs), (inputs, outputs), (outputs,))
    )
    result = affine(x, packed(weights, kind), bias, activate)
    expected = wide(x) @ wide(weights) + wide(bias)
    magnitude = np.abs(wide(x)) @ np.abs(wide(weights)) + np.abs(wide(bias))
    assert_near(result, wsilu(expected) if activate else expected, magnitude)


@each_kind
def test_wsilu_of_all_numbers(kind):
    """Every bfloat16 that is a number."""
    every = np.arange(1 << 16, dtype=np.uint16)
    x = every[every & 0x7F80 != 0x7F80].view(jnp.bfloat16)[:, None]
    result = affine(x, packed(np.ones((1, 1)), kind), jnp.zeros(1, jnp.bfloat16), True)
    assert_near(result, wsilu(wide(x)), 0.0)
    odd = affine(rounded([[np.inf], [np.nan]]), packed(np.ones((1, 1)), kind), jnp.zeros(1, jnp.bfloat16), True)
    np.testing.assert_array_equal(wide(odd), [[np.inf], [np.nan]])


@each_kind
@pytest.mark.parametrize("stride", [1, 2])
def test_full_convolutions_are_within_a_rounding(kind, stride):
    rng = np.random.default_rng(stride)
    x, weights, bias = numbers(rng, 2, 10, 14, 7), numbers(rng, 3, 3, 7, 5), numbers(rng, 5)
    result = floating.convolve3x3(x, packed(weights, kind), bias, stride)
    with jax.enable_x64(True):
        inputs = (jnp.asarray(wide(array)) for array in (x, weights, bias))
        expected = wide(floating.convolve3x3(*inputs, stride))
    assert_near(result, expected, np.abs(expected).max())


@each_kind
@pytest.mark.parametrize(
    ("shape", "middle"),
    [
        ((2, 5, 31, 24), 4),
        pytest.param((1, 2, 150, 33), 4, marks=pytest.mark.slow),
        ((1, 2, 50, 33), 2),
        ((1, 3, 9, 40), 1),
    ],
)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shortcut=st.booleans())
def test_blocks_are_nearly_those_of_float32(kind, shape, middle, seed, shortcut):
    """As near as XLA's in bfloat16, which round more often; work items begin and end within rows of a picture."""
    rng, c = np.random.default_rng(seed), shape[-1]
    shapes = (c, c), (3, 3, c), (c, c), (c, middle * c), (middle * c // 2, c)
    plain = BlockLayers(
        *((numbers(rng, *s, spread=0.5) / np.sqrt(np.prod(s[:-1])), numbers(rng, s[-1])) for s in shapes)
    )
    plain = BlockLayers(*((rounded(kernel), bias) for kernel, bias in plain))
    x = numbers(rng, *shape)
    parts = {"first": 1, "project": 1, "widen": 2, "narrow": 1}
    layers = plain._replace(
        **{n: (packed(getattr(plain, n)[0], kind, k), getattr(plain, n)[1]) for n, k in parts.items()}
    )
    expected = dc_block(*jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (x, plain)), shortcut)
    result, of_xla = dc_block(x, layers, shortcut), dc_block(x, plain, shortcut)
    errors = [np.sqrt(np.mean((wide(y) - wide(expected)) ** 2)) for y in (result, of_xla)]
    assert errors[0] <= errors[1]
    assert errors[0] < 0.01 * np.sqrt(np.mean(wide(expected) ** 2))


@each_kind
def test_kernels_of_other_shapes_are_refused(kind):
    x, kernel = jnp.zeros((3, 5), jnp.bfloat16), packed(np.ones((6, 4)), kind)
    affine(x, kernel, jnp.zeros(4, jnp.bfloat16))  # 5 inputs are padded to 6 or 32
    for inputs, outputs in ((33 if kind == native.AMX else 7, 4), (5, 17)):
        with pytest.raises(jax.errors.JaxRuntimeError, match="shape mismatch: the kernel was packed for other act"):
            affine(jnp.zeros((3, inputs), jnp.bfloat16), kernel, jnp.zeros(outputs, jnp.bfloat16))
