"""Parameters with fewer significant bits, as models are exported."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from nvc_jax.models.params import ParamTree


def rounded(params: ParamTree, significant_bits: int) -> ParamTree:
    """Round parameters, float32, to a number of significant bits; up to 11 of them to what float16 holds."""
    last = -24 if significant_bits <= 11 else -149  # exponent of the smallest number: of float16, of float32

    def round_leaf(leaf: Array) -> Array:
        quantum = jnp.maximum(jnp.frexp(leaf)[1] - significant_bits, last)
        return jnp.ldexp(jnp.round(jnp.ldexp(leaf, -quantum)), quantum)

    return jax.tree.map(round_leaf, params)


def straight_through(params: ParamTree, significant_bits: int) -> ParamTree:
    """Round parameters as `rounded` does, with the gradient of the identity."""
    exact = rounded(jax.tree.map(lax.stop_gradient, params), significant_bits)
    return jax.tree.map(lambda leaf, value: leaf + (value - lax.stop_gradient(leaf)), params, exact)
