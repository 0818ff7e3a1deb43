"""The convolutions of the int16 arithmetic in C++ (native_coder/int16.h), for processors with AVX2 or AVX-512.

XLA on CPU has no fast product of integers: what `exact` makes of floating-point products takes about twice the time of
float32. These functions take half of it with AVX-512, and round, look up and add while the numbers are in cache.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from native_coder import INT16_PANEL, WSILU_ENTRIES, int16_functions  # noqa: TID251
from nvc_jax.ops.exact import INT32_LIMIT, REACH, row_blocks
from nvc_jax.ops.fixed_tables import wsilu_deficits
from nvc_jax.spec import FIXED_BITS

_NO_WSILU = np.zeros(0, np.uint8)

_register = jax.tree_util.register_dataclass


@functools.partial(_register, data_fields=["weights", "sums", "ends", "bits"], meta_fields=["kernels", "unit"])
@dataclass(frozen=True)
class PackedKernel:
    """A matrix of weights [K, N], packed. It takes the place of the kernel in a parameter tree.

    Attributes:
        weights: int16, panels of 32 output channels one after the other (the last may have 16), each
            [K/2, channels, 2]; K and N are filled up with zeros.
        sums: int32 [panels], the largest sum of the magnitudes of a channel's weights.
        ends: int32 [panels, blocks], where blocks of K/2 end whose sums fit 32 bits for the worst activations.
        bits: int32 [N filled up], the weights of each output channel are in units of 1 / 2^bits.
        kernels: which functions take it, of those `available`.
        unit: fractional bits of what it gives, for the WSiLU that may follow.
    """

    weights: Array
    sums: Array
    ends: Array
    bits: Array
    kernels: str
    unit: int = FIXED_BITS


@functools.partial(_register, data_fields=["weights", "sums", "bits"], meta_fields=["kernels"])
@dataclass(frozen=True)
class PackedTaps:
    """A depthwise kernel: weights int16 [3, 3, C], the sums of magnitudes and bits int32 [C], kernels as above."""

    weights: Array
    sums: Array
    bits: Array
    kernels: str


@functools.cache
def available() -> tuple[str, ...]:
    """The kernels that this processor can run, the fastest first; XLA learns of them here.

    None where XLA does not take functions of the version that these were built with.
    """
    jax.devices("cpu")  # what it refuses before it has started ends it
    kinds = int16_functions()
    try:
        for kernels, functions in kinds.items():
            for name, function in functions.items():
                jax.ffi.register_ffi_target(_full_name(name, kernels), function, platform="cpu")
    except jax.errors.JaxRuntimeError:
        return ()
    return tuple(kinds)


def pack(
    weights: npt.NDArray[np.int16], bits: npt.NDArray[np.uint8], kernels: str, unit: int = FIXED_BITS
) -> PackedKernel:
    """Pack checked weights [..., N]; all axes but the last are summed over. kernels, unit: see `PackedKernel`."""
    matrix = weights.reshape(-1, weights.shape[-1])
    rows, columns = matrix.shape
    more = -columns % (INT16_PANEL // 2)
    matrix = np.pad(matrix, ((0, rows % 2), (0, more)))
    pairs = matrix.reshape(-1, 2, columns + more).transpose(0, 2, 1)
    panels = [pairs[:, start : start + INT16_PANEL] for start in range(0, columns + more, INT16_PANEL)]
    costs = [np.abs(panel.astype(np.int64)).sum(axis=-1) for panel in panels]
    ends = [[block.stop for block in row_blocks([cost * REACH], INT32_LIMIT)] for cost in costs]
    most = max(map(len, ends))
    return PackedKernel(
        weights=jnp.asarray(np.concatenate([panel.ravel() for panel in panels])),
        sums=jnp.asarray(np.array([cost.sum(axis=0).max() for cost in costs], np.int32)),
        ends=jnp.asarray(np.array([end + end[-1:] * (most - len(end)) for end in ends], np.int32)),
        bits=jnp.asarray(np.pad(bits.astype(np.int32), (0, more), constant_values=1)),
        kernels=kernels,
        unit=unit,
    )


def pack_taps(weights: npt.NDArray[np.int16], bits: npt.NDArray[np.uint8], kernels: str) -> PackedTaps:
    """Pack a checked depthwise kernel [3, 3, C]."""
    sums = np.abs(weights.astype(np.int32)).sum(axis=(0, 1), dtype=np.int32)
    return PackedTaps(jnp.asarray(weights), jnp.asarray(sums), jnp.asarray(bits.astype(np.int32)), kernels)


def affine(x: Array, kernel: PackedKernel, bias: Array) -> Array:
    """[..., K] to [..., N]."""
    return _affine(x, kernel, bias, _NO_WSILU)


def affine_wsilu(x: Array, kernel: PackedKernel, bias: Array) -> Array:
    """Of `affine`, each number times its sigmoid(4x)."""
    return _affine(x, kernel, bias, _deficits(kernel.unit))


def depthwise3x3(x: Array, kernel: PackedTaps, bias: Array) -> Array:
    """[B, H, W, C], zero padding 1."""
    return _call("depthwise", kernel, x.shape, x, kernel.weights, kernel.sums, kernel.bits, bias)


def second_half(h: Array, x: Array, layers: Sequence[tuple[Any, Array]], shortcut: bool) -> Array:
    """What follows the depthwise convolution in a DC block; see `floating`."""
    operands = (part for kernel, bias in layers for part in _operands(kernel, bias))
    deficits = _deficits(layers[1][0].unit)
    return _call("second_half", layers[0][0], x.shape, h, x, *operands, deficits, shortcut=shortcut)


def _affine(x: Array, kernel: PackedKernel, bias: Array, deficits: npt.NDArray[np.uint8]) -> Array:
    return _call("affine", kernel, (*x.shape[:-1], len(bias)), x, *_operands(kernel, bias), deficits)


def _deficits(unit: int) -> npt.NDArray[np.uint8]:
    """As many for all units: beyond its own end a table is zero."""
    deficits = wsilu_deficits(unit)
    return np.pad(deficits, (0, WSILU_ENTRIES - len(deficits)))


def _operands(kernel: PackedKernel, bias: Array) -> tuple[Array, ...]:
    return kernel.weights, kernel.sums, kernel.ends, kernel.bits, bias


def _call(
    name: str,
    kernel: PackedKernel | PackedTaps,
    shape: tuple[int, ...],
    *operands: Array | np.ndarray,
    **attributes: bool,
) -> Array:
    result = jax.ShapeDtypeStruct(shape, np.int16)  # type: ignore[no-untyped-call]
    function = jax.ffi.ffi_call(_full_name(name, kernel.kernels), result, vmap_method="sequential")
    output: Array = function(*operands, **attributes)
    return output


def _full_name(name: str, kernels: str) -> str:
    return f"nvc_int16_{name}_{kernels}"
