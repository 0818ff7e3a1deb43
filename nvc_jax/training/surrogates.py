"""What stands in for quantisation and coding while training (training spec 2, Surrogates)."""

import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.ops.bounds import lower_bound
from nvc_jax.spec import SCALE_MAX, SCALE_MIN

MIN_LIKELIHOOD = 1e-6


def round_ste(x: Array) -> Array:
    """Rounding with the gradient of the identity; used on the way to the picture."""
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


def add_uniform_noise(x: Array, key: Array) -> Array:
    """X + U(-0.5, 0.5); used on the way to the rate."""
    return x + jax.random.uniform(key, x.shape, x.dtype, -0.5, 0.5)


def likelihood_bits(likelihood: Array) -> Array:
    """-log2 of probabilities, floored at 1e-6."""
    return -jnp.log2(lower_bound(likelihood, MIN_LIKELIHOOD))


def gaussian_bits(residual: Array, scale: Array) -> Array:
    """Bits of a symbol whose deviation from the mean is `residual`, under N(0, scale) integrated over +-0.5.

    Scales are bounded as in the coder's table. Evaluated in the left tail, where erfc keeps its precision; float32.
    """
    scale = jnp.minimum(lower_bound(scale, SCALE_MIN), SCALE_MAX)
    distance = jnp.abs(residual)
    upper = _standard_normal_cdf((0.5 - distance) / scale)
    lower = _standard_normal_cdf((-0.5 - distance) / scale)
    return likelihood_bits(upper - lower)


def _standard_normal_cdf(x: Array) -> Array:
    return 0.5 * jax.lax.erfc(-(2**-0.5) * x)
