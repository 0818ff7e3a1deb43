"""The DC block in two kernels for GPUs, written in Pallas (lowered through Triton).

XLA takes nine kernels for a block: it fuses biases into its products, but neither the WSiLU behind them nor the
depthwise convolution in front, and the 4C middle of the FFN passes through device memory. Here `head` is everything up
to the depthwise convolution, which needs neighbours of other tiles, and `tail` everything from it on; a tile of
positions stays in registers, and the FFN's middle exists only a few channels at a time.

Sums, biases, WSiLU and the depthwise convolution are in float32; operands of products are in the precision of the
parameters.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from nvc_jax.ops.block import BlockLayers, Layer

TAPS = tuple(itertools.product((-1, 0, 1), repeat=2))


@dataclass(frozen=True)
class Tiling:
    """How a kernel is cut up.

    Attributes:
        positions: of the picture in a tile, a power of two.
        channels: of the tile that are read at a time for a product, a power of two.
        middle: channels of each half of the FFN's middle that exist at a time, a power of two.
        warps: threads of a tile divided by 32.
        stages: of the software pipeline that loads weights ahead of the products.
    """

    positions: int
    channels: int
    middle: int
    warps: int
    stages: int


HEAD = Tiling(positions=128, channels=64, middle=0, warps=8, stages=3)
TAIL = Tiling(positions=64, channels=64, middle=32, warps=4, stages=2)


def dc_block(x: Array, layers: BlockLayers, shortcut: bool) -> Array:
    """A DC block; see `floating`."""
    return tail(head(x, layers.first), x, layers, shortcut)


def head(x: Array, first: Layer, tiling: Tiling = HEAD) -> Array:
    """The first 1x1 convolution with its WSiLU: what the depthwise convolution reads.

    Args:
        x: [B, H, W, C].
        first: kernel and bias, C to C.
        tiling: of the kernel.
    """
    kernel, bias = first
    total, channels = x.size // x.shape[-1], x.shape[-1]
    block = min(tiling.positions, pl.next_power_of_2(total))
    parts, dtype = _parts(channels), x.dtype

    def run(x_ref: Any, weights: Any, bias: Any, out: Any) -> None:
        tile = pl.ds(pl.program_id(0) * block, block)
        inside = (tile.start + jnp.arange(block) < total)[:, None]

        def load(channel: Any) -> Array:
            values: Array = plgpu.load(x_ref.at[tile, channel], mask=inside, other=0.0)
            return values

        sums = _affine_by_channels(load, weights, bias, block, math.gcd(tiling.channels, channels))
        for part, value in zip(parts, sums, strict=True):
            plgpu.store(out.at[tile, pl.ds(*part)], _wsilu(value).astype(dtype), mask=inside)

    operands = x.reshape(total, channels), kernel.weights, bias
    return _call(run, operands, total, channels, block, tiling, kernel.interpret, "dc_block_head").reshape(x.shape)


def tail(h: Array, x: Array, layers: BlockLayers, shortcut: bool, tiling: Tiling = TAIL) -> Array:
    """The depthwise convolution and everything behind it.

    Args:
        h: [B, H, W, C], from `head`.
        x: [B, H, W, C], the input of the block.
        layers: of the block.
        shortcut: add x to the result.
        tiling: of the kernel.
    """
    batch, height, width, channels = h.shape
    total, half = batch * height * width, layers.narrow[0].weights.shape[0]
    block = min(tiling.positions, pl.next_power_of_2(total))
    middle = math.gcd(tiling.middle, half)
    parts, dtype = _parts(channels), h.dtype

    def run(*refs: Any) -> None:
        h_ref, x_ref, taps, taps_bias, *refs = refs
        project, project_bias, widen, widen_bias, narrow, narrow_bias, out_ref = refs
        tile = pl.ds(pl.program_id(0) * block, block)
        positions = tile.start + jnp.arange(block)
        row, column = (positions // width) % height, positions % width
        inside = positions < total

        def depthwise(channel: Any) -> Array:
            start, size = channel.start, channel.size
            result = jnp.broadcast_to(taps_bias[channel].astype(jnp.float32), (block, size))
            for number, (dy, dx) in enumerate(TAPS):
                there = inside & (row + dy >= 0) & (row + dy < height) & (column + dx >= 0) & (column + dx < width)
                source = h_ref.at[(positions + dy * width + dx)[:, None], (start + jnp.arange(size))[None]]
                tap = plgpu.load(source, mask=there[:, None], other=0.0)
                result += tap.astype(jnp.float32) * taps[number, channel].astype(jnp.float32)
            return result.astype(dtype)

        def input_of(start: int, size: int) -> Array:
            source = x_ref.at[tile, pl.ds(start, size)]
            values: Array = plgpu.load(source, mask=inside[:, None], other=0.0).astype(jnp.float32)
            return values

        sums = _affine_by_channels(depthwise, project, project_bias, block, math.gcd(tiling.channels, channels))
        sums = [value + input_of(*part) for value, part in zip(sums, parts, strict=True)]
        operand = [value.astype(dtype) for value in sums]
        out = [value + narrow_bias[pl.ds(*part)].astype(jnp.float32) for value, part in zip(sums, parts, strict=True)]

        def add_middle(number: Array, out: tuple[Array, ...]) -> tuple[Array, ...]:
            start = pl.multiple_of(number * middle, middle)
            first = _wsilu(_affine(operand, widen, parts, widen_bias, (start, middle)))
            second = _wsilu(_affine(operand, widen, parts, widen_bias, (half + start, middle)))
            added = (first + second).astype(dtype)
            rows = pl.ds(start, middle)
            return tuple(
                value + _product(added, narrow[rows, pl.ds(*part)]) for value, part in zip(out, parts, strict=True)
            )

        out = jax.lax.fori_loop(0, half // middle, add_middle, tuple(out))
        for value, (start, size) in zip(out, parts, strict=True):
            if shortcut:
                value = value + input_of(start, size)
            plgpu.store(out_ref.at[tile, pl.ds(start, size)], value.astype(dtype), mask=inside[:, None])

    kernel_3x3, bias_3x3 = layers.depthwise
    operands = [h.reshape(total, channels), x.reshape(total, channels), kernel_3x3.reshape(9, channels), bias_3x3]
    for weights, bias in (layers.project, layers.widen, layers.narrow):
        operands += [weights.weights, bias]
    found = _call(run, operands, total, channels, block, tiling, layers.project[0].interpret, "dc_block_tail")
    return found.reshape(h.shape)


def _call(
    kernel: Any,
    operands: Sequence[Array],
    total: int,
    channels: int,
    block: int,
    tiling: Tiling,
    interpret: bool,
    name: str,
) -> Array:
    """Run a kernel for every tile: its result [total, channels]."""
    result: Array = pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((total, channels), operands[0].dtype),  # type: ignore[no-untyped-call]
        grid=(pl.cdiv(total, block),),
        compiler_params=plgpu.CompilerParams(num_warps=tiling.warps, num_stages=tiling.stages),
        interpret=interpret,
        name=name,
    )(*operands)
    return result


def _parts(channels: int) -> list[tuple[int, int]]:
    """(start, size) of the powers of two that sum to a number of channels: the sizes that Triton allows."""
    parts, start = [], 0
    for bit in reversed(range(channels.bit_length())):
        if channels >> bit & 1:
            parts.append((start, 1 << bit))
            start += 1 << bit
    return parts


def _affine_by_channels(
    load: Callable[[Any], Array], weights: Any, bias: Any, block: int, size: int
) -> Sequence[Array]:
    """The product of a tile with all weights, from `size` channels of the tile at a time; by parts, float32."""
    channels, features = weights.shape
    parts = _parts(features)
    start = tuple(jnp.broadcast_to(bias[pl.ds(*part)].astype(jnp.float32), (block, part[1])) for part in parts)

    def add(number: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        rows = pl.ds(pl.multiple_of(number * size, size), size)
        x = load(rows)
        return tuple(value + _product(x, weights[rows, pl.ds(*part)]) for value, part in zip(sums, parts, strict=True))

    sums: Sequence[Array] = jax.lax.fori_loop(0, channels // size, add, start)
    return sums


def _affine(x: Sequence[Array], weights: Any, rows: Sequence[tuple[int, int]], bias: Any, columns: Any) -> Array:
    """The sum of the products of parts of the channels with their rows of the weights, float32."""
    out = pl.ds(*columns)
    products = (_product(value, weights[pl.ds(*row), out]) for value, row in zip(x, rows, strict=True))
    result: Array = sum(products, start=bias[out].astype(jnp.float32))
    return result


def _product(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def _wsilu(x: Array) -> Array:
    return x * jax.nn.sigmoid(4.0 * x)
