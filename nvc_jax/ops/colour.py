"""Between 8-bit planes or RGB and the codec's picture: YCbCr 4:4:4, [B, H, W, 3], 0..1 (spec 10)."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from nvc_jax.ops import fixed
from nvc_jax.ops.arithmetic import arithmetic, to_precision
from nvc_jax.ops.pixels import pad_to_multiple
from nvc_jax.spec import FIXED_SCALE

KR, KG, KB = 0.2126, 0.7152, 0.0722  # BT.709

# Coefficients of `ycbcr_to_rgb` from (Cb, Cr) to R - Y, G - Y and B - Y in 1/4096, rounded (docs/INT16.md, section 5).
_CHROMA_BITS = 12
_CHROMA_TO_RGB = np.array([[0, 6450], [-767, -1917], [7601, 0]], np.int32)


def planes_to_picture(y: Array, u: Array, v: Array) -> Array:
    """8-bit 4:2:0 planes to a picture; chroma by nearest neighbour.

    Args:
        y: [B, H, W] uint8.
        u: [B, ceil(H/2), ceil(W/2)] uint8.
        v: like u.

    Returns:
        [B, H, W, 3] float32 in 0..1.
    """
    _, h, w = y.shape

    def up(plane: Array) -> Array:
        return plane.repeat(2, axis=1).repeat(2, axis=2)[:, :h, :w]

    return jnp.stack([y, up(u), up(v)], axis=-1).astype(jnp.float32) / 255.0


def split_planes(picture: Array) -> tuple[Array, Array, Array]:
    """A picture as 4:2:0 planes, not rounded: chroma is the mean of 2x2 pixels.

    Args:
        picture: [B, H, W, 3] in 0..1, or int16 in 1/512, or uint16 in 1/4096; odd sizes are replicated by one pixel
            before averaging.

    Returns:
        y [B, H, W], u and v [B, ceil(H/2), ceil(W/2)], real numbers in 0..1.
    """
    if _is_integer(picture):
        picture = to_precision(picture, jnp.float32)
    chroma = _chroma_of_cells(picture) / 4.0
    return picture[..., 0], chroma[..., 0], chroma[..., 1]


def picture_to_planes(picture: Array) -> tuple[Array, Array, Array]:
    """`split_planes`, rounded to uint8; pictures of integers take integer arithmetic alone."""
    to_uint8, white = arithmetic(picture).to_uint8, fixed.one(picture.dtype) if _is_integer(picture) else 1
    chroma = to_uint8(_chroma_of_cells(picture), 4 * white)
    return to_uint8(picture[..., 0], white), chroma[..., 0], chroma[..., 1]


def _chroma_of_cells(picture: Array) -> Array:
    """[B, H, W, 3] -> [B, H/2, W/2, 2]: sums of both chroma components over cells of 2x2 pixels, float32 or int32.

    Row by row, so that every picture size and machine rounds them in the same way.
    """
    chroma = pad_to_multiple(picture[..., 1:], 2)
    chroma = chroma.astype(jnp.int32 if _is_integer(chroma) else jnp.float32)
    upper, lower = (chroma[:, row::2, ::2] + chroma[:, row::2, 1::2] for row in range(2))
    return upper + lower


def picture_to_rgb(picture: Array) -> Array:
    """[..., 3] YCbCr in 0..1, or int16 in 1/512, or uint16 in 1/4096, to 8-bit RGB."""
    if not _is_integer(picture):
        return arithmetic(picture).to_uint8(ycbcr_to_rgb(picture))
    white = fixed.one(picture.dtype)
    luma, chroma = picture[..., :1].astype(jnp.int32), picture[..., 1:].astype(jnp.int32) - white // 2
    weights = jnp.asarray(_CHROMA_TO_RGB)
    rgb = (luma << _CHROMA_BITS) + chroma[..., :1] * weights[:, 0] + chroma[..., 1:] * weights[:, 1]
    if white > FIXED_SCALE:  # 255 times it must fit
        rgb = fixed.coarse(rgb)
    return fixed.to_uint8(rgb, FIXED_SCALE << _CHROMA_BITS)


def _is_integer(picture: Array) -> bool:
    return bool(jnp.issubdtype(picture.dtype, jnp.integer))


def rgb_to_ycbcr(rgb: Array) -> Array:
    """[..., 3] RGB in 0..1 to full-range BT.709 YCbCr, chroma centred at 0.5, clamped to 0..1."""
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    y = KR * r + KG * g + KB * b
    cb = 0.5 * (b - y) / (1.0 - KB) + 0.5
    cr = 0.5 * (r - y) / (1.0 - KR) + 0.5
    return jnp.clip(jnp.stack([y, cb, cr], axis=-1), 0.0, 1.0)


def ycbcr_to_rgb(ycbcr: Array) -> Array:
    """Full-range BT.709 YCbCr to RGB, not clamped."""
    y, cb, cr = ycbcr[..., 0], ycbcr[..., 1] - 0.5, ycbcr[..., 2] - 0.5
    r = y + (2.0 - 2.0 * KR) * cr
    b = y + (2.0 - 2.0 * KB) * cb
    g = (y - KR * r - KB * b) / KG
    return jnp.stack([r, g, b], axis=-1)
