"""Building blocks against the official implementation (golden blocks.npz)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.convert.names import OfficialTensor, _their_parts
from nvc_jax.models.codecs import tiny
from nvc_jax.models.inter import Inter
from nvc_jax.models.intra import Intra
from nvc_jax.models.layers import Conv3x3, DCBlock, Down2, Pointwise, Up2
from nvc_jax.models.params import flatten, unflatten
from nvc_jax.ops import rows
from nvc_jax.ops.floating import wsilu
from nvc_jax.ops.pixels import depth_to_space

BLOCKS = {
    "dcb": DCBlock(16),
    "dcb_adaptor": DCBlock(24),
    "dcb_force_adaptor": DCBlock(16, force_adaptor=True),
    "dcb_shortcut": DCBlock(16, shortcut=True),
    "dcb_shortcut_adaptor": DCBlock(24, shortcut=True),
    "dcb_quant": DCBlock(16),
    "dcb_cat_front": DCBlock(16),
    "dcb_cat_back": DCBlock(16),
    "subpel_k1": Pointwise(48),
    "subpel_k3": Conv3x3(48),
    "subpel_cat_back": Conv3x3(48),
    "rb_stride2": Down2(24),
    "rb_up": Up2(24),
    "conv3_s2": Conv3x3(20, stride=2),
}


@pytest.fixture
def case(request, golden):
    """Arrays of a case; pictures as NHWC."""
    with np.load(golden / "blocks.npz") as data:
        arrays = {k.removeprefix(f"{request.param}/"): data[k] for k in data.files if k.startswith(f"{request.param}/")}
    pictures = {k: v.transpose(0, 2, 3, 1) for k, v in arrays.items() if v.ndim == 4 and not k.startswith("w/")}
    return request.param, arrays | pictures


def official_params(module, case, arrays):
    """Parameters of a module of ours from the weights of a case."""
    prefix = "w/conv.0." if case.startswith("subpel") else "w/"
    shapes = jax.eval_shape(module.init, jax.random.key(0), arrays["x"])["params"]
    flat = {}
    for name in flatten(shapes):
        theirs = arrays[prefix + ".".join(_their_parts(name))]
        tensor = OfficialTensor("", name, theirs.shape, name.split("/")[-1].startswith("kernel"))
        flat[name] = theirs if theirs.ndim == 1 else tensor.to_ours(theirs)
    return {"params": unflatten(flat)}


def assert_close(ours, official):
    """1e-5 of the largest output: the bound of the golden README."""
    assert ours.shape == official.shape
    np.testing.assert_allclose(ours, official, rtol=0, atol=1e-5 * np.abs(official).max())


@pytest.mark.parametrize("case", BLOCKS, indirect=True)
def test_block(case):
    name, arrays = case
    out = BLOCKS[name].apply(official_params(BLOCKS[name], name, arrays), arrays["x"])
    # Arguments of their blocks are written out in our networks.
    if name.startswith("subpel"):
        out = depth_to_space(out, 2)
    if "quant_step" in arrays:
        out = out * arrays["quant_step"]
    if "to_cat" in arrays:
        parts = [arrays["to_cat"], out] if name.endswith("front") else [out, arrays["to_cat"]]
        out = jnp.concatenate(parts, axis=-1)
    assert_close(out, arrays["out"])


@pytest.mark.parametrize("case", ["wsilu"], indirect=True)
def test_wsilu(case):
    assert_close(wsilu(case[1]["x"]), case[1]["out"])


@pytest.mark.parametrize("case", ["wsilu_chunk_add"], indirect=True)
def test_a_block_adds_the_halves_of_its_middle(case):
    _, arrays = case
    block, x = DCBlock(4), jnp.zeros((1, 1, 1, 4))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(block.init, jax.random.key(0), x)["params"])

    def middle(before, half):  # its 4C values before the activation come from the bias, its last matrix selects C of 2C
        ffn = zeros["ffn"] | {"bias_in": before, "kernel_out": jnp.eye(8)[:, half]}
        return block.apply({"params": zeros | {"ffn": ffn}}, x)[0, 0, 0]

    positions = jax.vmap(lambda before: jnp.concatenate([middle(before, slice(0, 4)), middle(before, slice(4, 8))]))
    assert_close(positions(arrays["x"].reshape(-1, 16)).reshape(arrays["out"].shape), arrays["out"])


@pytest.mark.parametrize("case", ["dcb_shortcut_adaptor"], indirect=True)
def test_large_pictures_go_through_a_block_in_groups_of_rows(case, monkeypatch):
    name, arrays = case
    monkeypatch.setattr(rows, "TILE_POSITIONS", 22)  # of 9 rows of 11: groups of 2, and one left over
    params = official_params(BLOCKS[name], name, arrays)
    assert "scan" in str(jax.make_jaxpr(BLOCKS[name].apply)(params, arrays["x"]))
    assert_close(BLOCKS[name].apply(params, arrays["x"]), arrays["out"])


def prior_from_fusion(network, fusion, z_channels, temporal):
    """The prior that a network makes of given outputs of prior fusion."""

    def interceptor(call, args, kwargs, context):
        return fusion if context.module.name == "fusion_out" else call(*args, **kwargs)

    size = fusion.shape[1:3]
    z = jnp.zeros((1, 2, 2, z_channels))
    with nn.intercept_methods(interceptor):
        run = jax.jit(lambda key: network.init_with_output(key, z, temporal, size, method="prior")[0])
        return run(jax.random.key(0))


@pytest.mark.parametrize("case", ["separate_prior_image"], indirect=True)
def test_parts_of_the_intra_prior(case):
    _, arrays = case
    network = Intra(dataclasses.replace(tiny["intra"], latent=8))
    prior = prior_from_fusion(network, arrays["params"], tiny["intra"].hyper, None)
    assert_close(prior.gain_in, arrays["q_enc"])
    assert_close(prior.gain_out, arrays["q_dec"])
    np.testing.assert_array_equal(prior.scale, arrays["scales"])
    np.testing.assert_array_equal(prior.mean, arrays["means"])


@pytest.mark.parametrize("case", ["clamp_reciprocal"], indirect=True)
def test_quant_step_of_the_inter_prior(case):
    _, arrays = case
    scale, mean = jnp.full_like(arrays["q"], 2), jnp.full_like(arrays["q"], 3)
    config = dataclasses.replace(tiny["inter"], latent=8)
    fusion = jnp.concatenate([arrays["q"], scale, mean], axis=-1)
    prior = prior_from_fusion(Inter(config), fusion, config.hyper, jnp.zeros((1, 10, 14, config.width)))
    np.testing.assert_array_equal(prior.gain_out, arrays["q_dec"])
    assert_close(arrays["y"] * prior.gain_in, arrays["y_scaled"])
    np.testing.assert_array_equal(prior.scale, scale)
    np.testing.assert_array_equal(prior.mean, mean)


def test_every_case_is_tested(golden):
    here = {*BLOCKS, "wsilu", "wsilu_chunk_add", "separate_prior_image", "clamp_reciprocal"}
    in_ops = {"unshuffle8", "shuffle8", "shuffle2", "replicate_pad", "round_and_to_int8", "mask_2x", "mask_4x",
              "process_with_mask", "single_part_2x", "single_part_4x", "restore_2x", "restore_4x", "sizes", "yuv420",
              "rgb"}  # fmt: skip
    with np.load(golden / "blocks.npz") as data:
        assert {name.split("/")[0] for name in data.files} == here | in_ops
