"""From latents to the input of the entropy coder: coding steps, symbols, table indexes (spec 4 and 5).

At every position exactly one part (half or quarter) of the channels is active in a coding step, so each step is
*folded* to `C / steps` channels. Symbols and indexes leave in the coder's order, [B, C/steps, H, W].
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

from nvc_jax.spec import LOG_SCALE_MIN, LOG_SCALE_STEP_RECIPROCAL, NOT_CODED, SCALE_LEVELS, SCALE_MAX, SCALE_MIN

# Active part of the channels at the positions (top-left, top-right, bottom-left, bottom-right) of a 2x2 cell, by step.
_ACTIVE_PARTS = {
    2: ((0, 1, 1, 0), (1, 0, 0, 1)),
    4: ((0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1), (1, 0, 3, 2)),
}


def active_part(steps: int, step: int, height: int, width: int) -> np.ndarray:
    """[H, W, 1] index of the part of the channels that is coded at each position in a step."""
    cell = np.array(_ACTIVE_PARTS[steps][step]).reshape(2, 2)
    return np.tile(cell, (math.ceil(height / 2), math.ceil(width / 2)))[:height, :width, None]


def fold(x: Array, steps: int, step: int) -> Array:
    """[B, H, W, C] -> [B, H, W, C/steps]: the channels that are active in this step."""
    active = active_part(steps, step, *x.shape[1:3])
    parts = jnp.split(x, steps, axis=-1)
    folded = parts[0]
    for number, part in enumerate(parts[1:], start=1):
        folded = jnp.where(active == number, part, folded)
    return folded


def unfold(x: Array, steps: int, step: int) -> Array:
    """[B, H, W, C/steps] -> [B, H, W, C]: back into place, zero where another step is active."""
    active = active_part(steps, step, *x.shape[1:3])
    return jnp.concatenate([jnp.where(active == number, x, 0) for number in range(steps)], axis=-1)


def round_to_symbols(x: Array) -> Array:
    """Round half to even and clamp to int8."""
    return jnp.clip(jnp.round(x.astype(jnp.float32)), -128, 127).astype(jnp.int8)


def to_coder_order(x: Array) -> Array:
    """[B, H, W, C] -> [B, C, H, W]."""
    return x.transpose(0, 3, 1, 2)


def from_coder_order(x: Array) -> Array:
    """[B, C, H, W] -> [B, H, W, C]."""
    return x.transpose(0, 2, 3, 1)


def table_indexes(scale: Array, skip_threshold: Array) -> Array:
    """Row of the Gaussian table for each scale, `NOT_CODED` where the symbol is skipped.

    Args:
        scale: standard deviations, any shape, float32.
        skip_threshold: scalar; symbols whose scale (clamped to the table's range) is not above it are not coded and
            are zero. Use -1 for no skipping.

    Returns:
        uint8, same shape.
    """
    scale = jnp.clip(scale, SCALE_MIN, SCALE_MAX)
    index = jnp.floor((jnp.log(scale) - LOG_SCALE_MIN) * LOG_SCALE_STEP_RECIPROCAL)
    index = jnp.clip(index, 0, SCALE_LEVELS - 1).astype(jnp.uint8)  # another backend's log may be an ulp off
    return jnp.where(scale > skip_threshold, index, jnp.uint8(NOT_CODED))
