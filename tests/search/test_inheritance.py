"""Start values of smaller modules: what a student keeps of its teacher's weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import Stack
from nvc_jax.models.networks import networks
from nvc_jax.models.params import flatten, parameter_shapes, unflatten
from nvc_jax.search.inheritance import inherit
from nvc_jax.search.variants import candidates, swapped

INTER = dataclasses.replace(tiny["inter"], decoder=Stack(2, 16), recon=Stack(2, 24), extractor_context=Stack(2, 16))
TEACHER = tiny.replace("inter", INTER)


@pytest.fixture(scope="module")
def params():
    return synthetic.model_of(TEACHER).params


def candidate(module, name):
    return next(c for c in candidates(TEACHER)[0] if c.module == module and name in (c.name, *c.also))


def test_one_module_of_each_kind(params):
    """All shapes are the student's, and what does not read or write a smaller module is the teacher's."""
    theirs = flatten(params)
    smaller = candidate("extractor", "1/4 C"), candidate("decoder", "1/3 L 1/2 F"), candidate("reconstruction", "1/2 C")
    student = swapped(TEACHER, smaller)
    flat = flatten(inherit(TEACHER, params, student, 0).params)
    assert {name: leaf.shape for name, leaf in flat.items()} == parameter_shapes(student)
    for name, leaf in flat.items():
        if (
            not name.startswith(("inter/extractor", "inter/decoder", "inter/recon"))
            and leaf.shape == theirs[name].shape
        ):
            np.testing.assert_array_equal(leaf, theirs[name])


def test_slices_are_named_as_the_teachers(params):
    student = swapped(TEACHER, [candidate("decoder", "1/3 L 1/2 F")])
    whole, sliced = (inherit(TEACHER, params, student, 0, slices) for slices in (False, True))
    assert {*whole.taken, *whole.fresh} == {*sliced.taken, *sliced.fresh} == set(flatten(sliced.params))
    assert "inter/decoder_blocks_0/ffn/kernel_in" in whole.fresh
    assert "inter/decoder_blocks_0/ffn/kernel_in" in sliced.taken


def reduced(params, dead):
    """The teacher with weights of 0 on what a student should leave out."""
    flat = {name: np.array(leaf) for name, leaf in flatten(params).items()}
    dead(flat)
    return unflatten(flat)


def pictures(config, params):
    """All that a student changes: reconstructed pictures, from a random feature and latent."""
    network = networks(config)["inter"]
    rng = np.random.default_rng(1)
    picture = jnp.asarray(rng.random((1, 1, 32, 32, 3)), jnp.float32)
    qps = jnp.full((1, 1), 20.0)
    return jax.jit(network.apply)({"params": params["inter"]}, picture, qps)


def kill_ffn(flat):
    """The last quarter of the FFN's two halves in every block of the decoder reaches nothing."""
    for number in range(2):
        flat[f"inter/decoder_blocks_{number}/ffn/kernel_out"][16:] = 0.0


def kill_channels(flat):
    """Every second channel of the reconstruction is 0 on all ways."""
    odd = np.arange(1, 24, 2)
    for number in range(2):
        block = f"inter/recon_blocks_{number}"
        for part in ("pointwise_in", "pointwise_out"):
            flat[f"{block}/{part}/kernel"][:, odd] = flat[f"{block}/{part}/bias"][odd] = 0.0
        flat[f"{block}/depthwise/kernel"][..., odd] = flat[f"{block}/depthwise/bias"][odd] = 0.0
        flat[f"{block}/ffn/kernel_out"][:, odd] = flat[f"{block}/ffn/bias_out"][odd] = 0.0
        flat[f"{block}/ffn/kernel_out"][odd] = flat[f"{block}/ffn/kernel_out"][24 + odd] = 0.0
    flat["inter/recon_blocks_0/adaptor/kernel"][:, odd] = flat["inter/recon_blocks_0/adaptor/bias"][odd] = 0.0
    flat["inter/recon_out/kernel"][odd] = 0.0


def kill_context(flat):
    """Every second channel of the extractor is read by no other module, and 0 within it."""
    odd = np.arange(1, 16, 2)
    for name in ("extractor_prior_0", "extractor_context_0", "extractor_context_1"):
        block = f"inter/{name}"
        flat[f"{block}/pointwise_in/kernel"][odd] = 0.0
        flat[f"{block}/depthwise/kernel"][..., odd] = flat[f"{block}/depthwise/bias"][odd] = 0.0
        flat[f"{block}/ffn/kernel_in"][odd] = 0.0
        flat[f"{block}/ffn/kernel_out"][odd] = flat[f"{block}/ffn/kernel_out"][16 + odd] = 0.0
    for name in ("encoder", "decoder"):
        flat[f"inter/{name}_blocks_0/adaptor/kernel"][16 + odd] = 0.0
    flat["inter/temporal_prior/down/kernel"].reshape(16, 4, -1)[odd] = 0.0


@pytest.mark.parametrize(
    ("module", "name", "kill"),
    [
        ("decoder", "1/2 F", kill_ffn),
        ("reconstruction", "1/2 C", kill_channels),
        ("extractor", "1/2 C", kill_context),
    ],
)
def test_student_computes_the_same_where_the_rest_is_dead(params, module, name, kill):
    """Weights that reach nothing are those that are left out, so that the pictures agree."""
    teacher = reduced(params, kill)
    student = swapped(TEACHER, [candidate(module, name)])
    theirs, ours = pictures(TEACHER, teacher), pictures(student, inherit(TEACHER, teacher, student, 0).params)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.ptp(np.asarray(ours)) > 0.1


def test_random_start_keeps_only_what_fits(params):
    student = swapped(TEACHER, [candidate("decoder", "1/2 F")])
    flat = flatten(inherit(TEACHER, params, student, 0, slices=False).params)
    assert not np.isin(
        flat["inter/decoder_blocks_0/ffn/kernel_in"], flatten(params)["inter/decoder_blocks_0/ffn/kernel_in"]
    ).any()
