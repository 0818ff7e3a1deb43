import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.ops.bounds import lower_bound
from nvc_jax.training.losses import distortion, rate_weight
from nvc_jax.training.surrogates import add_uniform_noise, gaussian_bits, likelihood_bits, round_ste


def test_rate_weight_is_log_linear():
    weights = rate_weight(jnp.array([0.0, 31.5, 63.0]), 1.0, 768.0)
    np.testing.assert_allclose(weights, [1.0, math.sqrt(768.0), 768.0], rtol=1e-5)


def test_distortion_by_hand():
    original = jnp.full((1, 2, 2, 3), 0.5)
    decoded = original + jnp.array([0.1, 0.2, 0.4])
    yuv = 3.0 * (0.01**10 * 0.04 * 0.16) ** (1 / 12)
    # BT.709: R = Y + 1.5748 Cr, B = Y + 1.8556 Cb, G = Y - 0.187324 Cb - 0.468124 Cr
    errors = (0.1 + 1.5748 * 0.4, 0.1 + 1.8556 * 0.2, 0.1 - 0.187324 * 0.2 - 0.468124 * 0.4)
    expected = 0.8 * yuv + 0.2 * sum(error**2 for error in errors)
    np.testing.assert_allclose(distortion(decoded, original), [expected], rtol=1e-5)


def test_distortion_has_a_floor():
    same = jnp.full((1, 2, 2, 3), 0.5)
    # every MSE is floored at 1e-6, so the geometric mean is too; the RGB term is 0
    np.testing.assert_allclose(distortion(same, same), [0.8 * 3e-6], rtol=1e-4)


@pytest.mark.parametrize("scale", [0.05, 0.11, 0.7, 5.0])
@pytest.mark.parametrize("residual", [0.0, -0.4, 1.3, -3.0])
def test_gaussian_bits_match_float64(residual, scale):
    sigma = max(scale, 0.11)
    upper, lower = (0.5 * math.erfc(-(residual + half) / sigma / math.sqrt(2)) for half in (0.5, -0.5))
    expected = -math.log2(max(upper - lower, 1e-6))
    bits = gaussian_bits(jnp.float32(residual), jnp.float32(scale))
    assert float(bits) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_lower_bound_lets_gradients_push_up_only():
    gradient = jax.grad(lambda x, sign: sign * lower_bound(x, 1.0))
    assert gradient(2.0, 1.0) == 1.0  # above the bound: as it is
    assert gradient(0.5, 1.0) == 0.0  # below, descent would lower x: blocked
    assert gradient(0.5, -1.0) == -1.0  # below, descent raises x: passes


def test_straight_through_rounding():
    x = jnp.array([0.4, 0.5, 1.5, -0.6])
    np.testing.assert_array_equal(round_ste(x), [0.0, 0.0, 2.0, -1.0])  # half to even
    np.testing.assert_array_equal(jax.grad(lambda x: round_ste(x).sum())(x), np.ones(4))


def test_noise_is_uniform_and_reproducible():
    x = jnp.zeros(10_000)
    noise = add_uniform_noise(x, jax.random.key(0))
    assert float(jnp.abs(noise).max()) <= 0.5
    assert float(noise.var()) == pytest.approx(1 / 12, rel=0.05)
    np.testing.assert_array_equal(noise, add_uniform_noise(x, jax.random.key(0)))


def test_likelihood_is_floored():
    assert float(likelihood_bits(jnp.float32(0.0))) == pytest.approx(-math.log2(1e-6), rel=1e-6)
