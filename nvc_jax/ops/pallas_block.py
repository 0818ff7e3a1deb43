"""The DC block in three kernels for GPUs, written in Pallas (lowered through Triton).

XLA takes nine kernels for a block: it fuses biases into its products, but neither the WSiLU behind them nor the
residuals, and the middle of the FFN passes through device memory. Here

    head       is the first 1x1 convolution with its WSiLU;
    depthwise  is bounded by memory: a thread goes down a column and uses each value that it loads for three rows;
    tail       is the second 1x1 convolution, the FFN and the residuals: a tile of positions stays on its
               multiprocessor, and the FFN's middle exists only a few channels at a time.

Beside its products, `tail` is bounded by reading all weights from L2 once for every tile: a tile is as large as the
accumulators of its result allow. Both halves of the middle come from one product, because `paired_halves` of
block.py has put the two channels of each sum side by side, where one thread holds both.

Sums, biases, WSiLU and the depthwise convolution are in float32; operands of products are in the precision of the
parameters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from nvc_jax.errors import ConfigError
from nvc_jax.ops.block import BlockLayers, Layer


@dataclass(frozen=True)
class Tiling:
    """Tiling of a kernel of products.

    Attributes:
        positions: of the picture in a tile, a power of two.
        channels: of the tile that are read at a time for a product, a power of two.
        middle: channels of half the FFN's middle that exist at a time, a power of two.
        warps: threads of a tile divided by 32.
        stages: of the software pipeline that loads weights ahead of the products.
    """

    positions: int
    channels: int
    middle: int
    warps: int
    stages: int


@dataclass(frozen=True)
class Strip:
    """Tiling of the depthwise convolution.

    Attributes:
        rows: that a thread goes down.
        columns: side by side, a power of two.
        channels: a power of two.
        warps: threads of a strip divided by 32.
    """

    rows: int
    columns: int
    channels: int
    warps: int


class Tilings(NamedTuple):
    """Tilings of the three kernels of a block."""

    head: Tiling
    depthwise: Strip
    tail: Tiling


_HEAD, DEPTHWISE = Tiling(64, 64, 0, 8, 2), Strip(4, 16, 64, 4)
# By channels, the fastest tried on an H200 with an FFN middle of 4C at 1080p, 384 channels at 1/16 of it
# (benchmarks/results).
TILINGS = {
    128: Tilings(_HEAD, DEPTHWISE, Tiling(64, 64, 32, 4, 3)),
    256: Tilings(Tiling(64, 32, 0, 8, 3), DEPTHWISE, Tiling(64, 64, 32, 4, 2)),
    320: Tilings(Tiling(128, 64, 0, 8, 3), DEPTHWISE, Tiling(128, 64, 16, 8, 3)),
    384: Tilings(_HEAD, DEPTHWISE, Tiling(64, 64, 32, 8, 2)),
}
OTHERS = Tilings(_HEAD, DEPTHWISE, Tiling(64, 64, 16, 8, 2))  # fit in shared memory up to 512 channels
_SMALLEST_PRODUCT = 16  # in any dimension, for Triton


def dc_block(x: Array, layers: BlockLayers, shortcut: bool, tilings: Tilings | None = None) -> Array:
    """A DC block; see `floating`. Kernel and bias of `widen` come from `paired_halves`.

    Raises:
        ConfigError: a width that Triton cannot multiply.
    """
    channels, half = x.shape[-1], layers.narrow[0].weights.shape[0]
    if not layers.first[0].interpret and (channels % _SMALLEST_PRODUCT or half % _SMALLEST_PRODUCT):
        raise ConfigError(
            f"kernel backend 'pallas' needs multiples of {_SMALLEST_PRODUCT} for the width of a DC block and half the "
            f"middle of its FFN, not {channels} and {half}; use kernel backend 'xla'."
        )
    tilings = tilings or TILINGS.get(channels, OTHERS)
    h = head(x, layers.first, tilings.head)
    h = depthwise(h, layers.depthwise, tilings.depthwise, layers.first[0].interpret)
    return tail(h, x, layers, shortcut, tilings.tail)


def head(x: Array, first: Layer, tiling: Tiling) -> Array:
    """The first 1x1 convolution with its WSiLU: the input of the depthwise convolution.

    Args:
        x: [B, H, W, C].
        first: kernel and bias, C to C.
        tiling: of the kernel.
    """
    kernel, bias = first
    total, channels = x.size // x.shape[-1], x.shape[-1]
    block = min(tiling.positions, pl.next_power_of_2(total))

    def run(x_ref: Any, weights: Any, bias: Any, out: Any) -> None:
        tile = pl.ds(pl.program_id(0) * block, block)
        inside = (tile.start + jnp.arange(block) < total)[:, None]
        sums = _affine_by_channels(x_ref, tile, inside, weights, bias, math.gcd(tiling.channels, channels))
        for part, value in zip(_parts(channels), sums, strict=True):
            plgpu.store(out.at[tile, part], _wsilu(value, kernel.interpret).astype(x.dtype), mask=inside)

    operands = x.reshape(total, channels), kernel.weights, bias
    grid = (pl.cdiv(total, block),)
    return _call(run, operands, grid, tiling.warps, tiling.stages, kernel.interpret, "dc_block_head").reshape(x.shape)


def depthwise(x: Array, layer: Layer, strip: Strip = DEPTHWISE, interpret: bool = False) -> Array:
    """The 3x3 depthwise convolution, zero padding 1.

    Args:
        x: [B, H, W, C].
        layer: kernel [3, 3, C] and bias.
        strip: how it is cut up.
        interpret: see `PallasKernel`.
    """
    kernel, bias = layer
    batch, height, width, channels = x.shape
    size, columns = math.gcd(strip.channels, channels), min(strip.columns, pl.next_power_of_2(width))
    strips = pl.cdiv(height, strip.rows)

    def run(x_ref: Any, taps: Any, bias: Any, out: Any) -> None:
        part = pl.ds(pl.program_id(0) * size, size)
        channel = (part.start + jnp.arange(size))[None]
        column = pl.program_id(1) * columns + jnp.arange(columns)
        image, top = pl.program_id(2) // strips, pl.program_id(2) % strips * strip.rows

        def positions(row: Array, column: Array) -> tuple[Array, Array]:
            """Indexes of positions in x, and a mask of those in the picture."""
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            return ((image * height + row) * width + column)[:, None], inside[:, None]

        def load(row: Array, column: Array) -> Array:
            position, inside = positions(row, column)
            values: Array = plgpu.load(x_ref.at[position, channel], mask=inside, other=0.0)
            return values.astype(jnp.float32)

        weights = [[taps[3 * dy + dx, part].astype(jnp.float32) for dx in range(3)] for dy in range(3)]
        sums = [jnp.broadcast_to(bias[part].astype(jnp.float32), (columns, size))] * strip.rows
        for row in range(-1, strip.rows + 1):
            values = [load(top + row, column + dx) for dx in (-1, 0, 1)]
            for dy in (-1, 0, 1):
                if 0 <= row - dy < strip.rows:
                    for value, weight in zip(values, weights[dy + 1], strict=True):
                        sums[row - dy] += value * weight
        for row, value in enumerate(sums):
            position, inside = positions(top + row, column)
            plgpu.store(out.at[position, channel], value.astype(x.dtype), mask=inside)

    operands = x.reshape(-1, channels), kernel.reshape(9, channels), bias
    grid = channels // size, pl.cdiv(width, columns), batch * strips
    return _call(run, operands, grid, strip.warps, 1, interpret, "dc_block_depthwise").reshape(x.shape)


def tail(h: Array, x: Array, layers: BlockLayers, shortcut: bool, tiling: Tiling) -> Array:
    """Everything behind the depthwise convolution.

    Args:
        h: [B, H, W, C], from `depthwise`.
        x: [B, H, W, C], the input of the block.
        layers: of the block; `widen` comes from `paired_halves`.
        shortcut: add x to the result.
        tiling: of the kernel.
    """
    channels, half = h.shape[-1], layers.narrow[0].weights.shape[0]
    total = h.size // channels
    block = min(tiling.positions, pl.next_power_of_2(total))
    middle = math.gcd(tiling.middle, half)
    parts, dtype, interpret = _parts(channels), h.dtype, layers.project[0].interpret

    def run(*refs: Any) -> None:
        h_ref, x_ref, project, project_bias, widen, widen_bias, narrow, narrow_bias, out = refs
        tile = pl.ds(pl.program_id(0) * block, block)
        inside = (tile.start + jnp.arange(block) < total)[:, None]

        def load(ref: Any, part: Any) -> Array:
            values: Array = plgpu.load(ref.at[tile, part], mask=inside, other=0.0)
            return values

        projected = _affine_by_channels(h_ref, tile, inside, project, project_bias, math.gcd(tiling.channels, channels))
        for part, value in zip(parts, projected, strict=True):
            value += load(x_ref, part).astype(jnp.float32)
            plgpu.store(out.at[tile, part], value.astype(dtype), mask=inside)
        # Read again, the FFN's input is an operand in shared memory. In registers, it would leave the accumulators too
        # few, and every product would wait for the one before it.
        if not interpret:
            plgpu.debug_barrier()  # type: ignore[no-untyped-call]
        operand = [load(out, part) for part in parts]

        def add_middle(number: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
            rows = pl.ds(pl.multiple_of(number * middle, middle), middle)
            pairs = pl.ds(pl.multiple_of(number * 2 * middle, 2 * middle), 2 * middle)
            bias = widen_bias[pairs].astype(jnp.float32)
            wide = sum(_product(value, widen[part, pairs]) for value, part in zip(operand, parts, strict=True))
            added = _wsilu(wide + bias, interpret).reshape(block, middle, 2).sum(axis=-1).astype(dtype)
            return tuple(value + _product(added, narrow[rows, part]) for value, part in zip(sums, parts, strict=True))

        sums = jax.lax.fori_loop(0, half // middle, add_middle, _biases(narrow_bias, parts, block))
        for value, part in zip(sums, parts, strict=True):
            value += load(out, part).astype(jnp.float32)
            if shortcut:
                value += load(x_ref, part).astype(jnp.float32)
            plgpu.store(out.at[tile, part], value.astype(dtype), mask=inside)

    operands = [h.reshape(total, channels), x.reshape(total, channels)]
    for weights, bias in (layers.project, layers.widen, layers.narrow):
        operands += [weights.weights, bias]
    grid = (pl.cdiv(total, block),)
    return _call(run, operands, grid, tiling.warps, tiling.stages, interpret, "dc_block_tail").reshape(h.shape)


def _call(
    kernel: Any, operands: Sequence[Array], grid: tuple[int, ...], warps: int, stages: int, interpret: bool, name: str
) -> Array:
    """Run a kernel for every tile; the result has the shape and dtype of the first operand."""
    result: Array = pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct(operands[0].shape, operands[0].dtype),  # type: ignore[no-untyped-call]
        grid=grid,
        compiler_params=plgpu.CompilerParams(num_warps=warps, num_stages=stages),
        interpret=interpret,
        name=name,
    )(*operands)
    return result


def _parts(channels: int) -> list[Any]:
    """Slices of the channels whose sizes are powers of two, as Triton needs them."""
    parts, start = [], 0
    for bit in reversed(range(channels.bit_length())):
        if channels >> bit & 1:
            parts.append(pl.ds(start, 1 << bit))
            start += 1 << bit
    return parts


def _biases(bias: Any, parts: Sequence[Any], block: int) -> tuple[Array, ...]:
    """Initial float32 accumulators of a tile: the biases of each part."""
    return tuple(jnp.broadcast_to(bias[part].astype(jnp.float32), (block, part.size)) for part in parts)


def _affine_by_channels(x: Any, tile: Any, inside: Array, weights: Any, bias: Any, size: int) -> Sequence[Array]:
    """The product of a tile with all weights, `size` input channels at a time; float32 accumulators by parts."""
    channels, features = weights.shape
    parts = _parts(features)

    def add(number: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        rows = pl.ds(pl.multiple_of(number * size, size), size)
        values = plgpu.load(x.at[tile, rows], mask=inside, other=0.0)
        return tuple(value + _product(values, weights[rows, part]) for value, part in zip(sums, parts, strict=True))

    sums: Sequence[Array] = jax.lax.fori_loop(0, channels // size, add, _biases(bias, parts, tile.size))
    return sums


def _product(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def _wsilu(x: Array, interpret: bool) -> Array:
    """X * sigmoid(4x) by the GPU's tanh, one instruction; its error is below the rounding to bfloat16."""
    tanh = jnp.tanh if interpret else plgpu.approx_tanh
    half = 0.5 * x
    return half + half * tanh(2.0 * x)
