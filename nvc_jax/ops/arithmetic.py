"""Which arithmetic a computation is in: the dtype of its numbers tells."""

from types import ModuleType

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from nvc_jax.ops import fixed, floating


def arithmetic(x: Array) -> ModuleType:
    """The module that computes on such numbers: `fixed` for int16, `floating` for all others.

    Both have the same functions, so that a network is written once: affine, convolve3x3, depthwise3x3, add, multiply,
    wsilu, position_gain, at_least, reciprocal, interpolate, clamp_picture, widen, to_symbols, from_symbols,
    table_indexes, to_uint8.
    """
    return fixed if x.dtype == jnp.int16 else floating


def to_precision(x: Array, dtype: DTypeLike) -> Array:
    """Numbers in another precision; from real numbers to int16 is a change of units too."""
    if dtype == jnp.int16 and x.dtype != jnp.int16:
        return fixed.from_real(x)
    return x.astype(dtype)
