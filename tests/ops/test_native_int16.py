"""The int16 convolutions in C++ give the integers of the plain ones, for any activations and any allowed weights."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exact import activations, extreme

from native_coder import int16_functions  # noqa: TID251
from nvc_jax.ops import exact, fixed, native
from nvc_jax.ops.block import BlockLayers
from nvc_jax.ops.exact import WEIGHT_MAX
from nvc_jax.ops.native_int16 import affine_wsilu, pack, pack_taps
from nvc_jax.spec import FIXED_BITS, FIXED_LARGE_BITS

KERNELS = native.available("int16")
pytestmark = pytest.mark.skipif(not int16_functions(), reason="this processor has neither AVX2 nor AVX-512")

# Odd numbers of inputs, panels that are filled up, numbers of rows with all kinds of rest; few, as each is compiled.
SHAPES = (1, 3, 1), (33, 16, 5), (128, 70, 29), (300, 40, 12)


def test_xla_takes_the_functions():
    assert KERNELS == tuple(int16_functions())


def numbers(rng, inputs, outputs, largest):
    """Weights (of which the sum of magnitudes is bounded), bits and biases."""
    weights = extreme(rng, (inputs, outputs), largest).astype(np.int16)
    bits = rng.integers(9, 21, outputs).astype(np.uint8)
    bias = extreme(rng, outputs, 1 << 28).astype(np.int32)
    exact.check(weights, bits)
    return weights, bits, bias


@settings(max_examples=24, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(SHAPES),
    largest=st.sampled_from([200, 13000]),
    peak=st.sampled_from([50, 32768]),
)
def test_convolutions_agree(seed, shape, largest, peak):
    """Sums in 32 bits and in 64, in one block and in several."""
    inputs, outputs, rows = shape
    rng = np.random.default_rng(seed)
    x = activations(rng, (rows, inputs)).clip(-peak, min(peak, 32767))
    weights, bits, bias = numbers(rng, inputs, outputs, largest)
    expected = fixed.affine(x, exact.prepare(weights, bits, "float64"), bias)
    for kernels, unit in itertools.product(KERNELS, (FIXED_BITS, FIXED_LARGE_BITS)):
        packed = pack(weights, bits, kernels, unit)
        np.testing.assert_array_equal(fixed.affine(x, packed, bias), expected)
        np.testing.assert_array_equal(affine_wsilu(x, packed, bias), fixed.wsilu(expected, unit))


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_agree(sign):
    weights, bits = np.full((128, 33), sign * WEIGHT_MAX, np.int16), np.full(33, 20, np.uint8)
    x = np.array([[-32768] * 128, [32767] * 128, [-1, 1] * 64], np.int16)
    bias = np.full(33, sign << 28, np.int32)
    expected = fixed.affine(x, exact.prepare(weights, bits, "int32"), bias)
    for kernels in KERNELS:
        np.testing.assert_array_equal(fixed.affine(x, pack(weights, bits, kernels), bias), expected)


def test_wsilu_of_every_number():
    """With a weight of one."""
    x = np.arange(-32768, 32768).astype(np.int16).reshape(-1, 1)
    for kernels, unit in itertools.product(KERNELS, (FIXED_BITS, FIXED_LARGE_BITS)):
        packed = pack(np.array([[1 << 13]], np.int16), np.array([13], np.uint8), kernels, unit)
        np.testing.assert_array_equal(affine_wsilu(x, packed, np.zeros(1, np.int32)), fixed.wsilu(x, unit))


@pytest.mark.parametrize("stride", [1, 2])
def test_full_convolutions_agree(stride):
    """Of several pictures, in more positions than one piece of work has."""
    rng = np.random.default_rng(stride)
    x = activations(rng, (2, 10, 14, 6))
    weights, bits, bias = numbers(rng, 54, 5, 300)
    expected = fixed.convolve3x3(x, exact.prepare(weights, bits, "int32"), bias, stride)
    for kernels in KERNELS:
        np.testing.assert_array_equal(fixed.convolve3x3(x, pack(weights, bits, kernels), bias, stride), expected)


def block(rng, channels, largest, unit=FIXED_BITS):
    """The layers of a DC block, for XLA, and for each kind of kernels."""
    sizes = (
        (channels, channels),
        (9, channels),
        (channels, channels),
        (channels, 4 * channels),
        (2 * channels, channels),
    )
    layers = [numbers(rng, *size, largest) for size in sizes]

    def prepared(of_matrix, of_taps):
        return BlockLayers(*(
            (of_taps(weights.reshape(3, 3, -1), bits) if i == 1 else of_matrix(weights, bits), bias)
            for i, (weights, bits, bias) in enumerate(layers)
        ))  # fmt: skip

    plain = prepared(lambda *kernel: exact.prepare(*kernel, "float64", unit), exact.prepare_taps)
    return plain, [
        prepared(lambda *kernel, k=k: pack(*kernel, k, unit), lambda *kernel, k=k: pack_taps(*kernel, k))
        for k in KERNELS
    ]


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(
        [
            ((2, 5, 31, 24), True, FIXED_BITS),
            ((3, 1, 1, 40), False, FIXED_LARGE_BITS),
            ((1, 2, 150, 33), False, FIXED_BITS),
        ]
    ),
    largest=st.sampled_from([300, 8000]),
    peak=st.sampled_from([50, 32768]),
)
def test_blocks_agree(seed, kind, largest, peak):
    """Pieces of work begin and end within rows of a picture."""
    shape, shortcut, unit = kind
    rng = np.random.default_rng(seed)
    x = activations(rng, shape).clip(-peak, min(peak, 32767))
    plain, packed = block(rng, shape[-1], largest, unit)
    expected = fixed.dc_block(x, plain, shortcut)
    for layers in packed:
        np.testing.assert_array_equal(fixed.dc_block(x, layers, shortcut), expected)


def test_kernels_of_other_shapes_are_refused():
    rng, x = np.random.default_rng(0), np.zeros((1, 2, 2, 4), np.int16)
    right, wrong = (block(rng, channels, 100)[1][0] for channels in (4, 5))
    fixed.dc_block(x, right, False)
    calls = [lambda: fixed.affine(x, *wrong.first), lambda: fixed.convolve3x3(x, *wrong.first, 1)]
    for name in ("depthwise", "project", "widen", "narrow"):
        layers = right._replace(**{name: getattr(wrong, name)})
        calls.append(lambda layers=layers: fixed.dc_block(x, layers, False))
    for call in calls:
        with pytest.raises(jax.errors.JaxRuntimeError, match="the kernel is not for such inputs"):
            call()


def test_vmap():
    weights, bits, bias = numbers(np.random.default_rng(0), 8, 3, 300)
    x = activations(np.random.default_rng(1), (4, 5, 8))
    packed = pack(weights, bits, KERNELS[0])
    mapped = jax.vmap(lambda x: fixed.affine(x, packed, bias))(x)
    np.testing.assert_array_equal(mapped, fixed.affine(x, packed, bias))


def test_functions_that_xla_refuses_are_not_taken(monkeypatch):
    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError("the handler's API version is incompatible")

    monkeypatch.setattr(jax.ffi, "register_ffi_target", refuse)
    assert native._registered.__wrapped__("int16") == ()
