"""Convolutions of float32 and bfloat16 networks in C++ (native_coder/floating.h).

In float32 every ISA gives the same bits. They differ from XLA's, which sums in another order. In bfloat16 sums and
epilogues are of float32, and results are rounded once, where XLA rounds after every operation; each ISA has an order of
sums of its own.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array
from jax.typing import DTypeLike

from native_coder import PANEL, TILE_BYTES  # noqa: TID251
from nvc_jax.ops.block import BlockLayers
from nvc_jax.ops.native import AMX, call, convolved


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=["isa", "parts"])
@dataclass(frozen=True)
class PackedKernel:
    """A prepacked matrix of weights [K, N], which takes the place of the kernel in a parameter tree.

    Attributes:
        weights: panels of 32 output channels (the last may have 16), in float32 each [K, channels], in bfloat16 each
            [K/2, channels, 2]; K and N are zero-padded, K for AMX to whole tiles.
        isa: of the handlers, one of `native.available`.
        parts: equal parts of the output channels, packed one after the other with a padding of their own.
    """

    weights: Array
    isa: str
    parts: int = 1


def pack(weights: npt.NDArray[np.float32], isa: str, parts: int = 1, dtype: DTypeLike = jnp.float32) -> PackedKernel:
    """Prepack a kernel [..., N]; all axes but the last are summed over.

    Args:
        weights: of the convolution.
        isa: see `PackedKernel`.
        parts: see `PackedKernel`. The kernel into the middle of an FFN needs two, all others one.
        dtype: float32 or bfloat16, the precision of the computation.
    """
    matrix = weights.reshape(-1, weights.shape[-1])
    size = jnp.dtype(dtype).itemsize
    group = jnp.dtype(jnp.float32).itemsize // size  # kGroup in native_coder/floating.h
    multiple = TILE_BYTES // size if isa == AMX else group
    panels = [panel.ravel() for part in np.split(matrix, parts, axis=1) for panel in _panels(part, group, multiple)]
    return PackedKernel(jax.device_put(np.concatenate(panels).astype(dtype, copy=False)), isa, parts)


def _panels(matrix: npt.NDArray[np.float32], group: int, multiple: int) -> list[npt.NDArray[np.float32]]:
    padded = np.pad(matrix, ((0, -matrix.shape[0] % multiple), (0, -matrix.shape[1] % (PANEL // 2))))
    groups = padded.reshape(-1, group, padded.shape[1]).swapaxes(1, 2)
    return [groups[:, start : start + PANEL] for start in range(0, padded.shape[1], PANEL)]


def affine(x: Array, kernel: PackedKernel, bias: Array, wsilu: bool = False) -> Array:
    """[..., K] to [..., N], through WSiLU if `wsilu`."""
    return call("affine", kernel.isa, (*x.shape[:-1], len(bias)), x, _weights(kernel), bias, wsilu=wsilu)


def convolve3x3(x: Array, kernel: PackedKernel, bias: Array, stride: int) -> Array:
    """[B, H, W, C] to [B, H/stride, W/stride, N], zero padding 1."""
    shape = convolved(x.shape, stride, len(bias))
    return call("convolve", kernel.isa, shape, x, _weights(kernel), bias, stride=stride)


def dc_block(x: Array, layers: BlockLayers, shortcut: bool) -> Array:
    """A DC block; see `floating`."""
    a = affine(x, *layers.first, wsilu=True)
    packed: Any = ((*layers.project, 1), (*layers.widen, 2), (*layers.narrow, 1))
    operands = (array for kernel, bias, parts in packed for array in (_weights(kernel, parts), bias))
    isa = layers.first[0].isa
    return call("rest_of_block", isa, x.shape, a, x, *layers.depthwise, *operands, shortcut=shortcut)


def _weights(kernel: PackedKernel, parts: int = 1) -> Array:
    if kernel.parts != parts:
        raise ValueError(f"the kernel is packed in {kernel.parts} parts, not in {parts}.")
    return kernel.weights
