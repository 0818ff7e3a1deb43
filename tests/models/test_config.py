"""Architectures as data."""

import dataclasses
import json

import pytest

from nvc_jax.errors import ConfigError
from nvc_jax.models.config import CONFIGS, CodecConfig, tiny
from nvc_jax.models.params import parameter_shapes


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_there_and_back(config):
    assert CodecConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_motion_is_written_only_where_it_is():
    """Identities of models hold their architecture: those of models without motion must not change."""
    assert "motion" not in tiny.to_dict()["inter"]
    moving = dataclasses.replace(tiny, inter=dataclasses.replace(tiny.inter, motion=True))
    assert moving.to_dict()["inter"]["motion"] is True
    missing = parameter_shapes(tiny).keys() - parameter_shapes(moving).keys()
    assert missing == {"inter/adaptor_feature/kernel", "inter/adaptor_feature/bias"}


@pytest.mark.parametrize(("field", "value"), [("motion", "yes"), ("motion", 1), ("width", 0), ("latent", 15)])
def test_values_out_of_range(field, value):
    with pytest.raises(ConfigError):
        dataclasses.replace(tiny.inter, **{field: value})
