"""Differentiable surrogates of quantisation and coding (training spec 2, Surrogates)."""

import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.ops.bounds import lower_bound
from nvc_jax.spec import SCALE_MAX, SCALE_MIN

MIN_LIKELIHOOD = 1e-6


def round_ste(x: Array) -> Array:
    """Round with a straight-through gradient, for the distortion."""
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


def add_uniform_noise(x: Array, key: Array) -> Array:
    """Add U(-0.5, 0.5), for the rate."""
    return x + jax.random.uniform(key, x.shape, x.dtype, -0.5, 0.5)


def likelihood_bits(likelihood: Array) -> Array:
    """Compute -log2 of likelihoods, floored at 1e-6."""
    return -jnp.log2(lower_bound(likelihood, MIN_LIKELIHOOD))


def gaussian_bits(residual: Array, scale: Array) -> Array:
    """Compute the bits of symbols that are `residual` off the mean, under N(0, scale) integrated over +-0.5.

    Scales are bounded as in the coder's table. Evaluated in float32 in the left tail, where erfc is precise.
    """
    scale = jnp.minimum(lower_bound(scale, SCALE_MIN), SCALE_MAX)
    distance = jnp.abs(residual)
    upper = _standard_normal_cdf((0.5 - distance) / scale)
    lower = _standard_normal_cdf((-0.5 - distance) / scale)
    return likelihood_bits(upper - lower)


def _standard_normal_cdf(x: Array) -> Array:
    return 0.5 * jax.lax.erfc(-(2**-0.5) * x)
