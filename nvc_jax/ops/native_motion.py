"""Block motion in C++ (native_coder/motion.h), which gives the bits of XLA's on CPU."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nvc_jax.ops.native import available, takes

_BLOCK = 16


def usable(*pictures: Array) -> bool:
    """True if there are handlers for programs of this process that take these pictures."""
    return takes("motion", *pictures)


def estimate(picture: Array, reference: Array, prices: Array, bits: np.ndarray, surprise: int, still: int) -> Array:
    """Search vectors [B, H/16, W/16, 2] int8, as `motion.estimate`.

    Args:
        picture: [B, H, W, 3] int16 or float32.
        reference: the same.
        prices: [B] int32, of a bit.
        bits: [255] int32, a component's quarters of a bit, by its difference from the expected one.
        surprise: quarters of a bit of motion among still blocks.
        still: blocks of nine that make them.
    """
    b, h, w, _ = picture.shape
    result = jax.ShapeDtypeStruct((b, h // _BLOCK, w // _BLOCK, 2), jnp.int8)  # type: ignore[no-untyped-call]
    return _called("estimate", result)(picture, reference, prices, bits, surprise=surprise, still=still)


def refine(
    picture: Array,
    reference: Array,
    vectors: Array,
    scales: Array,
    *,
    choices: np.ndarray,
    differences: np.ndarray,
    visits: np.ndarray,
    ends: np.ndarray,
) -> Array:
    """Replace vectors by those that are cheap to code where that pays, as `motion_refinement.refine`.

    Args:
        picture: [B, H, W, 3] int16 or float32.
        reference: the same.
        vectors: [B, H/16, W/16, 2] int8.
        scales: [B] float32, costs of a squared error.
        choices: [160, 6] int32, costs of choices by table row.
        differences: [20, 256] int32, costs of differences from -128 on by table row.
        visits: [blocks, 6] int32, step after step: the place of a block, those of its neighbours, and whether these are
            more than a block away.
        ends: [steps] int32, of steps in `visits`.
    """
    result = jax.ShapeDtypeStruct(vectors.shape, vectors.dtype)  # type: ignore[no-untyped-call]
    return _called("refine", result)(picture, reference, vectors, scales, choices, differences, visits, ends)


def compensate(picture: Array, vectors: Array) -> Array:
    """Move the blocks of a picture, int16, uint16 or float32, as `motion.compensate`."""
    result = jax.ShapeDtypeStruct(picture.shape, picture.dtype)  # type: ignore[no-untyped-call]
    return _called("compensate", result)(picture, vectors)


def compensate_gradient(picture: Array, vectors: Array, gradient: Array) -> Array:
    """The gradient of a float32 picture from that of the moved one."""
    result = jax.ShapeDtypeStruct(picture.shape, picture.dtype)  # type: ignore[no-untyped-call]
    return _called("compensate_gradient", result)(picture, vectors, gradient)


def or_plain(plain: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """`compensate` and its gradient in programs for CPUs, `plain` and its gradient in those for other devices."""

    @jax.custom_vjp
    def moved(picture: Array, vectors: Array) -> Array:
        result: Array = lax.platform_dependent(picture, vectors, cpu=compensate, default=plain)
        return result

    def forward(picture: Array, vectors: Array) -> tuple[Array, tuple[Array, Array]]:
        return moved(picture, vectors), (picture, vectors)

    def backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, None]:
        def of_plain(picture: Array, vectors: Array, gradient: Array) -> Array:
            result: tuple[Array] = jax.vjp(lambda x: plain(x, vectors), picture)[1](gradient)
            return result[0]

        result: Array = lax.platform_dependent(*saved, gradient, cpu=compensate_gradient, default=of_plain)
        return result, None

    moved.defvjp(forward, backward)
    return moved


def _called(name: str, result: jax.ShapeDtypeStruct) -> Callable[..., Array]:
    return jax.ffi.ffi_call(f"nvc_motion_{name}_{available('motion')[0]}", result, vmap_method="sequential")
