import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.ops.bounds import clamp, lower_bound
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


def test_clamp_lets_gradients_push_back_only():
    gradient = jax.grad(lambda x, sign: sign * clamp(x))
    assert [float(gradient(x, sign)) for x in (0.0, 0.5, 1.0) for sign in (-1.0, 1.0)] == 3 * [-1.0, 1.0]
    assert [float(gradient(x, sign)) for x in (-0.1, 1.1) for sign in (-1.0, 1.0)] == [-1.0, 0.0, 0.0, 1.0]
    np.testing.assert_array_equal(clamp(jnp.array([-1.0, 0.3, 2.0])), np.float32([0.0, 0.3, 1.0]))


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


def bits64(residual, scale):
    upper, lower = (0.5 * math.erfc(-(residual + half) / scale / math.sqrt(2)) for half in (0.5, -0.5))
    return -math.log2(upper - lower)


@pytest.mark.parametrize(("residual", "scale"), [(0.3, 0.5), (-1.2, 0.7), (2.0, 3.0), (0.0, 1.0)])
def test_gradients_of_gaussian_bits_match_float64(residual, scale):
    step = 1e-5  # central differences in float64
    expected = (
        (bits64(residual + step, scale) - bits64(residual - step, scale)) / (2 * step),
        (bits64(residual, scale + step) - bits64(residual, scale - step)) / (2 * step),
    )
    found = jax.grad(gaussian_bits, argnums=(0, 1))(jnp.float32(residual), jnp.float32(scale))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_scales_below_the_bound_are_only_pushed_up():
    gradient = jax.grad(gaussian_bits, argnums=1)
    # A residual of 0.7 costs less under a wider distribution: the gradient is that at the bound and passes.
    at_bound = float(gradient(jnp.float32(0.7), jnp.float32(0.1100001)))
    assert at_bound < 0
    assert float(gradient(jnp.float32(0.7), jnp.float32(0.05))) == pytest.approx(at_bound, rel=1e-3)
    # A residual of 0.45 is nearly certain and costs less under a narrower one, which the table does not have.
    assert float(gradient(jnp.float32(0.45), jnp.float32(0.1100001))) > 0
    assert float(gradient(jnp.float32(0.45), jnp.float32(0.05))) == 0.0


def test_gradient_of_likelihood_bits():
    gradient = jax.grad(likelihood_bits)
    assert float(gradient(jnp.float32(0.25))) == pytest.approx(-1 / (0.25 * math.log(2)), rel=1e-5)
    # below the floor the slope is that of the floor, and it still raises the likelihood
    assert float(gradient(jnp.float32(1e-8))) == pytest.approx(-1 / (1e-6 * math.log(2)), rel=1e-5)


def test_gradient_of_distortion_by_hand():
    """One luma pixel off by e in 2x2: d/de of 0.8 * 3 * (MSEy^10 * 1e-12)^(1/12) + 0.2 * 3 * MSEy, MSEy = e^2 / 4."""
    original = jnp.full((1, 2, 2, 3), 0.5)
    error = 0.2
    decoded = original.at[0, 0, 0, 0].add(error)
    mse = error**2 / 4
    slope_of_mse = 0.8 * 3 * (10 / 12) * mse ** (10 / 12 - 1) * 1e-12 ** (1 / 12) + 0.2 * 3
    gradient = jax.jit(jax.grad(lambda x: distortion(x, original).sum()))(decoded)
    assert float(gradient[0, 0, 0, 0]) == pytest.approx(slope_of_mse * error / 2, rel=1e-4)
    np.testing.assert_allclose(gradient[0, 1, 1], 0.0, atol=1e-6)
