"""Configurations that a search writes are what recipes and tools take."""

import json

import pytest

from nvc_jax.codec.descriptions import find_codec
from nvc_jax.errors import ConfigError
from nvc_jax.models.codecs import rt_small
from nvc_jax.search.variants import candidates, named, swapped
from nvc_jax.training.settings import load_config, override

CHOSEN = {"extractor": "1/2 L 1/2 F", "decoder": "1/2 F", "reconstruction": "1/2 L 1/2 C"}


def test_recipe_takes_a_configuration(tmp_path):
    found, _ = candidates(rt_small)
    student = swapped(rt_small, [named(found, *part) for part in CHOSEN.items()], "rt_small_60")
    path = tmp_path / "rt_small_60.json"
    path.write_text(json.dumps(student.to_dict()))
    assert override(load_config("rt_small"), [f"codec={path}"]).codec == student


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is no configuration of a codec"),
        (b"\xff\xfe{", "is no configuration of a codec"),
        (b'{"name": "x"}', "is no configuration of a codec"),
        (b'{"name": "x", "inter": {"colour": 1}}', "is no configuration of a codec"),
    ],
)
def test_damaged_configuration_is_named(tmp_path, text, message):
    path = tmp_path / "codec.json"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=rf"codec.json: {message}"):
        find_codec(str(path))


def test_unknown_codec_names_what_there_is():
    with pytest.raises(ConfigError, match=r"unknown codec 'x'; available: dcvc_rt, .*, a configuration FILE.json"):
        find_codec("x")
    with pytest.raises(ConfigError, match=r"x.json: cannot read the configuration \(No such file or directory\)"):
        find_codec("x.json")
