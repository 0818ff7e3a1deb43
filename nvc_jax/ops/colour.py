"""Between 8-bit planes or RGB and the codec's picture: YCbCr 4:4:4, [B, H, W, 3], 0..1 (spec 10)."""

import jax.numpy as jnp
from jax import Array

from nvc_jax.ops.pixels import pad_to_multiple

KR, KG, KB = 0.2126, 0.7152, 0.0722  # BT.709


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
        picture: [B, H, W, 3] in 0..1; odd sizes are replicated by one pixel before averaging.

    Returns:
        y [B, H, W], u and v [B, ceil(H/2), ceil(W/2)], in 0..1.
    """
    chroma = pad_to_multiple(picture[..., 1:], 2)
    b, h, w, _ = chroma.shape
    chroma = chroma.reshape(b, h // 2, 2, w // 2, 2, 2).mean(axis=(2, 4))
    return picture[..., 0], chroma[..., 0], chroma[..., 1]


def picture_to_planes(picture: Array) -> tuple[Array, Array, Array]:
    """`split_planes` with all samples rounded to 8 bits, uint8."""
    y, u, v = split_planes(picture)
    return to_uint8(y), to_uint8(u), to_uint8(v)


def to_uint8(x: Array) -> Array:
    """0..1 to 0..255, rounded half to even and clamped."""
    return jnp.clip(jnp.round(x.astype(jnp.float32) * 255.0), 0, 255).astype(jnp.uint8)


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
