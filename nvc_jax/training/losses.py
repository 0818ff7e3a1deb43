"""Rate-distortion loss (training spec 2)."""

import math

import jax.numpy as jnp
from jax import Array

from nvc_jax.ops.colour import ycbcr_to_rgb
from nvc_jax.spec import QP_LEVELS

MSE_FLOOR = 1e-6
YUV_SHARE = 0.8  # the rest is RGB


def rate_weight(qp: Array, low: float, high: float) -> Array:
    """Compute lambda of a base qp, log-linear from `low` at qp 0 to `high` at qp 63."""
    share = qp / (QP_LEVELS - 1)
    return jnp.exp(math.log(low) + share * (math.log(high) - math.log(low)))


def distortion(decoded: Array, original: Array) -> Array:
    """Compute 0.8 * 3 * (MSEy^10 MSEu MSEv)^(1/12) + 0.2 * (sum of the R, G and B MSEs).

    Args:
        decoded: [B, H, W, 3] YCbCr in 0..1.
        original: the same.

    Returns:
        [B].
    """
    mse = jnp.maximum(_mse(decoded, original), MSE_FLOOR)
    yuv = 3.0 * jnp.exp((10.0 * jnp.log(mse[:, 0]) + jnp.log(mse[:, 1]) + jnp.log(mse[:, 2])) / 12.0)
    rgb = _mse(ycbcr_to_rgb(decoded), ycbcr_to_rgb(original)).sum(axis=-1)
    return YUV_SHARE * yuv + (1.0 - YUV_SHARE) * rgb


def _mse(a: Array, b: Array) -> Array:
    return jnp.square(a - b).mean(axis=(1, 2))
