"""The smoke run, uninterrupted and interrupted, as a user starts it."""

import signal

import numpy as np
import pytest
from launch import SMOKE, finish, launch, metrics, signal_at

from nvc_jax.codec.store import load_model
from nvc_jax.convert.checkpoint import params_from_official
from nvc_jax.convert.pth import read_pth
from nvc_jax.models.codecs import tiny
from nvc_jax.models.params import flatten

STEPS = 300
FACTOR = 5.0  # by which the loss of each stage falls at least, mean of 20 steps; measured: 13 and 9


pytestmark = pytest.mark.slow  # a minute; test_run.py and test_signals.py train less


@pytest.fixture(scope="module")
def cache(request):
    return request.config.cache.mkdir("train")


@pytest.fixture(scope="module")
def smoke(cache, tmp_path_factory):
    """The whole run."""
    workdir = tmp_path_factory.mktemp("smoke")
    finish(launch(cache, "--config", SMOKE, "--workdir", workdir))
    return workdir


def test_smoke_run_learns(smoke):
    records = metrics(smoke)
    assert [record["step"] for record in records] == list(range(STEPS))
    for stage in ("pictures", "video"):
        losses = [record["loss"] for record in records if record["stage"] == stage]
        assert np.mean(losses[:20]) > FACTOR * np.mean(losses[-20:])


def test_killed_and_stopped_run_ends_the_same(smoke, cache, tmp_path):
    """Kill -9 in the first stage, SIGTERM in the second: the metrics are those of the whole run, byte for byte."""
    command = (cache, "--config", SMOKE, "--workdir", tmp_path)
    process = launch(*command)
    signal_at(process, tmp_path, 60, signal.SIGKILL)
    finish(process, -signal.SIGKILL)

    process = launch(*command)
    signal_at(process, tmp_path, 170, signal.SIGTERM)
    text = finish(process, 128 + signal.SIGTERM)
    assert "stopped by SIGTERM at step" in text
    assert "Traceback" not in text

    finish(launch(*command))
    assert (tmp_path / "metrics.jsonl").read_bytes() == (smoke / "metrics.jsonl").read_bytes()
    assert load_model(tmp_path / "model").identity == load_model(smoke / "model").identity


def test_exports_are_the_same_model(smoke):
    model = load_model(smoke / "model")
    from_pth = params_from_official(tiny, read_pth(smoke / "image.pth"), read_pth(smoke / "video.pth"))
    ours, theirs = flatten(model.params), flatten(from_pth)
    assert ours.keys() == theirs.keys()
    for name, leaf in ours.items():
        np.testing.assert_array_equal(leaf, theirs[name])


def test_other_settings_are_refused_by_name(smoke, cache):
    text = finish(launch(cache, "--config", SMOKE, "--workdir", smoke, "stages.1.learning_rate=0.1"), 1)
    assert "stages.1.learning_rate=0.002, not 0.1" in text
    assert len(text.splitlines()) == 1
