"""Choice of the arithmetic of a computation by the dtype of its activations."""

from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from nvc_jax.ops import fixed, floating
from nvc_jax.ops.block import BlockLayers
from nvc_jax.spec import FIXED_SCALE


class Arithmetic(Protocol):
    """The functions that the modules `floating` and `fixed` share and document, so that a network is written once.

    A kernel is an array (in `fixed` an `ExactKernel`), or prepacked for `native_floating` or `native_int16`. In `fixed`
    a reciprocal is a `Reciprocal`.
    """

    def affine(self, x: Array, kernel: Any, bias: Array) -> Array: ...  # noqa: D102
    def convolve3x3(self, x: Array, kernel: Any, bias: Array, stride: int) -> Array: ...  # noqa: D102
    def dc_block(self, x: Array, layers: BlockLayers, shortcut: bool) -> Array: ...  # noqa: D102
    def add(self, a: Array, b: Array) -> Array: ...  # noqa: D102
    def multiply(self, x: Array, gain: Any) -> Array: ...  # noqa: D102
    def position_gain(self, x: Array) -> Array: ...  # noqa: D102
    def at_least(self, x: Array, bound: float) -> Array: ...  # noqa: D102
    def reciprocal(self, x: Array) -> Any: ...  # noqa: D102
    def interpolate(self, bank: Array, position: Array) -> Array: ...  # noqa: D102
    def clamp_picture(self, x: Array) -> Array: ...  # noqa: D102
    def widen(self, x: Array) -> Array: ...  # noqa: D102
    def to_symbols(self, x: Array, mean: Array) -> Array: ...  # noqa: D102
    def from_symbols(self, symbols: Array, mean: Array) -> Array: ...  # noqa: D102
    def table_indexes(self, scale: Array, skip_threshold: Array) -> Array: ...  # noqa: D102
    def to_uint8(self, total: Array, count: int = 1) -> Array: ...  # noqa: D102


def arithmetic(x: Array) -> Arithmetic:
    """The functions for activations of this dtype: `fixed` for int16, `floating` for all others."""
    return fixed if x.dtype == jnp.int16 else floating


def to_precision(x: Array, dtype: DTypeLike) -> Array:
    """Convert to another precision; between real numbers and int16 the unit changes too."""
    if dtype == x.dtype:
        return x
    if dtype == jnp.int16:
        return fixed.from_real(x)
    if x.dtype == jnp.int16:
        return x.astype(dtype) / FIXED_SCALE
    return x.astype(dtype)
