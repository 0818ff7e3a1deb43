"""The arithmetic of float32 and its shorter relatives: the same functions as `fixed`."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.ops import bounds, latents
from nvc_jax.ops.convolution import convolve3x3 as _convolve3x3
from nvc_jax.ops.depthwise import depthwise3x3 as _depthwise3x3
from nvc_jax.ops.rows import by_rows


def affine(x: Array, kernel: Array, bias: Array) -> Array:
    """X @ kernel + bias."""
    return x @ kernel + bias


def affine_wsilu(x: Array, kernel: Array, bias: Array) -> Array:
    """Of `affine`, each number times its sigmoid(4x)."""
    return wsilu(affine(x, kernel, bias))


def convolve3x3(x: Array, kernel: Array, bias: Array, stride: int) -> Array:
    """Full 3x3 convolution of [B, H, W, C] with [3, 3, C, N], zero padding 1."""
    return _convolve3x3(x, kernel, stride) + bias


def depthwise3x3(x: Array, kernel: Array, bias: Array) -> Array:
    """Depthwise 3x3 convolution, zero padding 1."""
    return _depthwise3x3(x, kernel) + bias


def once(x: Array, kernel: Array) -> Array:
    """The same numbers: products take them as they are."""
    del kernel
    return x


def second_half(h: Array, x: Array, layers: Sequence[tuple[Array, Array]], shortcut: bool) -> Array:
    """What follows the depthwise convolution in a DC block (spec 1).

    Args:
        h: [B, H, W, C], what that convolution gave.
        x: [B, H, W, C], the input of the block.
        layers: kernels and biases of the projection, and of those into and out of the middle of 4C channels, which is
            added in two halves.
        shortcut: add x to the result.
    """
    project, widen, narrow = layers

    def of_positions(h: Array, x: Array) -> Array:
        h = affine(h, *project) + x
        first, second = jnp.split(affine_wsilu(h, *widen), 2, axis=-1)
        out = h + affine(first + second, *narrow)
        return out + x if shortcut else out

    return by_rows(of_positions, h, x)


def multiply(x: Array, gain: Array) -> Array:
    """X * gain."""
    return x * gain


def wsilu(x: Array) -> Array:
    """X * sigmoid(4x) (paper Eq. 4)."""
    return x * jax.nn.sigmoid(4.0 * x)


def position_gain(x: Array) -> Array:
    """0.5 + 1.5 * sigmoid(x)."""
    return 0.5 + 1.5 * jax.nn.sigmoid(x)


def at_least(x: Array, bound: float) -> Array:
    """max(x, bound)."""
    return bounds.lower_bound(x, bound)


def reciprocal(x: Array) -> Array:
    """1 / x."""
    return 1.0 / x


def interpolate(bank: Array, position: Array) -> Array:
    """Rows of a bank [rows, C] at positions [B], linearly between rows: [B, C]."""
    low = jnp.floor(position).astype(jnp.int32)
    fraction = (position - low)[:, None].astype(bank.dtype)
    high = jnp.minimum(low + 1, len(bank) - 1)
    return bank[low] * (1 - fraction) + bank[high] * fraction


def clamp_picture(x: Array) -> Array:
    """To 0..1."""
    return bounds.clamp(x)


def widen(x: Array) -> Array:
    """Latents and pictures are float32 whatever the networks compute in."""
    return x.astype(jnp.float32)


def to_symbols(x: Array, mean: Array) -> Array:
    """Residuals to symbols: rounded half to even, clamped to int8."""
    return latents.round_to_symbols(x - mean)


def from_symbols(symbols: Array, mean: Array) -> Array:
    """The inverse, but for the rounding."""
    return symbols.astype(jnp.float32) + mean


table_indexes = latents.table_indexes


def to_uint8(x: Array, over: tuple[int, ...] = ()) -> Array:
    """The mean over some axes of values 0..1, times 255, rounded half to even and clamped."""
    return jnp.clip(jnp.round(x.astype(jnp.float32).mean(over) * 255.0), 0, 255).astype(jnp.uint8)
