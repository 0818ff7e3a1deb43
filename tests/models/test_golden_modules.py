"""Whole sub-networks against the official implementation (golden modules.npz, synthetic weights, qp 37)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.models.codecs import dcvc_rt
from nvc_jax.models.config import PATCH
from nvc_jax.models.layers import chain
from nvc_jax.models.networks import networks
from nvc_jax.models.state import Feature, Pictures
from nvc_jax.ops.pixels import depth_to_space, space_to_depth

NETWORKS = networks(dcvc_rt)

INTRA = {
    "enc": lambda m, x, qps: m.analyse(x["x"][:, None], None, qps)[0],
    "hyper_enc": lambda m, x, qps: m.hyper_encoder(x["x"]),
    "hyper_dec": lambda m, x, qps: m.hyper_decoder(x["x"]),
    "y_prior_fusion": lambda m, x, qps: m.fusion_out(chain(m.fusion_blocks, x["x"])),
    "y_spatial_prior_reduction": lambda m, x, qps: m.spatial_reduction(x["x"]),
    "y_spatial_prior_adaptor_1": lambda m, x, qps: m.spatial_adaptors[0](x["x"]),
    "y_spatial_prior_adaptor_2": lambda m, x, qps: m.spatial_adaptors[1](x["x"]),
    "y_spatial_prior_adaptor_3": lambda m, x, qps: m.spatial_adaptors[2](x["x"]),
    "y_spatial_prior": lambda m, x, qps: m.spatial_out(chain(m.spatial_blocks, x["x"])),
    "dec": lambda m, x, qps: depth_to_space(m.decoder_out(m.synthesise(x["x"], None, qps)), PATCH),
}
INTER = {
    "feature_adaptor_i": lambda m, x, qps: m.adaptor_picture(space_to_depth(x["frame"], PATCH)),
    "feature_adaptor_p": lambda m, x, qps: m.adaptor_feature(x["x"]),
    "feature_extractor": lambda m, x, qps: _extractor(m, x["x"], qps),
    "encoder": lambda m, x, qps: m.encoder_down(_encoder(m, x, qps)),
    "hyper_encoder": lambda m, x, qps: m.hyper_encoder(x["x"]),
    "hyper_decoder": lambda m, x, qps: m.hyper_decoder(x["x"]),
    "temporal_prior_encoder": lambda m, x, qps: m.temporal_prior(x["x"]),
    "y_prior_fusion": lambda m, x, qps: m.fusion_out(chain(m.fusion_blocks, x["x"])),
    "y_spatial_prior": lambda m, x, qps: m.spatial_out(chain(m.spatial_blocks, x["x"])),
    "decoder": lambda m, x, qps: m.synthesise(x["x"], x["ctx"], qps),
    "recon_generation_net": lambda m, x, qps: m.reconstruct(x["x"], None, qps)[:, 0],
}


def _extractor(m, x, qps):
    feature = chain(m.extractor_prior, x)
    return m.context(feature), feature * m.q_feature(qps)


def _encoder(m, x, qps):
    feature = m.encoder_in(space_to_depth(x["x"], PATCH))
    return chain(m.encoder_blocks, jnp.concatenate([feature, x["ctx"]], axis=-1)) * m.q_encoder(qps)


@pytest.mark.parametrize(
    ("network", "module"), [("intra", name) for name in INTRA] + [("inter", name) for name in INTER]
)
def test_module_matches_official(golden, golden_params, network, module):
    data = np.load(golden / "modules.npz")
    prefix = f"{'image' if network == 'intra' else 'video'}/{module}/"
    arrays = {key.removeprefix(prefix): data[key].transpose(0, 2, 3, 1) for key in data.files if key.startswith(prefix)}
    inputs = {key: value for key, value in arrays.items() if not key.startswith("out")}
    function = (INTRA if network == "intra" else INTER)[module]
    qps, params = jnp.array([[float(data["qp"])]]), {"params": golden_params[network]}
    outputs = jax.tree.leaves(jax.jit(functools.partial(NETWORKS[network].apply, method=function))(params, inputs, qps))
    for number, output in enumerate(outputs):
        expected = arrays[f"out{number}"]
        assert output.shape == expected.shape
        # 2e-5 of the largest output: the bound the golden files give for a float32 port.
        np.testing.assert_allclose(output, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_the_state_selects_the_adaptor(golden_params):
    network, params = NETWORKS["inter"], golden_params["inter"]
    pictures = jnp.full((1, 1, 16, 16, 3), 0.5)
    feature = jnp.ones((1, 2, 2, network.config.width))
    for state in (Pictures(pictures), Feature(feature)):
        features, temporal = network.apply({"params": params}, state, jnp.array([[10.0]]), method="features")
        assert features.shape == temporal.shape == (1, 2, 2, network.config.width)
