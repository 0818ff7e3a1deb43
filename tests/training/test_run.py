"""The training loop: starting, resuming and stopping, with steps that only count."""

import dataclasses
import functools
import json
import signal
from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launch import metrics

from nvc_jax.errors import ConfigError, EvaluationError, ModelError, OutputError, TrainingError
from nvc_jax.io.lock import locked
from nvc_jax.models.codecs import tiny
from nvc_jax.training import command, feed, processes, run
from nvc_jax.training.config import DEMO, Data, Evaluation, Logging, Stage, TrainConfig
from nvc_jax.training.data import open_clips
from nvc_jax.training.settings import override
from nvc_jax.training.step import bucket_names

CONFIG = TrainConfig(
    tiny,
    (
        Stage("a", frames=1, steps=4, batch=1, size=16, train="intra"),
        Stage("b", frames=2, steps=4, batch=1, size=16, train="inter"),
    ),
    Data(source=DEMO),
    logging=Logging(checkpoint_steps=3, tensorboard=False),
)


random_parameters = functools.cache(run.initialise)


@pytest.fixture(autouse=True)
def shared_parameters(monkeypatch):
    monkeypatch.setattr(run, "initialise", random_parameters)


@pytest.fixture
def counted(monkeypatch):
    """Hooks by the number of a step, and the clips of the steps so far."""
    happens, seen = {}, []

    def counting(step, teacher):
        names = [f"{name}_{part}" for part in step.trained for name in ("bpp", "psnr_y")]
        names += [f"{name}_{bucket}" for name in names for bucket in bucket_names()]

        def update(state, batch, asked):
            number = int(state.step[0])
            seen.append(batch.sample.tolist())
            bad = happens.get(number, lambda: None)() or 0
            values = dict.fromkeys(["loss", *names], jnp.ones(1)) | {"asked": jnp.array(asked), "bad": jnp.full(1, bad)}
            return dataclasses.replace(state, step=state.step + 1), values

        return update

    monkeypatch.setattr(feed, "on_all_devices", counting)
    monkeypatch.setattr(run, "export", lambda config, state, packing, workdir: workdir / "model")
    return happens, seen


def begin(config, workdir, note=print):
    """Start a run, without a step."""
    with ExitStack() as stack:
        return run._Run(config, open_clips(config.data, 0, note), workdir, note, stack).step


def test_second_run_in_a_folder_is_refused_and_changes_nothing(tmp_path):
    unfinished = tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp"  # that the first one writes
    unfinished.mkdir(parents=True)
    with locked(tmp_path, "training run"), pytest.raises(OutputError, match="another training run is at work in this"):
        begin(CONFIG, tmp_path)
    assert list(tmp_path.rglob("*")) == [unfinished.parent, unfinished]


def test_steps_and_clips_of_a_run_in_two_parts(counted, tmp_path):
    _, seen = counted
    assert run.train(CONFIG, tmp_path / "whole", None, print).step == 8
    whole = list(seen)
    seen.clear()
    for stop in (2, 7, 8):  # in a stage, in the next one, at the end
        assert run.train(CONFIG, tmp_path / "parts", stop, print).step == stop
    assert seen == whole
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_start_that_fails_leaves_no_run(tmp_path):
    with pytest.raises(ModelError):
        begin(dataclasses.replace(CONFIG, init="typo"), tmp_path)
    assert begin(CONFIG, tmp_path) == 0
    assert begin(dataclasses.replace(CONFIG, seed=1), tmp_path) == 0  # nothing was trained in between
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 1
    assert begin(dataclasses.replace(CONFIG, seed=1), tmp_path) == 0


def test_run_goes_on_with_its_own_settings_and_clips(counted, tmp_path, monkeypatch):
    run.train(CONFIG, tmp_path, 3, print)
    with pytest.raises(ConfigError, match="holds a run with seed=0, not 1"):
        begin(dataclasses.replace(CONFIG, seed=1), tmp_path)
    assert begin(override(CONFIG, ["data.threads=1", "data.memory_mb=0", "evaluation.frames=2"]), tmp_path) == 3
    real = open_clips(CONFIG.data, 0, print)
    others = dataclasses.replace(real, clips=(dataclasses.replace(real.clips[0], frames=9),))
    monkeypatch.setattr(run, "open_clips", lambda *arguments: others)
    with pytest.raises(ConfigError, match="demo: holds other clips than when the run in"):
        run.train(CONFIG, tmp_path, None, print)


@pytest.mark.parametrize(("at", "step"), [(1, 3), (3, 4)])
def test_signal_stops_after_the_step(counted, tmp_path, at, step):
    """In the middle of a stage, where the next step is under way already, and in the last step of one."""
    happens, _ = counted
    happens[at] = lambda: signal.raise_signal(signal.SIGTERM)
    outcome = run.train(CONFIG, tmp_path, None, print)
    assert (outcome.step, outcome.signal) == (step, signal.SIGTERM)
    happens.clear()
    outcome = run.train(CONFIG, tmp_path, None, print)
    assert (outcome.step, outcome.signal) == (8, None)


def test_run_stops_after_too_many_bad_steps(counted, tmp_path):
    happens, _ = counted
    happens |= {number: lambda n=number: n for number in range(8)}  # as many in a row as there were steps
    with pytest.raises(TrainingError, match="step 3: no finite loss or gradient for 3 steps in a row"):
        run.train(dataclasses.replace(CONFIG, max_bad_steps=3), tmp_path, None, print)
    assert begin(dataclasses.replace(CONFIG, max_bad_steps=3), tmp_path) == 3


def test_evaluation_that_fails_stops_nothing(counted, tmp_path, monkeypatch):
    saved_before = []

    def fails(model, evaluation, pictures):
        saved_before.append((tmp_path / "checkpoints" / "3").exists())
        raise EvaluationError("no disk")
        yield

    monkeypatch.setattr(run, "evaluate", fails)
    config = dataclasses.replace(CONFIG, evaluation=Evaluation(steps=3, source=DEMO))
    notes = []
    assert run.train(config, tmp_path, 3, notes.append).step == 3
    assert saved_before == [False]
    assert notes[-1] == "step 3: the evaluation failed, training continues: no disk"


def test_evaluation_source_is_looked_at_first(tmp_path):
    config = dataclasses.replace(CONFIG, evaluation=Evaluation(steps=3, source=str(tmp_path)))
    with pytest.raises(ConfigError, match="it must be a folder that holds videos"):
        begin(config, tmp_path / "run")


def test_checkpoints_that_cannot_be_written_are_one_sentence(counted, tmp_path, monkeypatch):
    def fails(*arguments, **settings):
        raise OSError("no space left")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.wait_until_finished", fails)
    with pytest.raises(TrainingError, match=r"checkpoints: cannot save the last checkpoint \(no space left\)"):
        run.train(CONFIG, tmp_path, 3, print)


def test_memory_that_does_not_suffice_is_one_sentence(tmp_path, monkeypatch, capsys):
    def fails(*arguments):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")

    monkeypatch.setattr(run, "train", fails)
    config = tmp_path / "config.py"
    config.write_text("import test_run\nget_config = lambda: test_run.CONFIG\n")
    assert command.main(["seed=3", "--config", str(config), "data.skip=1", "--workdir", str(tmp_path), "seed=4"]) == 1
    assert capsys.readouterr().err == (
        "nvc-jax train: not enough memory; set a smaller batch or size, stages.N.remat=true, or a smaller "
        "data.memory_mb.\n"
    )


def test_processes_start_together_or_not_at_all(monkeypatch):
    other = {}
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        processes.multihost_utils, "process_allgather", lambda mine: np.stack([mine, other.get("digest", mine)])
    )
    assert processes.together(lambda: (3, "same")) == 3
    other["digest"] = np.ones(8, np.uint32)
    with pytest.raises(ConfigError, match="the processes differ in configuration"):
        processes.together(lambda: (3, "mine"))
    other["digest"] = np.zeros(8, np.uint32)
    with pytest.raises(TrainingError, match="process 1 cannot start the run; see its own message"):
        processes.together(lambda: (3, "mine"))
    with pytest.raises(ZeroDivisionError):  # an error of this process is raised in it
        processes.together(lambda: (1 // 0, "mine"))


def test_steps_compile_once():
    """The first step's input has the layout of a step's output."""
    traced = []
    step = jax.pmap(lambda x: traced.append(x) or x + 1.0, axis_name=processes.DEVICES)
    copies = processes.on_all(np.zeros(3, np.float32))
    result = step(copies)
    assert result.sharding == copies.sharding
    step(result)
    assert len(traced) == 1
