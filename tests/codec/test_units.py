"""The numbers of an int16 model are those of the real one, each in its unit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from nvc_jax.codec.integers import in_units, integerise, prepare_params
from nvc_jax.codec.model import Codec
from nvc_jax.codec.stages import run
from nvc_jax.codec.store import make_model
from nvc_jax.errors import ModelError
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import PATCH_CHANNELS, Stack
from nvc_jax.models.params import flatten, unflatten
from nvc_jax.models.state import Feature

SIZE = 32
LATENTS = SIZE // 16
# Blocks whose input is a picture, latents, or several kinds of numbers at once; one of them gives the picture.
LATENT = tiny["inter"].latent
WIDE, PRIOR = Stack(1, PATCH_CHANNELS), Stack(1, 4 * LATENT)
WITHOUT_ADAPTORS = tiny.replace(
    "intra", dataclasses.replace(tiny["intra"], width=PATCH_CHANNELS, encoder=WIDE, decoder=WIDE, hyper=LATENT)
).replace("inter", dataclasses.replace(tiny["inter"], hyper=LATENT, fusion=PRIOR, spatial=PRIOR))
CONFIGS = {"with adaptors": tiny, "without adaptors": WITHOUT_ADAPTORS}


@pytest.fixture(scope="module", params=["with adaptors", pytest.param("without adaptors", marks=pytest.mark.slow)])
def model(request):
    """Its parameters are multiples of 1/256."""
    stored = synthetic.model_of(CONFIGS[request.param])
    rounded = {name: np.round(leaf * 256) / 256 for name, leaf in flatten(stored.params).items()}
    return make_model(stored.config, unflatten(rounded), "")


def test_parameters_are_exact(model):
    """But for a power of two, which the unit before and the one behind make."""
    real, integers = (flatten(tree) for tree in (in_units(model.params, model.config), integerise(model).params))
    for name, leaf in integers.items():
        layer, part = name.rsplit("/", 1)
        bits = integers.get(f"{layer}/{part.replace('kernel', 'bits').replace('bias', 'bits')}", 0)
        if part.startswith("kernel"):
            np.testing.assert_array_equal(np.ldexp(leaf.astype(float), -bits.astype(int)), real[name])
        elif part.startswith("bias"):
            np.testing.assert_array_equal(np.ldexp(leaf.astype(float), -bits.astype(int) - 9), real[name])
        elif part == "vectors":
            np.testing.assert_array_equal(leaf / 512, real[name])


def test_other_units_are_refused(model):
    params = flatten(integerise(model).params)
    params["intra/encoder_in/unit"] = np.uint8(7)
    with pytest.raises(ModelError, match=r"intra/encoder_in/.*kernel.*: its DC block has unit 7; 8 or 9 is allowed"):
        prepare_params(unflatten(params), "int32")


@pytest.mark.parametrize("name", ["intra", "inter"])
def test_networks_agree(model, name):
    """To rounding: another unit would be another factor."""
    real, ours = (numbers(Codec(model, precision), name) for precision in ("float32", "int16"))
    for part, expected in real.items():
        assert 1 <= np.abs(expected).max() < 64
        np.testing.assert_allclose(ours[part], expected, atol=0.05, err_msg=part)


def numbers(codec, name):
    """Results of each method of a network, as real numbers, for the same inputs in any precision."""
    loaded = codec.networks(None)[name]
    network, params, config = loaded.network, loaded.params, loaded.network.config
    units = {"small": 512, "large": 256} if codec.precision == "int16" else {"small": 1, "large": 1}
    dtype = jnp.int16 if codec.precision == "int16" else jnp.float32

    def given(name, unit, shape, low, high):
        values = np.round(256 * synthetic.uniform(name, (1, *shape), low, high)) / 256
        return jnp.asarray(values * units[unit], dtype)

    def methods(pictures, feature, z_hat, y_hat, qps):
        temporal = context = None
        results = {}
        if network.predicts:
            features, temporal = run(network, params, "features", Feature(feature), qps)
            context = run(network, params, "context", features)
            results = {"temporal": temporal, "context": context}
        y, z = run(network, params, "analyse", pictures, context, qps)
        prior = run(network, params, "prior", z_hat, temporal, (LATENTS, LATENTS))
        scale, mean = run(network, params, "refine", 1, prior.shared, y_hat)
        synthesis = run(network, params, "synthesise", y_hat, context, qps)
        large = {"y": y, "z": z, "mean": prior.mean, "refined mean": mean}
        results |= {"gain": prior.gain_out, "scale": prior.scale, "refined scale": scale, "synthesis": synthesis}
        results["picture"] = run(network, params, "reconstruct", feature, None, qps)
        return results, large

    small, large = jax.jit(methods)(
        given("picture", "small", (1, SIZE, SIZE, 3), 0, 1),
        given("feature", "small", (SIZE // 8, SIZE // 8, config.width), -2, 2),
        given("z", "large", (1, 1, config.hyper), -4, 4),
        given("y", "large", (LATENTS, LATENTS, config.latent), -20, 20),
        jnp.array([[30.0]]),
    )
    results = {name: np.asarray(value, float) / units["small"] for name, value in small.items()}
    return results | {name: np.asarray(value, float) / units["large"] for name, value in large.items()}
