"""The convolutions in C++ give the integers of the plain ones, for any activations and any allowed weights."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exact import activations, extreme

from native_coder import int16_functions  # noqa: TID251
from nvc_jax.ops import exact, fixed, native
from nvc_jax.ops.exact import WEIGHT_MAX
from nvc_jax.spec import FIXED_BITS, FIXED_LARGE_BITS

KERNELS = tuple(int16_functions())
pytestmark = pytest.mark.skipif(not KERNELS, reason="this processor has neither AVX2 nor AVX-512")

UNITS = st.sampled_from([FIXED_BITS, FIXED_LARGE_BITS])

# Odd numbers of inputs, panels that are filled up, numbers of rows with all kinds of rest; few, as each is compiled.
SHAPES = (1, 3, 1), (33, 16, 5), (128, 70, 29), (300, 40, 12)


def test_xla_takes_the_functions():
    assert native.available() == KERNELS


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
    expected = fixed.affine(x, exact.prepare(weights, bits, "int32"), bias)
    for kernels, unit in itertools.product(KERNELS, (FIXED_BITS, FIXED_LARGE_BITS)):
        packed = native.pack(weights, bits, kernels, unit)
        np.testing.assert_array_equal(fixed.affine(x, packed, bias), expected)
        np.testing.assert_array_equal(fixed.affine_wsilu(x, packed, bias), fixed.wsilu(expected, unit))


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_agree(sign):
    weights, bits = np.full((128, 33), sign * WEIGHT_MAX, np.int16), np.full(33, 20, np.uint8)
    x = np.array([[-32768] * 128, [32767] * 128, [-1, 1] * 64], np.int16)
    bias = np.full(33, sign << 28, np.int32)
    expected = fixed.affine(x, exact.prepare(weights, bits, "int32"), bias)
    for kernels in KERNELS:
        np.testing.assert_array_equal(fixed.affine(x, native.pack(weights, bits, kernels), bias), expected)


def test_wsilu_of_every_number():
    """With a weight of one."""
    x = np.arange(-32768, 32768).astype(np.int16).reshape(-1, 1)
    for kernels, unit in itertools.product(KERNELS, (FIXED_BITS, FIXED_LARGE_BITS)):
        packed = native.pack(np.array([[1 << 13]], np.int16), np.array([13], np.uint8), kernels, unit)
        np.testing.assert_array_equal(native.affine_wsilu(x, packed, np.zeros(1, np.int32)), fixed.wsilu(x, unit))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(2, 1, 1, 40), (1, 5, 6, 33), (1, 3, 2, 64)]),
    largest=st.sampled_from([300, WEIGHT_MAX]),
    peak=st.sampled_from([50, 32768]),
)
def test_depthwise_convolutions_agree(seed, shape, largest, peak):
    rng = np.random.default_rng(seed)
    x = activations(rng, shape).clip(-peak, min(peak, 32767))
    weights, bits, bias = numbers(rng, 9, shape[-1], largest)
    weights = weights.reshape(3, 3, -1)
    expected = fixed.depthwise3x3(x, exact.prepare_taps(weights, bits), bias)
    for kernels in KERNELS:
        ours = fixed.depthwise3x3(x, native.pack_taps(weights, bits, kernels), bias)
        np.testing.assert_array_equal(ours, expected)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), largest=st.sampled_from([300, 8000]), shortcut=st.booleans(), unit=UNITS)
def test_second_halves_of_blocks_agree(seed, largest, shortcut, unit):
    """More rows than one piece of work has."""
    channels, rng = 24, np.random.default_rng(seed)
    h, x = (activations(rng, (1, 7, 31, channels)) for _ in range(2))
    sizes = (channels, channels), (channels, 4 * channels), (2 * channels, channels)
    layers = [numbers(rng, *size, largest) for size in sizes]
    project, widen, narrow = [(exact.prepare(weights, bits, "int32", unit), bias) for weights, bits, bias in layers]
    projected = fixed.add(fixed.affine(h, *project), x)
    first, second = np.split(np.asarray(fixed.affine_wsilu(projected, *widen)), 2, axis=-1)
    expected = fixed.add(projected, fixed.affine(fixed.add(first, second), *narrow))
    expected = fixed.add(expected, x) if shortcut else expected
    for kernels in KERNELS:
        packed = [(native.pack(weights, bits, kernels, unit), bias) for weights, bits, bias in layers]
        np.testing.assert_array_equal(native.second_half(h, x, packed, shortcut), expected)


def test_kernels_of_other_shapes_are_refused():
    def packed(inputs, outputs):
        kernel = native.pack(np.ones((inputs, outputs), np.int16), np.full(outputs, 13, np.uint8), KERNELS[0])
        return kernel, np.zeros(outputs, np.int32)

    x = np.zeros((1, 2, 2, 4), np.int16)
    taps = native.pack_taps(np.ones((3, 3, 5), np.int16), np.full(5, 13, np.uint8), KERNELS[0])
    right = packed(4, 4), packed(4, 16), packed(8, 4)
    native.second_half(x, x, right, False)
    calls = [lambda: native.affine(x, *packed(7, 3)), lambda: native.depthwise3x3(x, taps, np.zeros(5, np.int32))]
    for i, wrong in enumerate((packed(4, 8), packed(4, 12), packed(8, 40))):
        layers = [*right[:i], wrong, *right[i + 1 :]]
        calls.append(lambda layers=layers: native.second_half(x, x, layers, False))
    for call in calls:
        with pytest.raises(jax.errors.JaxRuntimeError, match="the kernel is not for such inputs"):
            call()


def test_vmap():
    weights, bits, bias = numbers(np.random.default_rng(0), 8, 3, 300)
    x = activations(np.random.default_rng(1), (4, 5, 8))
    packed = native.pack(weights, bits, KERNELS[0])
    mapped = jax.vmap(lambda x: fixed.affine(x, packed, bias))(x)
    np.testing.assert_array_equal(mapped, fixed.affine(x, packed, bias))


def test_functions_that_xla_refuses_are_not_taken(monkeypatch):
    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError("the handler's API version is incompatible")

    monkeypatch.setattr(jax.ffi, "register_ffi_target", refuse)
    assert native.available.__wrapped__() == ()
