"""The arithmetic of float32, bfloat16 and float16: the same functions as `fixed`."""

import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.ops import bounds, latents, native_floating, native_training
from nvc_jax.ops.block import BlockLayers, PallasKernel, TrainedKernel
from nvc_jax.ops.convolution import convolve3x3 as _convolve3x3
from nvc_jax.ops.depthwise import depthwise3x3
from nvc_jax.ops.native_floating import PackedKernel
from nvc_jax.ops.rows import by_rows


def affine(x: Array, kernel: Array | PackedKernel, bias: Array) -> Array:
    """X @ kernel + bias."""
    if isinstance(kernel, PackedKernel):
        return native_floating.affine(x, kernel, bias)
    return x @ kernel + bias


def convolve3x3(x: Array, kernel: Array | PackedKernel, bias: Array, stride: int) -> Array:
    """Full 3x3 convolution of [B, H, W, C] with [3, 3, C, N], zero padding 1."""
    if isinstance(kernel, PackedKernel):
        return native_floating.convolve3x3(x, kernel, bias, stride)
    return _convolve3x3(x, kernel, stride) + bias


def dc_block(x: Array, layers: BlockLayers, shortcut: bool) -> Array:
    """Depthwise-convolution block (spec 1), without its adaptor.

    Args:
        x: [B, H, W, C].
        layers: its kernels and biases.
        shortcut: add x to the result.
    """
    if isinstance(layers.first[0], PackedKernel):
        return native_floating.dc_block(x, layers, shortcut)
    if isinstance(layers.first[0], TrainedKernel):
        return native_training.dc_block(x, layers, shortcut)
    if isinstance(layers.first[0], PallasKernel):
        from nvc_jax.ops import pallas_block

        return pallas_block.dc_block(x, layers, shortcut)
    h = wsilu(affine(x, *layers.first))
    with jax.named_scope("depthwise"):
        h = _depthwise(h, *layers.depthwise)

    def of_positions(h: Array, x: Array) -> Array:
        h = affine(h, *layers.project) + x
        first, second = jnp.split(wsilu(affine(h, *layers.widen)), 2, axis=-1)
        out = h + affine(first + second, *layers.narrow)
        return out + x if shortcut else out

    return by_rows(of_positions, h, x)


def _depthwise(x: Array, kernel: Array | PallasKernel, bias: Array) -> Array:
    if isinstance(kernel, PallasKernel):
        from nvc_jax.ops import pallas_block  # takes a third of a second to import

        return pallas_block.depthwise(x, (kernel.weights, bias), interpret=kernel.interpret)
    return depthwise3x3(x, kernel) + bias


def multiply(x: Array, gain: Array) -> Array:
    """X * gain."""
    return x * gain


def wsilu(x: Array) -> Array:
    """X * sigmoid(4x) (paper Eq. 4)."""
    return x * jax.nn.sigmoid(4.0 * x)


def position_gain(x: Array) -> Array:
    """0.5 + 1.5 * sigmoid(x)."""
    return 0.5 + 1.5 * jax.nn.sigmoid(x)


def add(a: Array, b: Array) -> Array:
    """A + b."""
    return a + b


def difference(a: Array, b: Array) -> Array:
    """A - b."""
    return a - b


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


def to_picture(x: Array, fine: bool = False) -> Array:
    """Clamp to 0..1, in float32."""
    return widen(bounds.clamp(x))


def widen(x: Array) -> Array:
    """Convert to float32, the precision of latents and pictures for all networks."""
    return x.astype(jnp.float32)


def to_symbols(x: Array, mean: Array) -> Array:
    """Round residuals to symbols: half to even, clamped to int8."""
    return latents.round_to_symbols(x - mean)


def from_symbols(symbols: Array, mean: Array) -> Array:
    """Invert `to_symbols`, except for the rounding."""
    return symbols.astype(jnp.float32) + mean


table_indexes = latents.table_indexes


def to_uint8(x: Array, white: int = 1) -> Array:
    """X times 255 / white, rounded half to even and clamped."""
    return jnp.clip(jnp.round(x.astype(jnp.float32) / white * 255.0), 0, 255).astype(jnp.uint8)
