"""Bounds that training can push against (training spec 2)."""

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_vjp
def lower_bound(x: Array, bound: float) -> Array:
    """max(x, bound); below the bound only gradients that push x up pass."""
    return jnp.maximum(x, bound)


def _lower_bound_forward(x: Array, bound: float) -> tuple[Array, tuple[Array, float]]:
    return lower_bound(x, bound), (x, bound)


def _lower_bound_backward(saved: tuple[Array, float], g: Array) -> tuple[Array, None]:
    x, bound = saved
    return jnp.where((x >= bound) | (g < 0), g, 0), None


lower_bound.defvjp(_lower_bound_forward, _lower_bound_backward)
