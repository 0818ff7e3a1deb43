"""The int16 arithmetic (docs/INT16.md): the same functions as `floating`, on exact integers.

Pictures, gains, quantisation steps and scales are int16 in units of 1/512, latents and means in 1/256, and activations
in either (models/units.py); fine pictures are uint16 in 1/4096. Accumulators are bounded beforehand and results
saturated to int16, so no step depends on wrap-around or on the order of a sum.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax
from jax.typing import DTypeLike

from nvc_jax.ops import native_int16
from nvc_jax.ops.block import BlockLayers
from nvc_jax.ops.depthwise import taps
from nvc_jax.ops.exact import ExactKernel, Wide, product, tap_product
from nvc_jax.ops.fixed_tables import GAIN_SIZE, SCALE_HIGH, SCALE_LOW, gain_offsets, scale_rows, wsilu_table
from nvc_jax.ops.native_int16 import PackedKernel
from nvc_jax.ops.rows import by_rows
from nvc_jax.spec import FIXED_BITS, FIXED_FINE_BITS, FIXED_LARGE_BITS, FIXED_SCALE, NOT_CODED

Kernel = ExactKernel | PackedKernel
ONE = FIXED_SCALE
QP_FRACTIONS = 256  # a qp is taken to 1/256
_WIDE_BITS = 8

_EVERY_NUMBER = np.arange(-32768, 32768).astype(np.int16)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["of"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Reciprocal:
    """The reciprocal of positive numbers, kept as the numbers: in 1/512 it would be off by percents for large ones."""

    of: Array


observers: list[Callable[[Array, str], None]] = []
"""Called with the int32 numbers before they are saturated and the part of a layer that they come from, for statistics;
only useful without compilation."""


def saturate(x: Array, part: str = "") -> Array:
    """int32 to int16, clamped to -32768..32767."""
    for observe in observers:
        observe(x, part)
    return jnp.clip(x, -32768, 32767).astype(jnp.int16)


def divide(x: Array, bits: int) -> Array:
    """X / 2^bits, rounded half away from zero; |x| at most 2^31 - 2^bits."""
    return (x + (1 << (bits - 1)) - (x < 0)) >> bits


def affine(x: Array, kernel: Kernel, bias: Array) -> Array:
    """X @ kernel + bias. x: [..., K], bias: int32 [N] in the unit of the kernel's products."""
    if isinstance(kernel, PackedKernel):
        return native_int16.affine(x, kernel, bias)
    return _finish(product(x, kernel), kernel, bias)


def convolve3x3(x: Array, kernel: Kernel, bias: Array, stride: int) -> Array:
    """Full 3x3 convolution, zero padding 1. x: [B, H, W, C]; kernel rows in the order (dy, dx, C)."""
    if isinstance(kernel, PackedKernel):
        return native_int16.convolve3x3(x, kernel, bias, stride)
    patches = jnp.concatenate([tap[:, ::stride, ::stride] for tap in taps(x)], axis=-1)
    return affine(patches, kernel, bias)


def depthwise3x3(x: Array, kernel: ExactKernel, bias: Array) -> Array:
    """Depthwise 3x3 convolution, zero padding 1."""
    return _finish(tap_product(taps(x), kernel), kernel, bias, "depthwise")


def _finish(total: Wide, kernel: ExactKernel, bias: Array, part: str = "") -> Array:
    """Requantise (total + bias) / 2^bits, half away from zero: the remainder of 256 only matters next to a tie."""
    low = total.low + (bias & ((1 << _WIDE_BITS) - 1))
    high = total.high + (bias >> _WIDE_BITS) + (low >> _WIDE_BITS)
    away = (high >= 0) | ((low & ((1 << _WIDE_BITS) - 1)) > 0)
    bits = kernel.bits - _WIDE_BITS
    return saturate((high + ((1 << (bits - 1)) - 1) + away) >> bits, part)


def add(a: Array, b: Array) -> Array:
    """A + b."""
    return saturate(a.astype(jnp.int32) + b)


def difference(a: Array, b: Array) -> Array:
    """A - b of pictures, int16: there is room for it."""
    return (a.astype(jnp.int32) - b).astype(jnp.int16)


def dc_block(x: Array, layers: BlockLayers, shortcut: bool) -> Array:
    """Depthwise-convolution block; see `floating`."""
    if isinstance(layers.first[0], PackedKernel):
        return native_int16.dc_block(x, layers, shortcut)
    x = _once(x)
    h = depthwise3x3(_affine_wsilu(x, *layers.first), *layers.depthwise)

    def of_positions(h: Array, x: Array) -> Array:
        h = _once(add(affine(h, *layers.project), x))
        first, second = jnp.split(_affine_wsilu(h, *layers.widen), 2, axis=-1)
        out = add(h, affine(add(first, second), *layers.narrow))
        return add(out, x) if shortcut else out

    return by_rows(of_positions, _once(h), x)


def _affine_wsilu(x: Array, kernel: ExactKernel, bias: Array) -> Array:
    return wsilu(affine(x, kernel, bias), kernel.unit)


def _once(x: Array) -> Array:
    """Return the same numbers, computed once however many products read them.

    Floating-point products split their input into planes, and XLA on CPU would recompute the input, and everything
    behind it, for each plane. A gather from a LUT is computed once, so on CPU the numbers pass through an identity LUT.
    """
    numbers: Array = lax.platform_dependent(x, cpu=lambda x: _look_up_all(_EVERY_NUMBER, x), default=lambda x: x)
    return numbers


def multiply(x: Array, gain: Array | Reciprocal) -> Array:
    """X * gain."""
    wide = x.astype(jnp.int32)
    if isinstance(gain, Reciprocal):
        divisor = gain.of.astype(jnp.int32)
        magnitude = (2 * ONE * jnp.abs(wide) + divisor) // (2 * divisor)
        return saturate(jnp.sign(wide) * magnitude)
    return saturate(divide(wide * gain, FIXED_BITS))


def wsilu(x: Array, unit: int) -> Array:
    """X * sigmoid(4x) of numbers in 1 / 2^unit, from a LUT of all values."""
    return _look_up_all(wsilu_table(unit), x)


def position_gain(x: Array) -> Array:
    """0.5 + 1.5 * sigmoid(x), from a LUT of its distance to 1.25."""
    wide = x.astype(jnp.int32)
    offset = _look_up(gain_offsets(), jnp.minimum(jnp.abs(wide), GAIN_SIZE - 1))
    return (5 * ONE // 4 + jnp.sign(wide) * offset).astype(jnp.int16)


def at_least(x: Array, bound: float) -> Array:
    """max(x, bound); bound is a multiple of 1/512."""
    return jnp.maximum(x, jnp.int16(bound * ONE))


def reciprocal(x: Array) -> Reciprocal:
    """1 / x for x of at least 0.5."""
    return Reciprocal(x)


def interpolate(bank: Array, position: Array) -> Array:
    """Rows of a bank [rows, C] at positions [B], linearly between rows: [B, C]."""
    fixed = jnp.round(position * QP_FRACTIONS).astype(jnp.int32)
    low = fixed // QP_FRACTIONS
    high = jnp.minimum(low + 1, len(bank) - 1)
    fraction = (fixed % QP_FRACTIONS)[:, None]
    rows = bank.astype(jnp.int32)
    return divide(rows[low] * (QP_FRACTIONS - fraction) + rows[high] * fraction, _WIDE_BITS).astype(jnp.int16)


def one(dtype: DTypeLike) -> int:
    """The number of white in pictures of this type: int16 ones are in 1/512, fine ones, uint16, in 1/4096."""
    return 1 << (FIXED_FINE_BITS if dtype == jnp.uint16 else FIXED_BITS)


def to_picture(x: Array, fine: bool = False) -> Array:
    """Clamp to 0..1; fine: numbers in 1/4096, to uint16."""
    dtype = jnp.uint16 if fine else jnp.int16
    return jnp.clip(x, 0, one(dtype)).astype(dtype)


def coarse(fine: Array) -> Array:
    """Requantise numbers in 1/4096 to int32 in 1/512, halves up."""
    bits = FIXED_FINE_BITS - FIXED_BITS
    return (fine.astype(jnp.int32) + (1 << (bits - 1))) >> bits


def widen(x: Array) -> Array:
    """Return x: latents have the precision of the activations."""
    return x


def from_real(x: Array, dtype: DTypeLike = jnp.int16) -> Array:
    """Quantise real numbers to the nearest of the type. Exact for 8-bit samples / 255: none is near a tie."""
    limits = np.iinfo(np.dtype(dtype))
    return jnp.clip(jnp.round(x.astype(jnp.float32) * one(dtype)), int(limits.min), int(limits.max)).astype(dtype)


def to_symbols(x: Array, mean: Array) -> Array:
    """Residuals of latents to symbols: rounded half away from zero, clamped to int8."""
    return jnp.clip(divide(x.astype(jnp.int32) - mean, FIXED_LARGE_BITS), -128, 127).astype(jnp.int8)


def from_symbols(symbols: Array, mean: Array) -> Array:
    """Invert `to_symbols`, except for the rounding."""
    return saturate((symbols.astype(jnp.int32) << FIXED_LARGE_BITS) + mean)


def table_indexes(scale: Array, skip_threshold: Array) -> Array:
    """Row of the Gaussian table for each scale, NOT_CODED where it is not above the threshold (int32 in 1/512)."""
    scale = jnp.clip(scale.astype(jnp.int32), SCALE_LOW, SCALE_HIGH)
    index = _look_up(scale_rows(), scale - SCALE_LOW)
    return jnp.where(scale > skip_threshold, index, NOT_CODED).astype(jnp.uint8)


def to_uint8(x: Array, white: int = ONE) -> Array:
    """X times 255 / white, an even number, rounded, halves up, and clamped."""
    return jnp.clip((255 * x.astype(jnp.int32) + white // 2) // white, 0, 255).astype(jnp.uint8)


def _look_up(table: npt.NDArray[np.integer], index: Array) -> Array:
    return jnp.asarray(table).at[index].get(mode="promise_in_bounds").astype(jnp.int32)


def _look_up_all(table: npt.NDArray[np.int16], x: Array) -> Array:
    """Look up in a LUT of 65536 values, by x + 32768."""
    return jnp.asarray(table).at[x.astype(jnp.int32) + 32768].get(mode="promise_in_bounds")
