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


@jax.custom_vjp
def clamp(x: Array) -> Array:
    """To 0..1; outside, only gradients that push x back pass."""
    return jnp.clip(x, 0.0, 1.0)


def _clamp_forward(x: Array) -> tuple[Array, Array]:
    return clamp(x), x


def _clamp_backward(x: Array, g: Array) -> tuple[Array]:
    return (jnp.where(((x >= 0) | (g < 0)) & ((x <= 1) | (g > 0)), g, 0),)


clamp.defvjp(_clamp_forward, _clamp_backward)
