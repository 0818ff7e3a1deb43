"""Parameters between the official layout and ours (golden shapes_*.json, fingerprints.json)."""

import json
import re

import numpy as np
import pytest

from nvc_jax.convert.checkpoint import params_from_official, params_to_official
from nvc_jax.convert.names import official_tensors
from nvc_jax.convert.pth import read_pth, write_pth
from nvc_jax.errors import CheckpointError
from nvc_jax.models.codecs import CONFIGS, dcvc_rt, dcvc_rt_large, tiny
from nvc_jax.models.params import flatten, parameter_shapes

FILES = {"image": "intra", "video": "inter"}


@pytest.mark.parametrize(("file", "model"), FILES.items())
def test_names_and_shapes_are_the_official_ones(golden, file, model):
    official = {name: tuple(shape) for name, shape in json.loads((golden / f"shapes_{file}.json").read_text()).items()}
    ours = [t for t in official_tensors(dcvc_rt).values() if t.model == model]
    assert {t.name: t.shape for t in ours} == official
    assert len(ours) == len(official)


@pytest.mark.parametrize("config", [tiny, dcvc_rt, dcvc_rt_large], ids=lambda config: config.name)
def test_layouts(config):
    """Converted tensors have the shape of our parameter and round-trip exactly; names are unique."""
    tensors, shapes = official_tensors(config), parameter_shapes(config)
    assert tensors.keys() == shapes.keys()
    assert len({(t.model, t.name) for t in tensors.values()}) == len(tensors)
    for ours, tensor in tensors.items():
        array = np.arange(np.prod(tensor.shape), dtype=np.float32).reshape(tensor.shape)
        assert tensor.to_ours(array).shape == shapes[ours]
        np.testing.assert_array_equal(tensor.from_ours(tensor.to_ours(array)), array)


@pytest.fixture
def state_dicts():
    """Random state_dicts of the official image and video models with the channels of `tiny`."""
    rng = np.random.default_rng(0)
    tensors = official_tensors(tiny).values()
    return [
        {t.name: rng.normal(size=t.shape).astype(np.float32) for t in tensors if t.model == model}
        for model in FILES.values()
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(state_dicts, value):
    image, video = state_dicts
    name = next(name for name in video if name.endswith("weight"))
    video[name].flat[3] = value
    message = rf"^1 of \d+ tensors have NaN or infinity in them, e\.g\. {re.escape(name)} in the video checkpoint"
    with pytest.raises(CheckpointError, match=message):
        params_from_official(tiny, image, video)


def test_round_trip(state_dicts):
    image, video = state_dicts
    params = params_from_official(tiny, image, video)
    for official, back in zip(state_dicts, params_to_official(tiny, params), strict=True):
        assert official.keys() == back.keys()
        for name, array in official.items():
            np.testing.assert_array_equal(back[name], array)
            assert back[name].flags.c_contiguous

    # 1x1 and 2x2 stride-2 kernels are matrices over (input channel, dy, dx), 3x3 kernels HWIO.
    flat = flatten(params)
    np.testing.assert_array_equal(flat["inter/encoder_in/kernel"].T, video["encoder.conv1.weight"][:, :, 0, 0])
    down = video["hyper_encoder.conv.1.down.weight"]
    np.testing.assert_array_equal(flat["inter/hyper_encoder/down_0/down/kernel"].T.reshape(down.shape), down)
    assert flat["intra/encoder_down/kernel"][1, 2, 3, 4] == image["enc.enc_2.1.weight"][4, 3, 1, 2]
    depthwise = video["recon_generation_net.conv.0.dc.2.weight"]
    assert flat["inter/recon_blocks_0/depthwise/kernel"][0, 2, 5] == depthwise[5, 0, 0, 2]


def test_every_misfit_is_named(state_dicts):
    image, video = state_dicts
    del image["enc.enc_1.adaptor.weight"], image["q_scale_enc"]
    image["surplus"] = np.zeros(3, np.float32)
    video["encoder.down.bias"] = np.zeros(7, np.float32)
    with pytest.raises(CheckpointError) as caught:
        params_from_official(tiny, image, video)
    assert str(caught.value) == (
        "the checkpoints do not fit the codec 'tiny' (tensors: 2 missing, 1 unexpected, 1 of another shape), e.g. "
        "missing in the image checkpoint: enc.enc_1.adaptor.weight; the traceback lists all"
    )
    assert caught.value.__notes__ == [
        "missing in the image checkpoint: enc.enc_1.adaptor.weight\n"
        "missing in the image checkpoint: q_scale_enc\n"
        "unexpected in the image checkpoint: surplus\n"
        "of another shape in the video checkpoint: encoder.down.bias is [7], not [16]"
    ]


def official(config):
    """State_dicts of zeros as the official code has them."""
    return [
        {t.name: np.zeros(t.shape, np.float32) for t in official_tensors(config).values() if t.model == model}
        for model in FILES.values()
    ]


@pytest.mark.parametrize("config", [tiny, dcvc_rt], ids=lambda config: config.name)
def test_usual_mistakes_have_a_sentence(config):
    image, video = official(tiny)
    for given, sentence in (
        ((video, image), "the two checkpoints are swapped; give that of the image model first"),
        ((video, video), "both files are of the video model; give one of the image and one of the video model"),
        ((image, image), "both files are of the image model; give one of the image and one of the video model"),
    ):
        with pytest.raises(CheckpointError) as caught:
            params_from_official(config, *given)
        assert str(caught.value) == sentence
        assert "unexpected in the " in caught.value.__notes__[0]


@pytest.mark.parametrize(("config", "asked"), [(tiny, dcvc_rt), (dcvc_rt, tiny), (dcvc_rt_large, dcvc_rt)])
def test_another_architecture_is_named(config, asked):
    with pytest.raises(CheckpointError) as caught:
        params_from_official(asked, *official(config))
    assert str(caught.value) == f"the checkpoints are of the architecture {config.name}, not {asked.name}"


def test_codecs_without_official_checkpoints():
    with pytest.raises(CheckpointError, match="the codec 'ui2c' has other networks than DCVC-RT"):
        params_from_official(CONFIGS["ui2c"], {}, {})


@pytest.mark.parametrize(("file", "model"), FILES.items())
def test_exported_file_is_the_official_one(golden, golden_weights, golden_params, tmp_path, file, model):
    expected = json.loads((golden / "fingerprints.json").read_text())[f"{file}/seed0/net"]
    image, video = params_to_official(dcvc_rt, golden_params)
    write_pth(tmp_path / "model.pth", {"intra": image, "inter": video}[model])
    assert golden_weights.fingerprint(read_pth(tmp_path / "model.pth")) == expected
