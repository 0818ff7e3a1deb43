"""Deblocking: smooths the edges of blocks of 16x16 pixels in decoded pictures, before anything is predicted from them.

A network gives every block errors of its own, which show as a step at its edges. Across an edge the filter takes up to
eight pixels p7..p0 | q0..q7. The excess of the step over a straight line is taken off it, clipped and spread over
pixels on both sides, by as many as the surroundings are smooth: these ramps and bounds are what minimised the error of
the pictures of embedded_v1, in multiples of the size of its errors at a qp, R. docs/INT16.md, section 7, defines it.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nvc_jax.ops import fixed, native_deblocking
from nvc_jax.spec import FIXED_BITS, FIXED_FINE_BITS, FIXED_SCALE, PICTURE_STRIDE

Edges = tuple[Array, Array]  # weak ones: below each row of blocks [B, h-1, w], right of each column [B, h, w-1]

_BLOCK = PICTURE_STRIDE
_HALF = _BLOCK // 2
_LINES = 4  # along an edge, that share a class
_QP_HALVES = 22  # qps that halve R
_SIZE_BITS = 12
# R at every qp, in 1/4096 of that at qp 0
_SIZES = np.round((1 << _SIZE_BITS) * 2.0 ** (-np.arange(128) / _QP_HALVES)).astype(np.int32)
_R_BITS = 4  # R is in 1/16 of a sample's unit
_WEAK_BITS = 2  # R is divided by 4 at weak edges
_BOUNDS = np.array([10, 26, 64, 128], np.int32)  # of the classes: curvature next to the edge, in R/64
_CAPS = np.array([128, 128, 96, 77, 51], np.int32)  # of a class: largest correction, in R/64
_ENDS = np.array([384, 384, 288, 512, 1024], np.int32)  # of a class: steps from here on are edges of objects, in R/64
# Parts of the correction by class, in 1/64, for p7..p0 and q7..q0.
_RAMPS = np.array(
    [
        [14, 18, 24, 29, 35, 45, 59, 74],
        [6, 8, 10, 13, 17, 26, 44, 68],
        [3, 3, 3, 3, 5, 6, 24, 60],
        [0, 0, 0, 0, 3, 0, 11, 49],
        [0, 0, 0, 0, 0, 1, -3, 13],
    ],
    np.int32,
)
_RAMP_BITS = _UNIT_BITS = 6


def deblock(picture: Array, qp: Array, strength: int, weak: Edges | None = None) -> Array:
    """Smooth the edges of blocks: those between columns of blocks first, then those between rows.

    On CPUs with AVX2 it is in C++, with the same bits; gradients are XLA's everywhere.

    Args:
        picture: [B, H, W, C] in 0..1, or int16 or uint16; H and W are multiples of 16.
        qp: [B].
        strength: R at qp 0, in 1/512.
        weak: masks of the edges to be smoothed less; None: there are none.
    """
    smooth = native_deblocking.or_plain(_deblock) if native_deblocking.usable(picture) else _deblock
    return smooth(picture, _error_sizes(qp, strength, picture.dtype), weak)


def _deblock(picture: Array, sizes: Array, weak: Edges | None) -> Array:
    rows, columns = (None, None) if weak is None else weak
    # Samples along an edge lie together, or XLA on CPU takes them one by one.
    turned = _smoothed(picture.transpose(0, 3, 2, 1), sizes, None if columns is None else columns.swapaxes(1, 2))
    return _smoothed(turned.swapaxes(2, 3), sizes, rows).transpose(0, 2, 3, 1)


def weak_edges(symbols: Array) -> Edges:
    """Edges between skipped blocks that move together: most often one piece of the picture that they come from.

    Args:
        symbols: [B, h, w, 3] int8, the side information of block motion.
    """

    def together(a: Array, b: Array) -> Array:
        return (a == b).all(axis=-1) & (a[..., 2] != 0)

    return together(symbols[:, :-1], symbols[:, 1:]), together(symbols[:, :, :-1], symbols[:, :, 1:])


def _error_sizes(qp: Array, strength: int, dtype: jnp.dtype) -> Array:
    """R [B] in 1/16 of a sample's unit; int32 for pictures of integers."""
    sizes = strength * jnp.asarray(_SIZES)[jnp.round(qp).astype(jnp.int32)]
    if dtype == jnp.uint16:
        return _divided(sizes, _SIZE_BITS - _R_BITS - (FIXED_FINE_BITS - FIXED_BITS))
    in_units = _divided(sizes, _SIZE_BITS - _R_BITS)
    return in_units if dtype == jnp.int16 else in_units.astype(dtype) / FIXED_SCALE


def _divided(x: Array, bits: int) -> Array:
    """X / 2^bits; integers are rounded, halves up."""
    return (x + (1 << (bits - 1))) >> bits if jnp.issubdtype(x.dtype, jnp.integer) else x / (1 << bits)


def _smoothed(planes: Array, sizes: Array, weak: Array | None) -> Array:
    """Smooth the edges between rows of blocks.

    Args:
        planes: [B, C, H, W].
        sizes: [B], R.
        weak: [B, H/16 - 1, W/16].
    """
    b, c, height, width = planes.shape
    edges = height // _BLOCK - 1
    if not edges:
        return planes
    integers = jnp.issubdtype(planes.dtype, jnp.integer)
    wide = planes.astype(jnp.int32) if integers else planes
    blocks = wide.reshape(b, c, edges + 1, _BLOCK, width)
    p2, p1, p0 = (blocks[:, :, :-1, _BLOCK - k] for k in (3, 2, 1))
    q0, q1, q2 = (blocks[:, :, 1:, k] for k in range(3))
    size = jnp.broadcast_to(sizes[:, None, None], (b, edges, width // _BLOCK))
    if weak is not None:
        size = jnp.where(weak, _divided(size, _WEAK_BITS), size)
    size = jnp.repeat(size, _BLOCK // _LINES, axis=2)[:, None]

    class_ = _class_of(jnp.abs(p2 - 2 * p1 + p0) + jnp.abs(q2 - 2 * q1 + q0), size)
    cap, end = (_divided(_chosen(values, class_) * size, _R_BITS + _UNIT_BITS) for values in (_CAPS, _ENDS))
    # XLA on CPU would compute them for every pixel anew.
    class_, cap, end = lax.optimization_barrier((class_, cap, end))  # type: ignore[no-untyped-call]
    step = _divided(9 * (q0 - p0) - 3 * (q1 - p1), 4)
    magnitude = jnp.minimum(jnp.abs(step), _along(cap))
    step = jnp.sign(step) * jnp.clip(_along(end) - jnp.abs(step), 0, magnitude)
    class_ = _along(class_)
    parts = [_chosen(_RAMPS[:, k], class_) for k in range(_HALF)]
    correction = jnp.moveaxis(jnp.stack([_divided(part * step, _RAMP_BITS) for part in parts]), 0, 3)  # of p7..p0

    around = wide[:, :, _HALF:-_HALF].reshape(b, c, edges, _BLOCK, width)
    before = around[:, :, :, :_HALF] + correction
    after = around[:, :, :, _HALF:] - correction[:, :, :, ::-1]
    largest = fixed.one(planes.dtype) if integers else 1
    smooth = jnp.clip(jnp.concatenate([before, after], axis=3), 0, largest).astype(planes.dtype)
    smooth = smooth.reshape(b, c, height - _BLOCK, width)
    return jnp.concatenate([planes[:, :, :_HALF], smooth, planes[:, :, -_HALF:]], axis=2)


def _class_of(curvature: Array, size: Array) -> Array:
    """The class of every four lines [B, C, edges, W/4] from the curvature of each [B, C, edges, W]."""
    *others, width = curvature.shape
    total = lax.stop_gradient(curvature).reshape(*others, width // _LINES, _LINES).sum(axis=-1)
    scaled = total * ((1 << (_R_BITS + _UNIT_BITS)) // _LINES)
    return jnp.sum(jnp.stack([scaled >= int(bound) * size for bound in _BOUNDS]), axis=0, dtype=jnp.int32)


def _chosen(values: np.ndarray, class_: Array) -> Array:
    """The value of each class, by selections: XLA on CPU gathers one number at a time."""
    result = jnp.full(class_.shape, int(values[0]), jnp.int32)
    for number, value in enumerate(values[1:], start=1):
        result = jnp.where(class_ == number, int(value), result)
    return result


def _along(x: Array) -> Array:
    """Numbers of four lines each [B, C, edges, W/4] for every line."""
    return jnp.repeat(x, _LINES, axis=-1)
