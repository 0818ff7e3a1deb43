"""Array functions by their own rules: no golden files needed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.ops import colour, pixels
from nvc_jax.ops.latents import (
    active_part,
    fold,
    from_coder_order,
    round_to_symbols,
    table_indexes,
    to_coder_order,
    unfold,
)
from nvc_jax.ops.pixels import depth_to_space, pad_to_multiple, space_to_depth
from nvc_jax.spec import NOT_CODED, SCALE_LEVELS, SCALE_MAX, SCALE_MIN
from nvc_jax.video import RgbFrame, YuvFrame, yuv_to_rgb
from nvc_jax.video.frame import Colour


def normal(seed, shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("steps", [2, 4])
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
def test_steps_code_every_latent_once(steps, size):
    x = normal(0, (2, *size, 8))
    folded, unfolded = (jax.jit(function, static_argnums=(1, 2)) for function in (fold, unfold))
    parts = [folded(x, steps, step) for step in range(steps)]
    whole = [unfolded(part, steps, step) for step, part in enumerate(parts)]
    assert all(part.shape == (2, *size, 8 // steps) for part in parts)
    np.testing.assert_array_equal(sum(map(np.asarray, whole)), x)
    for step, part in enumerate(parts):
        np.testing.assert_array_equal(folded(whole[step], steps, step), part)
        for other in set(range(steps)) - {step}:
            assert not np.asarray(folded(whole[step], steps, other)).any()


def test_order_of_the_steps():
    """The table of spec 4: which part of the channels is active at the four positions of a 2x2 cell."""
    video = [[[0, 1], [1, 0]], [[1, 0], [0, 1]]]
    image = [[[0, 1], [2, 3]], [[3, 2], [1, 0]], [[2, 3], [0, 1]], [[1, 0], [3, 2]]]
    for steps, tables in ((2, video), (4, image)):
        for step, table in enumerate(tables):
            np.testing.assert_array_equal(active_part(steps, step, 2, 2)[..., 0], table)
            np.testing.assert_array_equal(active_part(steps, step, 3, 4)[2, :, 0], [*table[0], *table[0]])


def test_table_rows_are_log_spaced():
    middle = SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** ((np.arange(SCALE_LEVELS - 1) + 0.5) / (SCALE_LEVELS - 1))
    np.testing.assert_array_equal(table_indexes(middle.astype(np.float32), -1.0), np.arange(SCALE_LEVELS - 1))
    extreme = np.array([-np.inf, -1, 0, 16, 17, np.inf], np.float32)
    np.testing.assert_array_equal(table_indexes(extreme, -1.0), [0, 0, 0, 127, 127, 127])


def test_skipped_are_the_scales_not_above_the_threshold():
    threshold = jnp.float32(0.12)
    scale = jnp.array([-5.0, 0.119, threshold, jnp.nextafter(threshold, jnp.float32(1)), 1.0])
    np.testing.assert_array_equal(table_indexes(scale, threshold) == NOT_CODED, [True, True, True, False, False])
    # The scale is clamped first (spec 5): a threshold below the table's range skips nothing.
    assert not (table_indexes(scale, 0.1) == NOT_CODED).any()


def test_symbols():
    x = jnp.array([0.5, 1.5, -0.5, -1.5, 127.6, 1e9, -1e9, 3.49])
    np.testing.assert_array_equal(round_to_symbols(x), [0, 2, 0, -2, 127, 127, -128, 3])
    np.testing.assert_array_equal(from_coder_order(to_coder_order(x.reshape(1, 2, 2, 2))), x.reshape(1, 2, 2, 2))


@pytest.mark.parametrize("block", [2, 8])
def test_space_to_depth_and_back(block):
    x = normal(0, (2, 2 * block, 3 * block, 3))
    packed = jax.jit(space_to_depth, static_argnums=1)(x, block)
    assert packed.shape == (2, 2, 3, 3 * block**2)
    np.testing.assert_array_equal(jax.jit(depth_to_space, static_argnums=1)(packed, block), x)
    packed, x = np.asarray(packed), np.asarray(x)
    np.testing.assert_array_equal(packed[0, 1, 2, block**2 + block], x[0, block + 1, 2 * block, 1])  # (c, dy, dx)


def test_pictures_are_put_together_by_a_product():
    """The way of TPUs, in bfloat16."""
    x = normal(0, (2, 3, 5, 3 * 64)).astype(jnp.bfloat16)
    ways = pixels._interleave_by_product, pixels._interleave
    np.testing.assert_array_equal(*(jax.jit(way, static_argnums=1)(x, 8) for way in ways))


def test_padding_repeats_the_edge():
    x = normal(0, (1, 17, 33, 3))
    padded = pad_to_multiple(x, 16)
    assert padded.shape == (1, 32, 48, 3)
    np.testing.assert_array_equal(padded[:, :17, :33], x)
    np.testing.assert_array_equal(padded[0, 31, 47], x[0, 16, 32])
    np.testing.assert_array_equal(pad_to_multiple(padded, 16), padded)


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (16, 48)])
def test_planes_come_back_exactly(size):
    rng = np.random.default_rng(0)
    height, width = size
    chroma = (1, (height + 1) // 2, (width + 1) // 2)
    planes = [rng.integers(0, 256, shape, np.uint8) for shape in ((1, height, width), chroma, chroma)]
    back = jax.jit(lambda *planes: colour.picture_to_planes(colour.planes_to_picture(*planes)))(*planes)
    for ours, original in zip(back, planes, strict=True):
        np.testing.assert_array_equal(ours, original)


def test_rgb_agrees_with_the_host():
    rng = np.random.default_rng(1)
    frame = YuvFrame(*(rng.integers(0, 256, shape, np.uint8) for shape in ((8, 12), (4, 6), (4, 6))))
    picture = colour.planes_to_picture(frame.y[None], frame.u[None], frame.v[None])
    # The codec centres chroma at 0.5, files at 128/255: 0.5/255 apart, at most 1 after rounding in each primary.
    ours = np.asarray(colour.picture_to_rgb(picture))[0].astype(int)
    host = yuv_to_rgb(frame, Colour(matrix=1, full_range=True)).rgb
    assert isinstance(yuv_to_rgb(frame, Colour(matrix=1, full_range=True)), RgbFrame)
    assert np.abs(ours - host).max() <= 1


def test_rgb_round_trip():
    rgb = jax.random.uniform(jax.random.key(0), (1, 9, 7, 3))
    back = jax.jit(lambda rgb: colour.ycbcr_to_rgb(colour.rgb_to_ycbcr(rgb)))(rgb)
    np.testing.assert_allclose(back, rgb, rtol=0, atol=1e-6)
    grey = colour.rgb_to_ycbcr(jnp.full((1, 1, 1, 3), 0.25))
    np.testing.assert_allclose(grey[0, 0, 0], [0.25, 0.5, 0.5], atol=1e-6)
