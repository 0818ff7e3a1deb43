"""Choice of the arithmetic of a computation by the dtype of its activations."""

from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from nvc_jax.ops import fixed, floating
from nvc_jax.ops.block import BlockLayers


class Arithmetic(Protocol):
    """The functions that the modules `floating` and `fixed` share and document, so that a network is written once.

    A kernel is an array (in `fixed` an `ExactKernel`), or prepacked for `native_floating` or `native_int16`. In `fixed`
    a reciprocal is a `Reciprocal`.
    """

    def affine(self, x: Array, kernel: Any, bias: Array) -> Array: ...  # noqa: D102
    def convolve3x3(self, x: Array, kernel: Any, bias: Array, stride: int) -> Array: ...  # noqa: D102
    def dc_block(self, x: Array, layers: BlockLayers, shortcut: bool) -> Array: ...  # noqa: D102
    def add(self, a: Array, b: Array) -> Array: ...  # noqa: D102
    def difference(self, a: Array, b: Array) -> Array: ...  # noqa: D102
    def multiply(self, x: Array, gain: Any) -> Array: ...  # noqa: D102
    def position_gain(self, x: Array) -> Array: ...  # noqa: D102
    def at_least(self, x: Array, bound: float) -> Array: ...  # noqa: D102
    def reciprocal(self, x: Array) -> Any: ...  # noqa: D102
    def interpolate(self, bank: Array, position: Array) -> Array: ...  # noqa: D102
    def to_picture(self, x: Array, fine: bool = False) -> Array: ...  # noqa: D102
    def widen(self, x: Array) -> Array: ...  # noqa: D102
    def to_symbols(self, x: Array, mean: Array) -> Array: ...  # noqa: D102
    def from_symbols(self, symbols: Array, mean: Array) -> Array: ...  # noqa: D102
    def table_indexes(self, scale: Array, skip_threshold: Array) -> Array: ...  # noqa: D102
    def to_uint8(self, x: Array, white: int = 1) -> Array: ...  # noqa: D102


def arithmetic(x: Array) -> Arithmetic:
    """The functions for activations or pictures of this dtype: `fixed` for integers, `floating` for all others."""
    return fixed if jnp.issubdtype(x.dtype, jnp.integer) else floating


def to_precision(x: Array, dtype: DTypeLike) -> Array:
    """Convert to another precision; between real numbers, int16 and uint16 (fine pictures) the unit changes too."""
    if dtype == x.dtype:
        return x
    if x.dtype == jnp.uint16 and dtype == jnp.int16:
        return fixed.coarse(x).astype(dtype)
    if jnp.issubdtype(x.dtype, jnp.integer):
        return x.astype(dtype) / fixed.one(x.dtype)
    if jnp.issubdtype(dtype, jnp.integer):
        return fixed.from_real(x, dtype)
    return x.astype(dtype)


def as_read(pictures: Array, dtype: DTypeLike) -> Array:
    """Pictures as networks of this precision read them: fine ones as int16 in 1/4096, `Network.fixed_units` knows."""
    fine = pictures.dtype == jnp.uint16 and dtype == jnp.int16
    return pictures.astype(dtype) if fine else to_precision(pictures, dtype)
