"""Parameters and multiply-accumulates of the traced model against the counts of the official one."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from nvc_jax.evaluation.complexity import macs_by_module, packet_complexity, tally
from nvc_jax.models.codecs import CONFIGS, dcvc_rt, tiny

TOOL = Path(__file__).resolve().parents[2] / "tools" / "complexity.py"
VIDEO = {  # our modules: the official one
    ("adaptor_picture",): "feature_adaptor_i",
    ("adaptor_feature",): "feature_adaptor_p",
    ("extractor_prior", "extractor_context"): "feature_extractor",
    ("encoder_in", "encoder_blocks", "encoder_down"): "encoder",
    ("hyper_encoder",): "hyper_encoder",
    ("hyper_decoder",): "hyper_decoder",
    ("temporal_prior",): "temporal_prior_encoder",
    ("fusion_blocks", "fusion_out"): "y_prior_fusion",
    ("spatial_blocks", "spatial_out"): "y_spatial_prior",
    ("decoder_up", "decoder_blocks", "decoder_out"): "decoder",
    ("recon_blocks", "recon_out"): "recon_generation_net",
    ("z_prior",): "bit_estimator_z",
    ("q_encoder",): "q_encoder",
    ("q_decoder",): "q_decoder",
    ("q_feature",): "q_feature",
    ("q_recon",): "q_recon",
}
IMAGE = {
    ("encoder_in", "encoder_blocks", "encoder_down"): "enc",
    ("decoder_up", "decoder_blocks", "decoder_out"): "dec",
    ("hyper_encoder",): "hyper_enc",
    ("hyper_decoder",): "hyper_dec",
    ("fusion_blocks", "fusion_out"): "y_prior_fusion",
    ("spatial_reduction",): "y_spatial_prior_reduction",
    ("spatial_blocks", "spatial_out"): "y_spatial_prior",
    ("z_prior",): "bit_estimator_z",
    ("q_encoder",): "q_scale_enc",
    ("q_decoder",): "q_scale_dec",
}


@pytest.fixture(scope="session")
def official(golden):
    return json.loads((golden / "complexity.json").read_text())


@pytest.fixture(scope="session")
def complexities():
    return {name: packet_complexity(dcvc_rt, name) for name in ("inter", "intra")}


def test_totals_of_dcvc_rt(complexities):
    inter, intra = (complexities[name].total for name in ("inter", "intra"))
    assert (inter.parameters, intra.parameters) == (20_691_456, 45_651_314)
    assert (inter.encode / 1000, inter.decode / 1000) == pytest.approx((142.4, 166.8), abs=0.05)


@pytest.mark.parametrize(("name", "parameters", "decode", "encode"), [
    ("kd_nvc_s", 16.025, 93.7, 109.2), ("kd_nvc_t", 14.624, 71.7, 93.7)])  # fmt: skip
def test_students_of_kd_nvc(name, parameters, decode, encode):
    """In millions, and thousands of multiply-accumulates per pixel (spec kd_nvc)."""
    total = packet_complexity(CONFIGS[name], "inter").total
    assert total.parameters / 1e6 == pytest.approx(parameters, abs=5e-4)
    assert (total.decode / 1000, total.encode / 1000) == pytest.approx((decode, encode), abs=0.05)


@pytest.mark.parametrize(
    ("network", "name", "modules", "encode", "decode"),
    [("inter", "video", VIDEO, "encode_P", "decode_P"), ("intra", "image", IMAGE, "encode", "decode")],
)
def test_modules_of_dcvc_rt(official, complexities, network, name, modules, encode, decode):
    ours = complexities[network]
    padding = 1088 / 1080
    for parts, theirs in modules.items():
        rows = [ours.modules[part] for part in parts]
        assert sum(row.parameters for row in rows) == official[f"{name}/params"]["modules"][theirs]
        for side, key in (("encode", encode), ("decode", decode)):
            expected = official[f"{name}/{key}"]["modules"].get(theirs, 0.0)
            assert sum(getattr(row, side) for row in rows) / 1000 == pytest.approx(padding * expected, rel=0.01)
    for side, key in (("encode", encode), ("decode", decode)):
        assert getattr(ours.total, side) / 1000 == pytest.approx(official[f"{name}/{key}"]["per_1080p_pixel"], rel=1e-4)


@pytest.mark.slow
def test_xla_counts_beside_ours():
    complexity = packet_complexity(tiny, "inter", xla=True)
    for side in ("encode", "decode"):
        assert 1.9 < complexity.xla[f"{side}_flops"] / getattr(complexity.total, side) < 3  # elementwise work too
        assert complexity.xla[f"{side}_bytes"] > 0


def total_of(function, *arguments):
    return tally(jax.make_jaxpr(function)(*arguments).jaxpr, macs_by_module).total()


def test_macs_of_products_and_loops():
    a, b = jnp.ones((4, 8)), jnp.ones((8, 16))
    assert total_of(lambda a, b: a @ b + 1, a, b) == 4 * 8 * 16
    looped = lambda a, b: lax.map(lambda row: row @ b, a)  # noqa: E731
    assert total_of(looped, a, b) == 4 * 8 * 16


def test_macs_of_a_strided_convolution():
    x, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    convolve = lambda x, k: lax.conv_general_dilated(  # noqa: E731
        x, k, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert total_of(convolve, x, kernel) == 4 * 4 * 5 * 9 * 3


def test_tool():
    command = [sys.executable, str(TOOL), "tiny", "--size", "64x64", "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert told["inter"]["total"]["parameters"] == packet_complexity(tiny, "inter", 64, 64).total.parameters
    assert sum(module["encode"] for module in told["intra"]["modules"].values()) == told["intra"]["total"]["encode"]
    for size, message in (
        ("64", "--size 64 is not of the form WIDTHxHEIGHT, for example 352x288."),
        ("64x0", "--size 64x0: width and height must be at least 1."),
    ):
        bad = subprocess.run([*command[:2], "tiny", "--size", size], capture_output=True, text=True, check=False)
        assert bad.returncode == 1
        assert bad.stderr == f"complexity.py: {message}\n"
