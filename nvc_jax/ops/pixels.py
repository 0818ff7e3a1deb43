"""Moving pixels between space and channels, and padding."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

LANES = 128  # of a TPU


def space_to_depth(x: Array, block: int) -> Array:
    """[B, H, W, C] -> [B, H/block, W/block, C*block*block], channel order (c, dy, dx)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // block, block, w // block, block, c)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(b, h // block, w // block, c * block * block)


def depth_to_space(x: Array, block: int) -> Array:
    """[B, H, W, C*block*block] -> [B, H*block, W*block, C], the inverse of `space_to_depth`."""
    if x.shape[-1] // block**2 < LANES // block and x.dtype == jnp.bfloat16:  # a picture
        by_product, plain = partial(_interleave_by_product, block=block), partial(_interleave, block=block)
        pixels: Array = lax.platform_dependent(x, tpu=by_product, default=plain)
        return pixels
    return _interleave(x, block)


def _interleave(x: Array, block: int) -> Array:
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, c // block**2, block, block)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(b, h * block, w * block, c // block**2)


def _interleave_by_product(x: Array, block: int) -> Array:
    """`_interleave` whose columns are put in place by a product with a permutation, exact in bfloat16.

    A TPU holds the innermost axis in 128 lanes. The transposition passes through an array with `block` columns there,
    padded to 16 times the size of the picture: 1 GB at 1920x1080. The product takes 0.1 ms on a v5e.
    """
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, c // block**2, block, block).transpose(0, 3, 1, 4, 5, 2)  # [B, C, H, block, block, W]
    column, phase = jnp.arange(w), jnp.arange(block)
    target = (column * block + phase[:, None]).ravel()
    permutation = jax.nn.one_hot(target, w * block, dtype=x.dtype)
    rows = x.reshape(b, c // block**2, h * block, block * w) @ permutation
    return rows.transpose(0, 2, 3, 1)


def to_patches(pictures: Array, block: int) -> Array:
    """[B, T, H, W, C] -> [B, H/block, W/block, T*C*block*block]: the pictures of a packet, unshuffled together."""
    b, t, h, w, c = pictures.shape
    return space_to_depth(pictures.transpose(0, 2, 3, 1, 4).reshape(b, h, w, t * c), block)


def from_patches(x: Array, block: int, pictures: int) -> Array:
    """The inverse of `to_patches`."""
    x = depth_to_space(x, block)
    b, h, w, c = x.shape
    return x.reshape(b, h, w, pictures, c // pictures).transpose(0, 3, 1, 2, 4)


def pad_to_multiple(x: Array, multiple: int) -> Array:
    """Replicate the right and bottom edge of [B, H, W, C] up to a multiple in both directions."""
    bottom, right = -x.shape[1] % multiple, -x.shape[2] % multiple
    return jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")
