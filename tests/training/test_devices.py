"""Four devices in one process, two in each of two, and one alone are the same training."""

import socket
import subprocess
import sys

import numpy as np
import pytest
from launch import environment, finish, launch, metrics

CONFIG = """
from nvc_jax.models.codecs import tiny
from nvc_jax.training.config import DEMO, Data, Stage, TrainConfig
def get_config():
    stage = Stage("s", frames=2, steps=3, batch=4, size=32, train="inter", first_reference="original")
    return TrainConfig(tiny, (stage,), Data(source=DEMO))
"""

GRADIENTS = """
import jax, numpy as np
from nvc_jax.codec.runtime import prepare_process
from nvc_jax.models.codecs import tiny
from nvc_jax.models.params import initialise
from nvc_jax.training.config import DEMO, Data, Stage, TrainConfig
from nvc_jax.training.data import batches, on_devices, open_clips
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.processes import DEVICES
from nvc_jax.training.clips import prepare
from nvc_jax.training.step import Step
prepare_process()
stage = Stage("s", frames=1, steps=3, batch=4, size=32, train="intra")
config = TrainConfig(tiny, (stage,), Data(source=DEMO))
params = initialise(tiny, 0)
packing = Packing.of(config.optimiser, params)
packed = jax.jit(lambda params: {part: packing.pack(part, tree) for part, tree in params.items()})(params)
batch = next(batches(open_clips(config.data, 0, print), stage, 0, 0))
def gradients(params, batch, axis):
    clips = prepare(config, stage, batch, jax.random.key(0))
    return Step(config, stage, 0, packing, axis).gradients(params, clips)[0]["intra"]
alone = jax.jit(lambda p, b: gradients(p, b, None))
parts = [jax.tree.map(lambda x: x[i : i + 1], batch) for i in range(4)]
one_by_one = np.mean([np.asarray(alone(packed, part)) for part in parts], axis=0)
spread = jax.pmap(lambda p, b: gradients(p, b, DEVICES), DEVICES, in_axes=(None, 0))(packed, on_devices(batch, 4))
spread = np.asarray(spread)
assert jax.device_count() == 4
assert (spread == spread[0]).all()
error = np.linalg.norm(spread[0] - one_by_one) / np.linalg.norm(one_by_one)
assert error < 1e-5, error  # the same computations on the same shapes: float32 sums in another order
"""


@pytest.fixture(scope="module")
def cache(request):
    return request.config.cache.mkdir("train")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def four_devices(cache, config, tmp_path_factory):
    """A run on four devices of one process."""
    workdir = tmp_path_factory.mktemp("four")
    finish(launch(cache, "--config", config, "--workdir", workdir, devices=4))
    return metrics(workdir)


def assert_same_training(records, others, tolerance):
    assert len(records) == len(others) == 3
    for record, other in zip(records, others, strict=True):
        assert record["loss"] == pytest.approx(other["loss"], rel=tolerance), record["step"]


def launch_two(cache, *arguments):
    """Two processes of one run, with two devices each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    joining = ("--coordinator", f"127.0.0.1:{port}", "--num-processes", 2, "--process-id")
    return [launch(cache, *arguments, *joining, number, devices=2) for number in range(2)]


@pytest.mark.slow
def test_two_processes_with_two_devices_each(four_devices, cache, config, tmp_path):
    for process in launch_two(cache, "--config", config, "--workdir", tmp_path):
        finish(process)
    assert_same_training(metrics(tmp_path), four_devices, 1e-5)


@pytest.mark.slow
def test_two_processes_end_if_one_cannot_start(cache, config, tmp_path):
    first, second = (finish(process, 1) for process in launch_two(
        cache, "--config", config, "--workdir", tmp_path, "init=nowhere"
    ))  # fmt: skip
    assert "nowhere: not a model" in first
    assert "process 0 cannot start the run; see its own message" in second


@pytest.mark.slow
def test_one_device_with_the_joint_batch(four_devices, cache, config, tmp_path):
    finish(launch(cache, "--config", config, "--workdir", tmp_path))
    # Another batch is another program, and a value that lies on a rounding edge may become another symbol in it.
    assert_same_training(metrics(tmp_path), four_devices, 1e-3)
    assert np.isfinite([record["loss"] for record in four_devices]).all()


def test_gradients_of_devices_are_those_of_their_clips(cache):
    process = subprocess.run(
        [sys.executable, "-c", GRADIENTS], env=environment(cache, 4), capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr


def test_batch_must_divide_by_the_devices(cache, config, tmp_path):
    text = finish(launch(cache, "--config", config, "--workdir", tmp_path, devices=3), 1)
    assert "a batch of 4 does not divide by 3 devices" in text
