"""Convolutions of the int16 arithmetic in C++ (native_coder/int16.h).

XLA on CPU has no fast product of integers: the floating-point products of `exact` take several times as long.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax import Array

from native_coder import PANEL, TILE_BYTES, WSILU_ENTRIES  # noqa: TID251
from nvc_jax.ops.block import BlockLayers
from nvc_jax.ops.exact import INT32_LIMIT, REACH, row_blocks, split
from nvc_jax.ops.fixed_tables import wsilu_deficits
from nvc_jax.ops.native import AMX, call, convolved
from nvc_jax.spec import FIXED_BITS

_CHANNELS = PANEL // 2  # of a tile of AMX, which has as many rows
_NO_WSILU = np.zeros(0, np.uint8)

_register = jax.tree_util.register_dataclass


@functools.partial(_register, data_fields=["weights", "sums", "ends", "bits"], meta_fields=["isa", "unit"])
@dataclass(frozen=True)
class PackedKernel:
    """A prepacked matrix of weights [K, N], which takes the place of the kernel in a parameter tree.

    Attributes:
        weights: int16, panels of 32 output channels (the last may have 16), each [K/2, channels, 2], or for AMX tiles
            of the two planes of `exact.split` in bytes, [N/16, K/64, 2, 16, 16, 4]; K and N are zero-padded.
        sums: int32 [panels], the largest sum of the magnitudes of a channel's weights.
        ends: int32 [panels, blocks], ends of the blocks of K/2 whose sums fit 32 bits for the worst activations.
        bits: int32 [padded N], the weights of each output channel are in units of 1 / 2^bits.
        isa: of the handlers, one of `native.available`.
        unit: fractional bits of the result, for the WSiLU that may follow.
    """

    weights: Array
    sums: Array
    ends: Array
    bits: Array
    isa: str
    unit: int = FIXED_BITS


@functools.partial(_register, data_fields=["weights", "sums", "bits"], meta_fields=["isa"])
@dataclass(frozen=True)
class PackedTaps:
    """A depthwise kernel: weights int16 [3, 3, C], sums of magnitudes and bits int32 [C], isa as above."""

    weights: Array
    sums: Array
    bits: Array
    isa: str


def pack(weights: npt.NDArray[np.int16], bits: npt.NDArray[np.uint8], isa: str, unit: int = FIXED_BITS) -> PackedKernel:
    """Prepack checked weights [..., N]; all axes but the last are summed over. isa, unit: see `PackedKernel`."""
    matrix = weights.reshape(-1, weights.shape[-1])
    rows, columns = matrix.shape
    more = -columns % _CHANNELS
    matrix = np.pad(matrix, ((0, -rows % (TILE_BYTES if isa == AMX else 2)), (0, more)))
    panels = [matrix[:, start : start + PANEL] for start in range(0, columns + more, PANEL)]
    pairs = (_in_pairs(panel[: rows + rows % 2].astype(np.int64)) for panel in panels)
    costs = [np.abs(pair).sum(axis=-1) for pair in pairs]
    ends = [[block.stop for block in row_blocks([cost * REACH], INT32_LIMIT)] for cost in costs]
    most = max(map(len, ends))
    ordered = _tiles(matrix) if isa == AMX else np.concatenate([_in_pairs(panel).ravel() for panel in panels])
    return PackedKernel(
        weights=jax.device_put(ordered),
        sums=jax.device_put(np.array([cost.sum(axis=0).max() for cost in costs], np.int32)),
        ends=jax.device_put(np.array([end + end[-1:] * (most - len(end)) for end in ends], np.int32)),
        bits=jax.device_put(np.pad(bits.astype(np.int32), (0, more), constant_values=1)),
        isa=isa,
        unit=unit,
    )


def _tiles(matrix: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Padded [K, N] in the order of AMX."""
    planes = np.stack(split(matrix.astype(np.int32))).astype(np.int8)
    rows, columns = len(matrix) // TILE_BYTES, matrix.shape[1] // _CHANNELS
    tiles = planes.reshape(2, rows, _CHANNELS, TILE_BYTES // _CHANNELS, columns, _CHANNELS)
    return tiles.transpose(4, 1, 0, 2, 5, 3).ravel().view(np.int16)


def _in_pairs(panel: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[K, channels] to [K/2, channels, 2]."""
    return panel.reshape(-1, 2, panel.shape[1]).swapaxes(1, 2)


def pack_taps(weights: npt.NDArray[np.int16], bits: npt.NDArray[np.uint8], isa: str) -> PackedTaps:
    """Prepack a checked depthwise kernel [3, 3, C]."""
    sums = np.abs(weights.astype(np.int32)).sum(axis=(0, 1), dtype=np.int32)
    return PackedTaps(jax.device_put(weights), jax.device_put(sums), jax.device_put(bits.astype(np.int32)), isa)


def affine(x: Array, kernel: PackedKernel, bias: Array) -> Array:
    """[..., K] to [..., N]."""
    return _affine(x, kernel, bias, _NO_WSILU)


def affine_wsilu(x: Array, kernel: PackedKernel, bias: Array) -> Array:
    """`affine`, then WSiLU."""
    return _affine(x, kernel, bias, _deficits(kernel.unit))


def convolve3x3(x: Array, kernel: PackedKernel, bias: Array, stride: int) -> Array:
    """[B, H, W, C] to [B, H/stride, W/stride, N], zero padding 1."""
    shape = convolved(x.shape, stride, len(bias))
    return call("convolve", kernel.isa, shape, x, *_operands(kernel, bias), stride=stride)


def dc_block(x: Array, layers: BlockLayers, shortcut: bool) -> Array:
    """A DC block; see `floating`."""
    taps, taps_bias = layers.depthwise
    packed = (layers.project, layers.widen, layers.narrow)
    operands = (array for kernel, bias in packed for array in _operands(kernel, bias))
    deficits = _deficits(layers.widen[0].unit)
    a = affine_wsilu(x, *layers.first)
    arrays = (a, x, taps.weights, taps.sums, taps.bits, taps_bias, *operands, deficits)
    return call("rest_of_block", taps.isa, x.shape, *arrays, shortcut=shortcut)


def _affine(x: Array, kernel: PackedKernel, bias: Array, deficits: npt.NDArray[np.uint8]) -> Array:
    return call("affine", kernel.isa, (*x.shape[:-1], len(bias)), x, *_operands(kernel, bias), deficits)


def _deficits(unit: int) -> npt.NDArray[np.uint8]:
    """LUT of WSiLU, zero-padded to one length for all units."""
    deficits = wsilu_deficits(unit)
    return np.pad(deficits, (0, WSILU_ENTRIES - len(deficits)))


def _operands(kernel: PackedKernel, bias: Array) -> tuple[Array, ...]:
    return kernel.weights, kernel.sums, kernel.ends, kernel.bits, bias
