"""The int16 arithmetic, against its definition in docs/INT16.md computed with Python's and NumPy's wide integers."""

import hashlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_jax.ops import colour, fixed, fixed_tables, floating
from nvc_jax.ops.arithmetic import to_precision
from nvc_jax.ops.exact import STRATEGIES, WEIGHT_MAX, prepare, prepare_taps
from nvc_jax.spec import NOT_CODED, SCALE_LEVELS

ALL = np.arange(-32768, 32768).astype(np.int16)
DOCUMENT = Path(__file__).parents[2] / "docs" / "INT16.md"


def rounded(x, bits):
    """Half away from zero, by magnitude and sign."""
    x = np.asarray(x, np.int64)
    return np.sign(x) * ((np.abs(x) + (1 << (bits - 1))) >> bits)


def saturated(x):
    return np.clip(x, -32768, 32767)


def test_tables_are_those_of_the_document():
    wsilu = [fixed_tables.wsilu_deficits(unit) for unit in (9, 8)]
    tables = (*wsilu, fixed_tables.gain_offsets().astype("<i2"), fixed_tables.scale_rows())
    hashes = [hashlib.sha256(table.tobytes()).hexdigest() for table in tables]
    assert hashes == re.findall(r"`([0-9a-f]{64})`", DOCUMENT.read_text())


def test_no_table_entry_is_near_another_integer():
    """So the last digits of a platform's exponential do not matter: double precision has 1e-12 here."""
    for exact in (*map(fixed_tables.exact_wsilu_deficits, (9, 8)), fixed_tables.exact_gain_offsets()):
        assert np.abs(exact - np.floor(exact) - 0.5).min() > 7e-6
    rows = fixed_tables.exact_scale_rows()
    assert np.abs(rows - np.round(rows)).min() > 1e-5


@pytest.mark.parametrize("unit", [9, 8])
def test_wsilu_of_every_number(unit):
    exact = 2**unit * np.asarray(floating.wsilu(ALL.astype(np.float64) / 2**unit), np.float64)
    ours = np.asarray(fixed.wsilu(ALL, unit))
    assert np.abs(ours - exact).max() < 0.5 + 1e-3  # float32 noise at large numbers
    deficits = fixed_tables.wsilu_deficits(unit).astype(int)
    deficits = deficits[np.minimum(np.abs(ALL.astype(int)), 2 ** (unit + 1) - 1)]
    np.testing.assert_array_equal(ours, np.maximum(ALL, 0) - deficits)


def test_position_gain_of_every_number():
    exact = 512 * np.asarray(floating.position_gain(ALL.astype(np.float32) / 512))
    ours = np.asarray(fixed.position_gain(ALL))
    assert np.abs(ours - exact).max() <= 0.5 + 1e-3
    assert (ours.min(), ours.max()) == (256, 1024)


def test_reciprocal_of_every_quant_step():
    steps = np.asarray(fixed.at_least(ALL, 0.5))
    np.testing.assert_array_equal(steps, np.maximum(ALL, 256))
    for numerator in (-32768, -1, 0, 3, 77, 32767):
        exact = 512 * numerator / steps.astype(np.float64)  # ties are exact in double precision
        expected = saturated(np.sign(exact) * np.floor(np.abs(exact) + 0.5))
        x = np.full_like(steps, numerator)
        np.testing.assert_array_equal(fixed.multiply(x, fixed.reciprocal(steps)), expected)


@pytest.mark.parametrize(("threshold", "skipped"), [(-512, 0), (61, 61), (16 * 512, 65536)])
def test_table_indexes_of_every_scale(threshold, skipped):
    ours = np.asarray(fixed.table_indexes(ALL, np.int32(threshold)))
    coded = np.clip(ALL, 56, 8192) > threshold
    np.testing.assert_array_equal(ours == NOT_CODED, ~coded)
    inner = coded & (ALL > 56) & (ALL < 8192)
    exact = np.asarray(floating.table_indexes(ALL.astype(np.float32) / 512, -1.0)).astype(int)
    assert np.abs(ours[inner].astype(int) - exact[inner]).max(initial=0) <= 1  # float32 at the edges of rows
    np.testing.assert_array_equal(ours[coded & (ALL <= 56)], 0)
    np.testing.assert_array_equal(ours[coded & (ALL >= 8192)], SCALE_LEVELS - 1)


def test_samples_come_and_go():
    samples = np.arange(256)
    entered = np.asarray(fixed.from_real(samples.astype(np.float32) / np.float32(255)))
    np.testing.assert_array_equal(entered, (1024 * samples + 255) // 510)
    np.testing.assert_array_equal(fixed.to_uint8(entered), samples)
    np.testing.assert_array_equal(fixed.to_uint8(ALL), np.clip(np.floor(ALL / 512 * 255 + 0.5), 0, 255))


def test_samples_enter_and_leave_fine_pictures():
    samples = np.arange(256)
    entered = to_precision(samples.astype(np.float32) / np.float32(255), jnp.uint16)
    np.testing.assert_array_equal(entered, (8192 * samples + 255) // 510)
    picture = np.broadcast_to(entered[None, :, None], (1, 256, 3)).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(colour.picture_to_planes(picture)[0].ravel(), samples)
    every = np.arange(4097).astype(np.uint16)
    expected = np.floor(every / 4096 * 255 + 0.5)
    np.testing.assert_array_equal(fixed.to_uint8(every, 4096), expected)
    np.testing.assert_array_equal(to_precision(every, jnp.int16), (every.astype(int) + 4) // 8)
    np.testing.assert_array_equal(to_precision(every, jnp.float32), every / np.float32(4096))
    assert fixed.to_picture(np.array([-3, 4000, 5000], np.int16), fine=True).tolist() == [0, 4000, 4096]


@pytest.mark.parametrize(("white", "dtype"), [(512, np.int16), (4096, np.uint16)])
def test_rgb_is_that_of_real_numbers(white, dtype):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, white + 1, (1, 40, 40, 3)).astype(dtype)
    picture[0, :2] = np.array([[0, 0, 0], [0, white, white]])[:, None] * np.ones(40, int)[:, None]
    picture[0, 2, :8] = np.array(np.meshgrid(*[[0, white]] * 3)).reshape(3, 8).T
    real = colour.picture_to_rgb(picture.astype(np.float32) / white)
    assert np.abs(np.asarray(colour.picture_to_rgb(picture), int) - np.asarray(real, int)).max() <= 1
    luma, u, v = np.moveaxis(picture.astype(np.int64), -1, 0)
    u, v = u - white // 2, v - white // 2
    exact = np.stack([4096 * luma + 6450 * v, 4096 * luma - 767 * u - 1917 * v, 4096 * luma + 7601 * u], axis=-1)
    exact = (exact + 4) >> 3 if white == 4096 else exact
    np.testing.assert_array_equal(colour.picture_to_rgb(picture), np.clip((255 * exact + (1 << 20)) >> 21, 0, 255))
    grey = np.full((1, 2, 2, 3), white // 2, dtype)
    np.testing.assert_array_equal(colour.picture_to_rgb(grey), 128)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_elementwise_operations(seed):
    rng = np.random.default_rng(seed)
    a, b = (np.where(rng.random(400) < 0.3, rng.choice([-32768, 32767, 0, 256, -256], 400), rng.choice(ALL, 400))
            for _ in range(2))  # fmt: skip
    x, y, wide_x, wide_y = a.astype(np.int16), b.astype(np.int16), a.astype(np.int64), b.astype(np.int64)
    np.testing.assert_array_equal(fixed.add(x, y), saturated(wide_x + wide_y))
    np.testing.assert_array_equal(fixed.multiply(x, y), saturated(rounded(wide_x * wide_y, 9)))
    symbols = np.asarray(fixed.to_symbols(x, y))
    np.testing.assert_array_equal(symbols, np.clip(rounded(wide_x - wide_y, 8), -128, 127))
    np.testing.assert_array_equal(fixed.from_symbols(symbols, y), saturated(256 * symbols.astype(np.int64) + wide_y))


def test_interpolation_between_qps():
    bank = np.array([[512, -512], [513, -513], [32767, -32767]], np.int16)
    ours = np.asarray(fixed.interpolate(bank, np.array([0, 0.5, 1.25, 2, 0.25], np.float32)))
    exact = [[512, -512], [513, -513], [8577, -8577], [32767, -32767], [512, -512]]  # 8576.5 is away from zero
    np.testing.assert_array_equal(ours, exact)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), strategy=st.sampled_from(sorted(STRATEGIES)))
def test_convolutions_round_and_saturate(seed, strategy):
    """Ties, both signs, and results beyond int16."""
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array([-32768, -4096, -1, 0, 1, 3, 4096, 32767], np.int16), (20, 16))
    weights = rng.choice(np.array([-WEIGHT_MAX, -8192, -1, 0, 1, 2, 8192, WEIGHT_MAX], np.int16), (16, 8))
    weights[:, ::2] = np.sign(weights[:, ::2])  # small sums, so that ties are met
    bias = rng.choice(np.array([-(1 << 28), -4096, -1, 0, 4096, 1 << 28], np.int32), 8)
    bits = rng.integers(9, 21, 8).astype(np.uint8)
    total = x.astype(np.int64) @ weights.astype(np.int64) + bias
    ours = np.asarray(jax.jit(fixed.affine)(x, prepare(weights, bits, strategy), bias))
    np.testing.assert_array_equal(ours, saturated(rounded(total, bits.astype(int))))


def test_convolutions_of_neighbourhoods():
    """Full 3x3 with both strides, and depthwise, against sums over padded pictures."""
    rng = np.random.default_rng(3)
    x = rng.integers(-32768, 32768, (2, 6, 8, 5)).astype(np.int16)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.int64)
    taps = [padded[:, i : i + 6, j : j + 8] for i in range(3) for j in range(3)]
    weights = rng.integers(-300, 300, (3, 3, 5, 4)).astype(np.int16)
    bias = rng.integers(-(1 << 24), 1 << 24, 5).astype(np.int32)
    total = sum(tap @ w.astype(np.int64) for tap, w in zip(taps, weights.reshape(9, 5, 4), strict=True)) + bias[:4]
    expected = saturated(rounded(total, 13))
    kernel, convolve = (
        prepare(weights, np.full(4, 13, np.uint8), "float32"),
        jax.jit(fixed.convolve3x3, static_argnums=3),
    )
    np.testing.assert_array_equal(convolve(x, kernel, bias[:4], 1), expected)
    np.testing.assert_array_equal(convolve(x, kernel, bias[:4], 2), expected[:, ::2, ::2])
    depthwise = rng.integers(-9000, 9000, (3, 3, 5)).astype(np.int16)
    total = sum(tap * w.astype(np.int64) for tap, w in zip(taps, depthwise.reshape(9, 5), strict=True)) + bias
    ours = jax.jit(fixed.depthwise3x3)(x, prepare_taps(depthwise, np.full(5, 13, np.uint8)), bias)
    np.testing.assert_array_equal(ours, saturated(rounded(total, 13)))
