"""The int16 convolutions in C++ equal the plain ones, for any activations and any allowed weights."""

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
affine, wsilu_after, wsilu = (
    jax.jit(f, static_argnums=n) for f, n in ((fixed.affine, ()), (affine_wsilu, ()), (fixed.wsilu, 1))
)
dc_block = jax.jit(fixed.dc_block, static_argnums=2)
pytestmark = pytest.mark.skipif(not int16_functions(), reason="this processor has neither AVX2 nor AVX-512")

# Odd numbers of inputs, padded panels, rows that leave every remainder of a tile; few, as each is compiled.
SHAPES = (1, 3, 1), (33, 16, 5), (128, 70, 29), (300, 40, 12)


def test_xla_takes_the_functions():
    assert KERNELS == tuple(int16_functions())


def numbers(rng, inputs, outputs, largest):
    """Weights with a bounded sum of magnitudes, bits and biases."""
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
    expected = affine(x, exact.prepare(weights, bits, "float64"), bias)
    for kernels, unit in itertools.product(KERNELS, (FIXED_BITS, FIXED_LARGE_BITS)):
        packed = pack(weights, bits, kernels, unit)
        np.testing.assert_array_equal(affine(x, packed, bias), expected)
        np.testing.assert_array_equal(wsilu_after(x, packed, bias), wsilu(expected, unit))


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
    """Several pictures, with more positions than a work item."""
    rng = np.random.default_rng(stride)
    x = activations(rng, (2, 10, 14, 6))
    weights, bits, bias = numbers(rng, 54, 5, 300)
    expected = fixed.convolve3x3(x, exact.prepare(weights, bits, "int32"), bias, stride)
    for kernels in KERNELS:
        np.testing.assert_array_equal(fixed.convolve3x3(x, pack(weights, bits, kernels), bias, stride), expected)


def block(rng, channels, largest, unit=FIXED_BITS, middle=4, strategies=("float64",)):
    """The layers of a DC block, for each strategy of XLA and for each ISA."""
    c, wide = channels, middle * channels
    layers = [numbers(rng, *size, largest) for size in ((c, c), (9, c), (c, c), (c, wide), (wide // 2, c))]

    def prepared(of_matrix, of_taps):
        return BlockLayers(*(
            (of_taps(weights.reshape(3, 3, -1), bits) if i == 1 else of_matrix(weights, bits), bias)
            for i, (weights, bits, bias) in enumerate(layers)
        ))  # fmt: skip

    plain = [prepared(lambda *kernel, s=s: exact.prepare(*kernel, s, unit), exact.prepare_taps) for s in strategies]
    return plain, [
        prepared(lambda *kernel, k=k: pack(*kernel, k, unit), lambda *kernel, k=k: pack_taps(*kernel, k))
        for k in KERNELS
    ]


@pytest.mark.parametrize(
    ("shape", "middle", "shortcut", "unit"),
    [
        ((2, 5, 31, 24), 4, True, FIXED_BITS),
        pytest.param((3, 1, 1, 40), 4, False, FIXED_LARGE_BITS, marks=pytest.mark.slow),
        pytest.param((1, 2, 150, 33), 4, False, FIXED_BITS, marks=pytest.mark.slow),
        ((1, 2, 50, 33), 2, True, FIXED_BITS),
    ],
)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), largest=st.sampled_from([300, 8000]), peak=st.sampled_from([50, 32768]))
def test_blocks_agree(shape, middle, shortcut, unit, seed, largest, peak):
    """Work items begin and end within rows of a picture; halves of the middle do not fill their panels."""
    rng = np.random.default_rng(seed)
    x = activations(rng, shape).clip(-peak, min(peak, 32767))
    (plain,), packed = block(rng, shape[-1], largest, unit, middle)
    expected = dc_block(x, plain, shortcut)
    for layers in packed:
        np.testing.assert_array_equal(dc_block(x, layers, shortcut), expected)


@pytest.mark.parametrize(
    ("channels", "middle", "strategies"),
    [(16, 1, exact.STRATEGIES), (40, 2, exact.STRATEGIES)]
    + [(*case, ("float64", "int8")) for case in [(16, 2), (16, 4), (40, 1), (40, 4)]],
)
def test_every_backend_computes_any_middle(channels, middle, strategies):
    """Strategies of XLA and all ISAs; int8 pads half a middle of 8, 20 or 40 inputs."""
    rng = np.random.default_rng(middle)
    x = activations(rng, (1, 3, 5, channels)).clip(-3000, 3000)
    plain, packed = block(rng, channels, 300, FIXED_BITS, middle, strategies)
    first, *others = (np.asarray(dc_block(x, layers, True)) for layers in plain + packed)
    assert (abs(first.astype(int)) < 32767).mean() > 0.5
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_kernels_of_other_shapes_are_refused():
    rng, x = np.random.default_rng(0), np.zeros((1, 2, 2, 4), np.int16)
    right, wrong = (block(rng, channels, 100)[1][0] for channels in (4, 5))
    fixed.dc_block(x, right, False)
    calls = [lambda: fixed.affine(x, *wrong.first), lambda: fixed.convolve3x3(x, *wrong.first, 1)]
    student = block(rng, 4, 100, middle=2)[1][0]
    odd = pack(*numbers(rng, 4, 15, 100)[:2], KERNELS[0]), np.zeros(15, np.int32)
    for name, layer in (
        *((name, getattr(wrong, name)) for name in ("depthwise", "project", "widen", "narrow")),
        *(("widen", layer) for layer in (student.widen, odd)),
        ("narrow", student.narrow),
    ):
        layers = right._replace(**{name: layer})
        calls.append(lambda layers=layers: fixed.dc_block(x, layers, False))
    refusal = jax.errors.JaxRuntimeError, ValueError  # the latter by JAX from a program that it has compiled before
    for call in calls:
        with pytest.raises(refusal, match="shape mismatch: the kernel was packed for other act"):
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
