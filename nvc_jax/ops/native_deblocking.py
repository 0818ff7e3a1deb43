"""Deblocking in C++ (native_coder/deblocking.h), which gives the bits of XLA's on CPU."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from nvc_jax.ops.native import available, takes

Edges = tuple[Array, Array]
Deblock = Callable[[Array, Array, Edges | None], Array]

_BLOCK = 16


def usable(picture: Array) -> bool:
    """True if there are handlers for programs of this process that take these pictures."""
    return takes("deblocking", picture)


def deblock(picture: Array, sizes: Array, weak: Edges | None) -> Array:
    """Smooth the edges of blocks.

    Args:
        picture: [B, H, W, 3] int16, uint16 or float32.
        sizes: [B] int32 or float32, of errors.
        weak: see `deblocking.deblock`.
    """
    b, h, w, _ = picture.shape
    rows, columns = h // _BLOCK, w // _BLOCK
    if weak is None:
        weak = jnp.zeros((b, rows - 1, columns), bool), jnp.zeros((b, rows, columns - 1), bool)
    result = jax.ShapeDtypeStruct(picture.shape, picture.dtype)  # type: ignore[no-untyped-call]
    name = f"nvc_deblocking_deblock_{available('deblocking')[0]}"
    smooth: Array = jax.ffi.ffi_call(name, result, vmap_method="sequential")(picture, sizes, *weak)
    return smooth


def or_plain(plain: Deblock) -> Deblock:
    """`deblock` in programs for CPUs, `plain` in those for other devices, and where gradients are taken."""

    @jax.custom_jvp
    def smooth(picture: Array, sizes: Array, weak: Edges | None) -> Array:
        result: Array = lax.platform_dependent(picture, sizes, weak, cpu=deblock, default=plain)
        return result

    @smooth.defjvp
    def differentiated(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
        pair: tuple[Array, Array] = jax.jvp(plain, primals, tangents)
        return pair

    return smooth
