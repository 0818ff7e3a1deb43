"""The float32 convolutions in C++ agree with XLA's except for roundings, and with each other bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native_coder import float32_functions  # noqa: TID251
from nvc_jax.errors import ConfigError
from nvc_jax.ops import floating, native
from nvc_jax.ops.block import BlockLayers
from nvc_jax.ops.native_floating import affine, pack

KINDS = native.available("float32")
pytestmark = pytest.mark.skipif(not float32_functions(), reason="this processor has neither AVX2 nor AVX-512")


def test_xla_takes_the_functions():
    assert KINDS == tuple(float32_functions())


def numbers(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(np.prod(shape[:-1])))


def agree(results, expected):
    """All ISAs with each other, and nearly with XLA."""
    first, *others = map(np.asarray, results)
    np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-5)
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("shape", [(1, 3, 1), (33, 16, 5), (128, 70, 29), (300, 40, 250)])
@pytest.mark.parametrize("wsilu", [False, True])
def test_products_agree(shape, wsilu):
    """Padded panels, and numbers of rows that leave every remainder of a tile."""
    inputs, outputs, rows = shape
    rng = np.random.default_rng(inputs)
    x, weights, bias = numbers(rng, rows, inputs) * 30, numbers(rng, inputs, outputs), numbers(rng, outputs)
    expected = floating.affine(x, weights, bias)
    results = [affine(x, pack(weights, kind), bias, wsilu) for kind in KINDS]
    agree(results, floating.wsilu(expected) if wsilu else expected)


def test_wsilu_of_all_sizes():
    """From where it is nearly half the number to where it is nearly the number, or zero."""
    x = np.r_[0, 2.0 ** np.arange(-140, 20), np.linspace(0, 40, 40000)].astype(np.float32)
    x = np.concatenate([x, -x])[:, None]
    wide, one = x.astype(np.float64), np.ones((1, 1), np.float32)
    with np.errstate(over="ignore"):
        expected = wide / (1 + np.exp(-4 * wide))
    for kind in KINDS:
        result = affine(x, pack(one, kind), np.zeros(1, np.float32), wsilu=True)
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-30)
        odd = affine(np.array([[np.inf], [np.nan]], np.float32), pack(one, kind), np.zeros(1, np.float32), wsilu=True)
        np.testing.assert_array_equal(odd, [[np.inf], [np.nan]])


@pytest.mark.parametrize("stride", [1, 2])
def test_full_convolutions_agree(stride):
    """Several pictures, with more positions than a work item."""
    rng = np.random.default_rng(stride)
    x, weights, bias = numbers(rng, 2, 10, 14, 6), numbers(rng, 3, 3, 6, 5), numbers(rng, 5)
    results = [floating.convolve3x3(x, pack(weights, kind), bias, stride) for kind in KINDS]
    agree(results, floating.convolve3x3(x, weights, bias, stride))


def block(rng, c, middle=4):
    """The layers of a DC block, for XLA and for each ISA."""
    shapes = (c, c), (3, 3, c), (c, c), (c, middle * c), (middle * c // 2, c)
    plain = BlockLayers(*((numbers(rng, *shape), numbers(rng, shape[-1])) for shape in shapes))
    return plain, [packed(plain, kind) for kind in KINDS]


def packed(plain, kind):
    parts = {"first": 1, "project": 1, "widen": 2, "narrow": 1}
    kernels = {name: pack(getattr(plain, name)[0], kind, count) for name, count in parts.items()}
    return plain._replace(**{name: (kernel, getattr(plain, name)[1]) for name, kernel in kernels.items()})


@pytest.mark.parametrize(
    ("shape", "middle"),
    [((2, 5, 31, 24), 4), ((3, 1, 1, 40), 4), ((1, 2, 150, 33), 4), ((1, 2, 50, 33), 2)]
    + [((1, 3, 9, channels), middle) for channels in (16, 40) for middle in (1, 2)],
)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shortcut=st.booleans())
def test_blocks_agree(shape, middle, seed, shortcut):
    """Work items begin and end within rows of a picture; halves of the middle do not fill their panels."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    plain, native_layers = block(rng, shape[-1], middle)
    results = [floating.dc_block(x, layers, shortcut) for layers in native_layers]
    agree(results, floating.dc_block(x, plain, shortcut))


def test_kernels_of_other_shapes_are_refused():
    rng, x = np.random.default_rng(0), np.zeros((1, 2, 2, 4), np.float32)
    right, wrong = (block(rng, channels)[1][0] for channels in (4, 17))
    floating.dc_block(x, right, False)
    calls = [lambda: floating.affine(x, *wrong.first), lambda: floating.convolve3x3(x, *wrong.first, 1)]
    student = block(rng, 4, middle=2)[1][0]
    odd = (pack(numbers(rng, 4, 10), KINDS[0], parts=2), numbers(rng, 9))
    for name, layer in (
        *((name, getattr(wrong, name)) for name in ("depthwise", "project", "widen", "narrow")),
        *(("widen", layer) for layer in (student.widen, (right.widen[0], student.widen[1]), odd)),
        ("narrow", student.narrow),
    ):
        layers = right._replace(**{name: layer})
        calls.append(lambda layers=layers: floating.dc_block(x, layers, False))
    calls.append(
        lambda: floating.convolve3x3(
            np.zeros((1, 3, 2, 4), np.float32), pack(numbers(rng, 36, 3), KINDS[0]), numbers(rng, 3), 2
        )
    )
    for call in calls:
        with pytest.raises(jax.errors.JaxRuntimeError, match="shape mismatch: the kernel was packed for other act"):
            call()


def test_kernels_in_other_parts_are_refused():
    """They may have as many numbers."""
    x, (right, *_) = np.zeros((1, 2, 2, 24), np.float32), block(np.random.default_rng(0), 24)[1]
    weights = np.zeros((24, 96), np.float32)
    halves, whole = (pack(weights, KINDS[0], parts) for parts in (2, 1))
    assert halves.weights.shape == whole.weights.shape
    bias = right.widen[1]
    for call in (
        lambda: floating.affine(x, halves, bias),
        lambda: floating.dc_block(x, right._replace(widen=(whole, bias)), False),
    ):
        with pytest.raises(ValueError, match="the kernel is packed in"):
            call()


def test_vmap():
    rng = np.random.default_rng(0)
    x, kernel, bias = numbers(rng, 4, 5, 8), pack(numbers(rng, 8, 3), KINDS[0]), numbers(rng, 3)
    mapped = jax.vmap(lambda x: floating.affine(x, kernel, bias))(x)
    np.testing.assert_array_equal(mapped, floating.affine(x, kernel, bias))


@pytest.mark.parametrize("kind", KINDS)
def test_have_no_gradient(kind):
    x, bias = jnp.ones((3, 4)), jnp.zeros(5)
    kernel = pack(np.ones((4, 5), np.float32), kind)
    with pytest.raises(ConfigError, match=f"the C\\+\\+ kernels '{kind}' have no gradient; use kernels='xla'"):
        jax.grad(lambda x: affine(x, kernel, bias).sum())(x)
    stopped = jax.grad(lambda x: (x + affine(jax.lax.stop_gradient(x), kernel, bias).sum()).sum())(x)
    np.testing.assert_array_equal(stopped, 1)
