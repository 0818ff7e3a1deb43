"""Training steps as functions and abstract arguments, for compiling without the devices."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from nvc_jax.codec.abstract import abstract
from nvc_jax.errors import ConfigError
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.params import ParamTree, parameter_shapes, unflatten
from nvc_jax.training.config import Stage, TrainConfig
from nvc_jax.training.data import Batch
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.processes import DEVICES
from nvc_jax.training.step import Step, TrainState, initial_state
from nvc_jax.training.teacher import teacher_network

_STEPS = 1000  # of a stage; only constants of the schedule depend on it


@dataclasses.dataclass(frozen=True)
class AbstractStep:
    """The step of a stage and its abstract arguments.

    Attributes:
        step: pure; mapped over the axis `DEVICES` if there are several chips.
        state: shapes; replicated on every chip.
        batch: shapes, of the global batch.
        teacher: shapes of the teacher's parameters, replicated; None for a stage without one.
    """

    step: Step
    state: TrainState
    batch: Batch
    teacher: ParamTree | None


def distinct_stages(config: TrainConfig) -> Iterator[tuple[str, Stage]]:
    """Iterate over the stages whose steps are distinct programs, with names by the number of frames.

    `train_6`; if that is taken, `train_6_512` with the size, or `train_NAME` with the name of the stage.
    """
    seen: dict[str, Stage] = {}
    for stage in config.stages:
        same = [kept for kept in seen.values() if _program(kept) == _program(stage)]
        if not same:
            names = (f"train_{stage.frames}", f"train_{stage.frames}_{stage.size}", f"train_{stage.name}")
            name = next(name for name in names if name not in seen)
            seen[name] = stage
            yield name, stage


def abstract_step(
    config: TrainConfig,
    stage: Stage,
    chips: int = 1,
    batch_per_chip: int | None = None,
    teacher: CodecConfig | None = None,
) -> AbstractStep:
    """Make the step of a stage on some chips, each with its part of the batch.

    Args:
        config: the run.
        stage: a stage of the run.
        chips: their number.
        batch_per_chip: clips; None divides the batch of the stage, at least one per chip.
        teacher: architecture of the teacher, for a stage that has one.

    Raises:
        ConfigError: the stage has a teacher, and none is given or its features cannot be compared.
    """
    batch = chips * (batch_per_chip or max(1, stage.batch // chips))
    stage = dataclasses.replace(stage, steps=_STEPS, epochs=0.0, batch=batch)
    shapes, lent, network = _shapes(config.codec), None, None
    if config.taught(stage):
        if teacher is None:
            raise ConfigError(f"stage {stage.name!r} is distilled from a teacher; name the teacher's architecture.")
        lent, network = _shapes(teacher)[teacher.rest], teacher_network(config, teacher)
    packing = Packing.of(config.optimiser, shapes)
    state = jax.eval_shape(lambda params: initial_state(config, params, packing), shapes)
    frames = (batch, stage.frames)
    planes = tuple(abstract((*frames, side, side), jnp.uint8) for side in (stage.size, *[stage.size // 2] * 2))
    config = dataclasses.replace(config, strategy="xla")  # C++ is for CPUs
    step = Step(config, stage, 0, packing, DEVICES if chips > 1 else None, network)
    return AbstractStep(step, state, Batch(planes, abstract((batch,), jnp.uint32)), lent)


def _shapes(codec: CodecConfig) -> dict[str, ParamTree]:
    return unflatten({name: abstract(shape, jnp.float32) for name, shape in parameter_shapes(codec).items()})


def _program(stage: Stage) -> tuple[Any, ...]:
    """Collect the settings of a stage that select the program of its step."""
    shape = stage.frames, stage.size, stage.batch, stage.distil > 0, stage.rounded
    return *shape, stage.train, stage.mode, stage.remat, stage.first_reference, stage.refresh, stage.skip
