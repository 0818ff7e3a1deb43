"""Exact products: every strategy gives the integers of int64, for any activations and any allowed weights."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_jax.errors import ModelError
from nvc_jax.ops import exact
from nvc_jax.ops.exact import CHANNEL_MAX, STRATEGIES, WEIGHT_MAX, product, tap_product

POSITIONS = 6
SHAPES = (1, 3), (40, 8), (128, 5)  # of kernels: few, so that little is compiled

jitted = jax.jit(product)


def extreme(rng, shape, largest):
    """Integers of all sizes, with many at the ends of the range."""
    sizes = 2.0 ** rng.uniform(0, np.log2(largest + 1), shape)
    values = np.sign(rng.standard_normal(shape)) * np.minimum(np.floor(sizes), largest)
    ends = rng.choice([-largest, largest, 0], shape)
    return np.where(rng.random(shape) < rng.random(), ends, values).astype(np.int64)


def prepare(weights, strategy):
    return exact.prepare(weights, np.full(weights.shape[-1], 13, np.uint8), strategy)


def prepare_taps(weights):
    return exact.prepare_taps(weights, np.full(weights.shape[-1], 13, np.uint8))


def activations(rng, shape):
    return np.maximum(extreme(rng, shape, 32768), -32768).clip(max=32767).astype(np.int16)


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=st.sampled_from(SHAPES))
def test_products_are_exact(strategy, seed, shape):
    rng = np.random.default_rng(seed)
    x, weights = activations(rng, (POSITIONS, shape[0])), extreme(rng, shape, WEIGHT_MAX).astype(np.int16)
    total = jitted(x, prepare(weights, strategy))
    expected = x.astype(np.int64) @ weights.astype(np.int64)
    np.testing.assert_array_equal(256 * np.asarray(total.high, np.int64) + np.asarray(total.low), expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_are_exact(strategy, sign):
    """128 inputs at the end of their range and weights at theirs, all terms of one sign."""
    weights = np.full((128, 2), WEIGHT_MAX, np.int16)
    x = np.array([[-32768] * 128, [32767] * 128], np.int16)
    total = jitted(x, prepare(sign * weights, strategy))
    expected = x.astype(np.int64) @ (sign * weights.astype(np.int64))
    np.testing.assert_array_equal(256 * np.asarray(total.high, np.int64) + np.asarray(total.low), expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_blocks_hold_the_worst_sum(strategy):
    """Each accumulator is bounded by the magnitudes of the weights themselves."""
    plan = STRATEGIES[strategy]
    weights = extreme(np.random.default_rng(1), (128, 4), WEIGHT_MAX).astype(np.int16)
    kernel = prepare(weights, strategy)
    assert sum(planes[0].shape[0] for planes in kernel.blocks) == 128
    for planes in kernel.blocks:
        for plane, reach in zip(planes, plan.reaches, strict=True):
            assert reach * np.abs(np.asarray(plane, np.float64)).sum(axis=0).max() <= plan.limit
    assert (len(kernel.blocks) > 1) == (strategy in ("int32", "float32"))


def test_small_weights_take_one_block():
    weights = np.full((256, 4), 200, np.int16)  # sums of magnitudes of 6 in real numbers, as trained kernels have
    assert {len(prepare(weights, strategy).blocks) for strategy in STRATEGIES} == {1}


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_taps_are_exact(seed):
    rng = np.random.default_rng(seed)
    taps, weights = activations(rng, (9, POSITIONS, 8)), extreme(rng, (3, 3, 8), WEIGHT_MAX).astype(np.int16)
    total = tap_product(list(jax.numpy.asarray(taps)), prepare_taps(weights))
    expected = (taps.astype(np.int64) * weights.reshape(9, 1, 8).astype(np.int64)).sum(axis=0)
    np.testing.assert_array_equal(256 * np.asarray(total.high, np.int64) + np.asarray(total.low), expected)


def test_weights_without_a_bound_are_refused():
    too_many = np.full((CHANNEL_MAX // WEIGHT_MAX + 1, 2), WEIGHT_MAX, np.int16)
    with pytest.raises(ModelError, match="channel 0 have magnitudes that sum to 4210431"):
        exact.check(too_many, np.full(2, 13, np.uint8))
    with pytest.raises(ModelError, match="have 8 to 8 fractional bits; 9 to 20 are allowed"):
        exact.check(np.ones((3, 3, 1), np.int16), np.array([8], np.uint8))
    with pytest.raises(ModelError, match="magnitude 32640; the largest allowed is 32639"):
        exact.check(np.full((3, 3, 1), WEIGHT_MAX + 1, np.int16), np.array([13], np.uint8))
