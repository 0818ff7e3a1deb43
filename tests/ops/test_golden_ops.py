"""Array functions against the official implementation (golden blocks.npz and entropy.npz)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.codec.stages import CodingStep, quantise
from nvc_jax.models.codecs import tiny
from nvc_jax.models.networks import networks
from nvc_jax.models.params import initialise
from nvc_jax.ops import colour
from nvc_jax.ops.floating import to_uint8
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
from nvc_jax.spec import NOT_CODED

MASKS = [(2, 0), (2, 1), (4, 0), (4, 1), (4, 2), (4, 3)]  # (steps, step) of the masks m0..m5 of the golden file


@pytest.fixture(scope="module")
def blocks(golden):
    """blocks.npz; pictures as NHWC."""
    with np.load(golden / "blocks.npz") as data:
        names = [name for name in data.files if "/w/" not in name]
        return {n: data[n].transpose(0, 2, 3, 1) if data[n].ndim == 4 else data[n] for n in names}


def test_pixel_shuffles(blocks):
    np.testing.assert_array_equal(space_to_depth(blocks["unshuffle8/x"], 8), blocks["unshuffle8/out"])
    np.testing.assert_array_equal(depth_to_space(blocks["shuffle8/x"], 8), blocks["shuffle8/out"])
    np.testing.assert_array_equal(depth_to_space(blocks["shuffle2/x"], 2), blocks["shuffle2/out"])


def test_replicated_edges(blocks):
    padded = pad_to_multiple(blocks["replicate_pad/x"], 16)  # 5x6 to 16x16; the official case stops at 8 rows
    np.testing.assert_array_equal(padded[:, :8], blocks["replicate_pad/out_b3_r10"])
    np.testing.assert_array_equal(padded[:, 8:], padded[:, 7:8].repeat(8, axis=1))


def test_rounding_to_symbols(blocks):
    symbols = round_to_symbols(blocks["round_and_to_int8/z"])
    assert symbols.dtype == np.int8
    np.testing.assert_array_equal(symbols, blocks["round_and_to_int8/z_int8"])
    np.testing.assert_array_equal(symbols, blocks["round_and_to_int8/z_hat"])


@pytest.mark.parametrize("steps", [2, 4])
def test_masks(blocks, steps):
    for step, mask in enumerate(blocks[f"mask_{steps}x"]):  # [1, 8, 5, 7]
        part_of_channel = np.arange(8) // (8 // steps)
        ours = active_part(steps, step, 5, 7) == part_of_channel
        np.testing.assert_array_equal(ours, mask[0].transpose(1, 2, 0))


@pytest.mark.parametrize("number", range(len(MASKS)))
@pytest.mark.parametrize(("name", "threshold"), [("none", -1.0), ("thr012", 0.12)])
def test_coding_step(blocks, number, name, threshold):
    steps, step = MASKS[number]
    y, scales, means = (blocks[f"process_with_mask/{key}"] for key in ("y", "scales", "means"))
    y_res, y_q, y_hat, s_hat = (
        blocks[f"process_with_mask/{name}/m{number}/{key}"] for key in ("y_res", "y_q", "y_hat", "s_hat")
    )
    mean, scale = fold(means, steps, step), to_coder_order(fold(scales, steps, step))
    coding = CodingStep(mean, scale, table_indexes(scale, threshold))
    symbols = from_coder_order(quantise(y, jnp.ones_like(y), coding, steps, step))
    np.testing.assert_array_equal(unfold(fold(y, steps, step) - mean, steps, step), y_res)
    np.testing.assert_array_equal(unfold(symbols, steps, step), y_q)
    np.testing.assert_array_equal(unfold(symbols + mean, steps, step), y_hat)
    np.testing.assert_array_equal(unfold(fold(scales, steps, step), steps, step), s_hat)


@pytest.mark.parametrize(("steps", "step"), [(2, 0), (4, 1)])
def test_folding_is_the_sum_of_masked_parts(blocks, steps, step):
    # Theirs sums the parts of a masked array; ours selects, so it may come with or without the mask.
    x = blocks[f"single_part_{steps}x/x"]
    np.testing.assert_array_equal(fold(x, steps, step), blocks[f"single_part_{steps}x/out"])


@pytest.mark.parametrize(("steps", "step"), MASKS)
def test_decoded_symbols_return_to_their_place(blocks, steps, step):
    mean = fold(blocks["process_with_mask/means"], steps, step)
    restored = unfold(blocks[f"restore_{steps}x/y"] + mean, steps, step)
    np.testing.assert_array_equal(restored, blocks[f"restore_{steps}x/out_m{step}"])


@pytest.mark.parametrize(("name", "threshold"), [("none", -1.0), ("thr012", 0.12)])
def test_table_indexes(golden, name, threshold):
    with np.load(golden / "entropy.npz") as data:
        scales, symbols = data["index/scales"], data["index/symbols"]
        decoder, encoder = data[f"index/dec_{name}"], data[f"index/enc_{name}"]
        coded = data["index/cond_thr012"] if threshold > 0 else np.full(scales.shape, True)
    ours = np.asarray(table_indexes(scales, threshold))
    np.testing.assert_array_equal(ours != NOT_CODED, coded)
    np.testing.assert_array_equal(ours[coded], decoder[coded])
    packed = symbols[coded].astype(np.int16) * 256 + ours[coded]  # the official encoder's symbol and index in one
    np.testing.assert_array_equal(packed, encoder)


def test_sizes(blocks):
    """Padding, and the sizes of y and z, for every picture size of the golden file."""
    params = initialise(tiny, 0)["intra"]
    network = networks(tiny)["intra"]
    rows = zip(*(blocks[f"sizes/{key}"] for key in ("hw", "pad16_right_bottom", "y_hw", "z_hw")), strict=True)
    for (height, width), (right, bottom), y_size, z_size in rows:

        def latents(params, picture):
            padded = pad_to_multiple(picture, 16)
            qps = jnp.zeros((1, 1))
            return padded, *network.apply({"params": params}, padded[:, None], None, qps, method="analyse")

        padded, y, z = jax.eval_shape(latents, params, jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32))
        assert padded.shape == (1, height + bottom, width + right, 3)
        assert y.shape[1:3] == tuple(y_size)
        assert z.shape[1:3] == tuple(z_size)


def test_yuv420(blocks):
    y, (u, v) = blocks["yuv420/y"], blocks["yuv420/uv"]
    picture = colour.planes_to_picture(y, u[None], v[None])
    np.testing.assert_array_equal(to_uint8(picture)[0], blocks["yuv420/to444"].transpose(1, 2, 0))

    f_y, f_uv = blocks["yuv420/f_y"], blocks["yuv420/f_uv"]
    ours_y, ours_u, ours_v = colour.picture_to_planes(blocks["yuv420/f444"])
    np.testing.assert_array_equal(ours_y[..., None], blocks["yuv420/write_y_uint8"])
    ours_uv = np.stack([ours_u, ours_v], axis=-1)
    np.testing.assert_array_equal(ours_uv, np.clip(np.rint(f_uv * np.float32(255)), 0, 255))
    np.testing.assert_array_equal(ours_y[..., None], np.clip(np.rint(f_y * np.float32(255)), 0, 255))
    # The official writer truncates chroma, ours rounds.
    assert set(np.unique(ours_uv.astype(int) - blocks["yuv420/write_uv_uint8"])) <= {0, 1}


def test_rgb(blocks):
    np.testing.assert_allclose(colour.rgb_to_ycbcr(blocks["rgb/rgb"]), blocks["rgb/ycbcr"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(colour.ycbcr_to_rgb(blocks["rgb/ycbcr"]), blocks["rgb/back"], rtol=0, atol=1e-5)
