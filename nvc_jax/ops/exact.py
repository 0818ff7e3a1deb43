"""Exact products of int16 activations and int16 weights, in the dtype that a backend multiplies fastest.

A sum of integer products is exact, in any order, in an accumulator that holds the sum of their magnitudes. So a
*strategy* splits activations and weights into planes of 8 bits where necessary, and the rows of a kernel into blocks
whose magnitudes its accumulator can hold. Blocks come from the actual weights, for the worst activations. All
strategies give the same integers (docs/INT16.md, section 6); only their speed differs.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax
from jax.typing import DTypeLike

from nvc_jax.errors import ModelError
from nvc_jax.spec import FIXED_BITS, FIXED_WEIGHT_BITS

Integers = npt.NDArray[np.integer]
Planes = tuple[Array, ...]

PLANE_BITS = 8
WEIGHT_MAX = (1 << 15) - (1 << 7) - 1  # the upper plane of a weight fits int8
CHANNEL_MAX = 1 << 22  # largest sum of the magnitudes of the weights of an output channel
INT32_LIMIT = (1 << 31) - 1

REACH = 1 << 15  # largest magnitude of an activation
_PLANE_REACH = 1 << 7  # largest magnitude of its planes


@functools.partial(jax.tree_util.register_dataclass, data_fields=["high", "low"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Wide:
    """Integers of up to 2^37, as `256 * high + low`, both int32; `low` may be negative and may exceed 255."""

    high: Array
    low: Array


@functools.partial(jax.tree_util.register_dataclass, data_fields=["blocks", "bits"], meta_fields=["strategy", "unit"])
@dataclasses.dataclass(frozen=True)
class ExactKernel:
    """A prepared matrix of weights, which takes the place of the kernel in a parameter tree.

    Attributes:
        blocks: for each block of rows the planes that the strategy multiplies by.
        bits: int32 [N], the weights of each output channel are in units of 1 / 2^bits.
        strategy: a key of STRATEGIES, or TAPS for a depthwise kernel.
        unit: fractional bits of the result, for the WSiLU that may follow.
    """

    blocks: tuple[Planes, ...]
    bits: Array
    strategy: str
    unit: int = FIXED_BITS


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A way to multiply exactly.

    Attributes:
        dtype: of the planes of the weights.
        planes: weights int64 [K, N] to their planes.
        reaches: for each plane the largest magnitude of the activations (or their plane) that it multiplies.
        limit: largest sum of magnitudes that is exact in the accumulator.
        multiply: activations int16 [..., K] and the planes of a block to their product.
        padded: zero-pad K to a size that GPUs multiply correctly (`_padded`).
    """

    dtype: DTypeLike
    planes: Callable[[Integers], Sequence[Integers]]
    reaches: tuple[int, ...]
    limit: int
    multiply: Callable[[Array, Planes], Wide]
    padded: bool = False


def split(x: Integers) -> tuple[Integers, Integers]:
    """Upper and lower plane: x = 256 * upper + lower, lower in -128..127."""
    upper = (x + _PLANE_REACH) >> PLANE_BITS
    return upper, x - (upper << PLANE_BITS)


def prepare(
    weights: npt.NDArray[np.int16], bits: npt.NDArray[np.uint8], strategy: str, unit: int = FIXED_BITS
) -> ExactKernel:
    """Prepare a checked kernel for a strategy.

    Args:
        weights: [..., N]; all axes but the last are summed over.
        bits: [N].
        strategy: a key of STRATEGIES.
        unit: see `ExactKernel`.
    """
    plan = STRATEGIES[strategy]
    matrix = weights.reshape(-1, weights.shape[-1]).astype(np.int64)
    planes = [np.asarray(plane) for plane in plan.planes(matrix)]
    blocks = row_blocks([np.abs(p) * reach for p, reach in zip(planes, plan.reaches, strict=True)], plan.limit)
    if plan.padded and len(blocks) == 1:
        planes = [_padded(plane) for plane in planes]
        blocks = [slice(None)]
    prepared = tuple(tuple(plane[rows].astype(plan.dtype) for plane in planes) for rows in blocks)
    with jax.enable_x64(plan.dtype == np.float64):
        return _on_device(prepared, bits, strategy, unit)


def _padded(plane: Integers) -> Integers:
    """Pad K of a plane [K, N] to a multiple of 64 unless it is a multiple of 16.

    On an H200 with JAX 0.11.2, Triton's int8 products were twice their value for K = 34, and right for every multiple
    of 8 that was tried (8 to 384).
    """
    return np.pad(plane, ((0, -len(plane) % 64 if len(plane) % 16 else 0), (0, 0)))


def _on_device(blocks: Any, bits: npt.NDArray[np.uint8], strategy: str, unit: int = FIXED_BITS) -> ExactKernel:
    """Upload NumPy arrays. Converting them on the device would compile a program for every shape."""
    widened: Any = bits.astype(np.int32)
    kernel: ExactKernel = jax.device_put(ExactKernel(blocks, widened, strategy, unit))
    return kernel


TAPS = "taps"


def prepare_taps(weights: npt.NDArray[np.int16], bits: npt.NDArray[np.uint8]) -> ExactKernel:
    """Prepare a checked depthwise kernel [3, 3, C]: blocks of taps whose sum fits int32."""
    matrix = weights.reshape(9, -1).astype(np.int64)
    blocks = row_blocks([np.abs(matrix) * REACH], INT32_LIMIT)
    prepared = tuple((matrix[rows].astype(np.int32),) for rows in blocks)
    return _on_device(prepared, bits, TAPS)


def product(x: Array, kernel: ExactKernel) -> Wide:
    """int16 [..., K] times [K, N]."""
    plan = STRATEGIES[kernel.strategy]
    *rows, padded = np.cumsum([planes[0].shape[0] for planes in kernel.blocks]).tolist()
    if padded > x.shape[-1]:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, padded - x.shape[-1])])
    parts = zip(jnp.split(x, rows, axis=-1), kernel.blocks, strict=True)
    return _sum([plan.multiply(part, planes) for part, planes in parts])


def tap_product(taps: Sequence[Array], kernel: ExactKernel) -> Wide:
    """Nine int16 arrays [..., C], each times its row of a kernel [9, C], summed."""
    terms = iter(taps)
    parts = []
    for (weights,) in kernel.blocks:
        parts.append(_from_int32(sum(next(terms).astype(jnp.int32) * row for row in weights)))
    return _sum(parts)


def check(weights: npt.NDArray[np.int16], bits: npt.NDArray[np.uint8]) -> None:
    """Refuse a kernel [..., N] with weights out of range, or so large that an accumulator could overflow.

    Raises:
        ModelError: the kernel breaks one of these bounds.
    """
    matrix = weights.reshape(-1, weights.shape[-1]).astype(np.int64)
    fewest, most = FIXED_WEIGHT_BITS
    if not ((bits >= fewest) & (bits <= most)).all():
        raise ModelError(
            f"int16 weights have {bits.min()} to {bits.max()} fractional bits; {fewest} to {most} are allowed."
        )
    channel = np.abs(matrix).sum(axis=0)
    if np.abs(matrix).max(initial=0) > WEIGHT_MAX:
        raise ModelError(f"an int16 weight has magnitude {np.abs(matrix).max()}; the largest allowed is {WEIGHT_MAX}.")
    if channel.max(initial=0) > CHANNEL_MAX:
        raise ModelError(
            f"the int16 weights of output channel {channel.argmax()} have magnitudes that sum to {channel.max()}; "
            f"the largest sum allowed is {CHANNEL_MAX}."
        )


def row_blocks(costs: list[Integers], limit: int) -> list[slice]:
    """Longest blocks of consecutive rows in which no column of any plane exceeds the limit. costs: [K, N] each."""
    rows, start = len(costs[0]), 0
    totals = [np.cumsum(np.vstack([np.zeros_like(cost[:1]), cost]), axis=0) for cost in costs]
    blocks = []
    while start < rows:
        stops = (np.searchsorted((total - total[start]).max(axis=1), limit, side="right") - 1 for total in totals)
        stop = min(int(s) for s in stops)
        blocks.append(slice(start, stop))
        start = stop
    return blocks


def _sum(parts: Sequence[Wide]) -> Wide:
    return Wide(sum(p.high for p in parts), sum(p.low for p in parts))  # type: ignore[arg-type]


def _dot(x: Array, weights: Array, accumulator: DTypeLike) -> Array:
    """Product over the last axis of x. HIGHEST: float32 inputs are not shortened to TF32 or bfloat16."""
    dimensions = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x, weights, dimensions, lax.Precision.HIGHEST, preferred_element_type=accumulator)


def _split_on_device(x: Array) -> tuple[Array, Array]:
    x = x.astype(jnp.int32)
    upper = (x + _PLANE_REACH) >> PLANE_BITS
    return upper, x - (upper << PLANE_BITS)


def _from_int32(total: Array) -> Wide:
    return Wide(total >> PLANE_BITS, total & 0xFF)


def _multiply_int32(x: Array, planes: Planes) -> Wide:
    return _from_int32(_dot(x.astype(jnp.int32), planes[0], jnp.int32))


def _multiply_float64(x: Array, planes: Planes) -> Wide:
    with jax.enable_x64(True):
        total = _dot(x.astype(jnp.float64), planes[0], jnp.float64)
        high = jnp.floor(total * 2.0**-PLANE_BITS)
        return Wide(high.astype(jnp.int32), (total - high * 2.0**PLANE_BITS).astype(jnp.int32))


def _multiply_float32(x: Array, planes: Planes) -> Wide:
    upper, lower = (_dot(part.astype(jnp.float32), planes[0], jnp.float32) for part in _split_on_device(x))
    return Wide(upper.astype(jnp.int32), lower.astype(jnp.int32))


def _multiply_bfloat16(x: Array, planes: Planes) -> Wide:
    """Three products instead of four (Karatsuba): planes and sums of two planes are integers up to 256."""
    upper, lower = _split_on_device(x)
    parts = (upper, lower, upper + lower)
    uu, ll, ss = (
        _dot(part.astype(jnp.bfloat16), plane, jnp.float32).astype(jnp.int32)
        for part, plane in zip(parts, planes, strict=True)
    )
    return Wide((uu << PLANE_BITS) + (ss - uu - ll), ll)


def _multiply_int8(x: Array, planes: Planes) -> Wide:
    """The planes of activations are x = 256 * upper + lower + 128, so that both fit int8."""
    x = x.astype(jnp.int32)
    upper, lower = (x >> PLANE_BITS).astype(jnp.int8), ((x & 0xFF) - _PLANE_REACH).astype(jnp.int8)
    w_upper, w_lower = planes
    mixed = _dot(jnp.concatenate([upper, lower], axis=-1), jnp.concatenate([w_lower, w_upper]), jnp.int32)
    high = (_dot(upper, w_upper, jnp.int32) << PLANE_BITS) + mixed
    upper_sum, lower_sum = (plane.sum(axis=0, dtype=jnp.int32) for plane in planes)
    half = _PLANE_REACH * ((upper_sum << PLANE_BITS) + lower_sum)
    return Wide(high, _dot(lower, w_lower, jnp.int32) + half)


_FLOAT32_LIMIT = 1 << 24  # float32 holds every integer up to here

STRATEGIES = {
    "int32": Strategy(np.int32, lambda w: [w], (REACH,), INT32_LIMIT, _multiply_int32),
    "float64": Strategy(np.float64, lambda w: [w], (REACH,), 1 << 53, _multiply_float64),
    "float32": Strategy(np.float32, lambda w: [w], (_PLANE_REACH,), _FLOAT32_LIMIT, _multiply_float32),
    "bfloat16": Strategy(
        jnp.bfloat16,
        lambda w: [*split(w), np.add(*split(w))],
        (_PLANE_REACH, _PLANE_REACH, 2 * _PLANE_REACH),
        _FLOAT32_LIMIT,
        _multiply_bfloat16,
    ),
    "int8": Strategy(np.int8, split, (2 * _PLANE_REACH, 2 * _PLANE_REACH), INT32_LIMIT, _multiply_int8, padded=True),
}
