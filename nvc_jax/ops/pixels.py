"""Moving pixels between space and channels, and padding."""

import jax.numpy as jnp
from jax import Array


def space_to_depth(x: Array, block: int) -> Array:
    """[B, H, W, C] -> [B, H/block, W/block, C*block*block], channel order (c, dy, dx)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // block, block, w // block, block, c)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(b, h // block, w // block, c * block * block)


def depth_to_space(x: Array, block: int) -> Array:
    """[B, H, W, C*block*block] -> [B, H*block, W*block, C], the inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, c // block**2, block, block)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(b, h * block, w * block, c // block**2)


def pad_to_multiple(x: Array, multiple: int) -> Array:
    """Replicate the right and bottom edge of [B, H, W, C] up to a multiple in both directions."""
    bottom, right = -x.shape[1] % multiple, -x.shape[2] % multiple
    return jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")
