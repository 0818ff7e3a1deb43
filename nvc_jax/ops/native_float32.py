"""The convolutions of float32 networks in C++ (native_coder/float32.h).

All kinds of them give the same numbers. They are not those of XLA: sums are made in another order.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from native_coder import PANEL  # noqa: TID251
from nvc_jax.ops.block import BlockLayers
from nvc_jax.ops.native import call, convolved


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=["kind", "parts"])
@dataclass(frozen=True)
class PackedKernel:
    """A matrix of weights [K, N], packed. It takes the place of the kernel in a parameter tree.

    Attributes:
        weights: float32, panels of 32 output channels one after the other (the last may have 16), each [K, channels]; N
            is filled up with zeros.
        kind: which functions take it, of those `native.available`.
        parts: so many equal parts of the output channels are packed one after the other, each for itself.
    """

    weights: Array
    kind: str
    parts: int = 1


def pack(weights: npt.NDArray[np.float32], kind: str, parts: int = 1) -> PackedKernel:
    """Pack a kernel [..., N]; all axes but the last are summed over.

    Args:
        weights: of the convolution.
        kind: see `PackedKernel`.
        parts: see `PackedKernel`. The kernel into the middle of a DC block needs two, all others one.
    """
    matrix = weights.reshape(-1, weights.shape[-1])
    panels = [panel.ravel() for part in np.split(matrix, parts, axis=1) for panel in _panels(part)]
    return PackedKernel(jnp.asarray(np.concatenate(panels), jnp.float32), kind, parts)


def _panels(matrix: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % (PANEL // 2))))
    return [padded[:, start : start + PANEL] for start in range(0, padded.shape[1], PANEL)]


def affine(x: Array, kernel: PackedKernel, bias: Array, wsilu: bool = False) -> Array:
    """[..., K] to [..., N], each number times its sigmoid(4x) if `wsilu`."""
    return call("affine", kernel.kind, (*x.shape[:-1], len(bias)), x, _weights(kernel), bias, wsilu=wsilu)


def convolve3x3(x: Array, kernel: PackedKernel, bias: Array, stride: int) -> Array:
    """[B, H, W, C] to [B, H/stride, W/stride, N], zero padding 1."""
    shape = convolved(x.shape, stride, len(bias))
    return call("convolve", kernel.kind, shape, x, _weights(kernel), bias, stride=stride)


def dc_block(x: Array, layers: BlockLayers, shortcut: bool) -> Array:
    """A DC block; see `floating`."""
    a = affine(x, *layers.first, wsilu=True)
    packed: Any = ((*layers.project, 1), (*layers.widen, 2), (*layers.narrow, 1))
    operands = (array for kernel, bias, parts in packed for array in (_weights(kernel, parts), bias))
    kind = layers.first[0].kind
    return call("rest_of_block", kind, x.shape, a, x, *layers.depthwise, *operands, shortcut=shortcut)


def _weights(kernel: PackedKernel, parts: int = 1) -> Array:
    if kernel.parts != parts:
        raise ValueError(f"the kernel is packed in {kernel.parts} parts, not in {parts}.")
    return kernel.weights
