"""Whole sub-networks against the official implementation (golden modules.npz, synthetic weights, qp 37)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.models.config import PATCH, dcvc_rt
from nvc_jax.models.layers import chain
from nvc_jax.models.params import models
from nvc_jax.models.state import Reference
from nvc_jax.ops.pixels import depth_to_space, space_to_depth

MODELS = models(dcvc_rt)

INTRA = {
    "enc": lambda m, x, qp: m.encoder_down(
        chain(m.encoder_blocks, m.encoder_in(space_to_depth(x["x"], PATCH)) * m.q_encoder(qp))
    ),
    "hyper_enc": lambda m, x, qp: m.hyper_encoder(x["x"]),
    "hyper_dec": lambda m, x, qp: m.hyper_decoder(x["x"]),
    "y_prior_fusion": lambda m, x, qp: m.fusion_out(chain(m.fusion_blocks, x["x"])),
    "y_spatial_prior_reduction": lambda m, x, qp: m.spatial_reduction(x["x"]),
    "y_spatial_prior_adaptor_1": lambda m, x, qp: m.spatial_adaptors[0](x["x"]),
    "y_spatial_prior_adaptor_2": lambda m, x, qp: m.spatial_adaptors[1](x["x"]),
    "y_spatial_prior_adaptor_3": lambda m, x, qp: m.spatial_adaptors[2](x["x"]),
    "y_spatial_prior": lambda m, x, qp: m.spatial_out(chain(m.spatial_blocks, x["x"])),
    "dec": lambda m, x, qp: depth_to_space(m.decoder_out(m.synthesise(x["x"], None, qp)), PATCH),
}
INTER = {
    "feature_adaptor_i": lambda m, x, qp: m.adaptor_picture(space_to_depth(x["frame"], PATCH)),
    "feature_adaptor_p": lambda m, x, qp: m.adaptor_feature(x["x"]),
    "feature_extractor": lambda m, x, qp: _extractor(m, x["x"], qp),
    "encoder": lambda m, x, qp: m.encoder_down(_encoder(m, x, qp)),
    "hyper_encoder": lambda m, x, qp: m.hyper_encoder(x["x"]),
    "hyper_decoder": lambda m, x, qp: m.hyper_decoder(x["x"]),
    "temporal_prior_encoder": lambda m, x, qp: m.temporal_prior(x["x"]),
    "y_prior_fusion": lambda m, x, qp: m.fusion_out(chain(m.fusion_blocks, x["x"])),
    "y_spatial_prior": lambda m, x, qp: m.spatial_out(chain(m.spatial_blocks, x["x"])),
    "decoder": lambda m, x, qp: m.synthesise(x["x"], x["ctx"], qp),
    "recon_generation_net": lambda m, x, qp: m.reconstruct(x["x"], qp),
}


def _extractor(m, x, qp):
    feature = chain(m.extractor_prior, x)
    return m.context(feature), feature * m.q_feature(qp)


def _encoder(m, x, qp):
    feature = m.encoder_in(space_to_depth(x["x"], PATCH))
    return chain(m.encoder_blocks, jnp.concatenate([feature, x["ctx"]], axis=-1)) * m.q_encoder(qp)


@pytest.mark.parametrize(("model", "module"), [("intra", name) for name in INTRA] + [("inter", name) for name in INTER])
def test_module_matches_official(golden, golden_params, model, module):
    data = np.load(golden / "modules.npz")
    prefix = f"{'image' if model == 'intra' else 'video'}/{module}/"
    arrays = {key.removeprefix(prefix): data[key].transpose(0, 2, 3, 1) for key in data.files if key.startswith(prefix)}
    inputs = {key: value for key, value in arrays.items() if not key.startswith("out")}
    function = (INTRA if model == "intra" else INTER)[module]
    qp = jnp.array([float(data["qp"])])
    outputs = jax.tree.leaves(MODELS[model].apply({"params": golden_params[model]}, inputs, qp, method=function))
    for number, output in enumerate(outputs):
        expected = arrays[f"out{number}"]
        assert output.shape == expected.shape
        # 2e-5 of the largest output: the bound the golden files give for a float32 port.
        np.testing.assert_allclose(output, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_reference_kind_selects_the_adaptor(golden_params):
    model, params = MODELS["inter"], golden_params["inter"]
    picture = jnp.full((1, 16, 16, 3), 0.5)
    feature = jnp.ones((1, 2, 2, dcvc_rt.inter.width))
    qp = jnp.array([10.0])
    for reference in (Reference(picture, "picture"), Reference(feature, "feature")):
        features, temporal = model.apply({"params": params}, reference, qp, method="temporal")
        assert features.shape == temporal.shape == (1, 2, 2, dcvc_rt.inter.width)
