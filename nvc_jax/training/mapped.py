"""The training step, mapped over the devices of all processes."""

import dataclasses
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from nvc_jax.models.params import ParamTree
from nvc_jax.training.data import Batch
from nvc_jax.training.device_data import DeviceClips, cut_batch
from nvc_jax.training.processes import DEVICES
from nvc_jax.training.step import Metrics, Step, TrainState


@flax.struct.dataclass
class Place:
    """Where a call of several steps stands in the run.

    Attributes:
        start: steps of the run before the stage.
        sample: clips of the run before the call, uint32.
        count: steps to make.
        timed: the schedule follows a clock rather than steps.
        position: of the first step in the stage's schedule, see `learning_rate`; if timed.
        pace: how far a step goes there; if timed.
    """

    start: Array | np.int32
    sample: Array | np.uint32
    count: Array | np.int32
    timed: Array | np.bool_
    position: Array | np.float32
    pace: Array | np.float32


def several_on_all_devices(
    step: Step, clips: DeviceClips, most: int, teacher: ParamTree | None = None
) -> Callable[[TrainState, npt.NDArray[np.float32], Place], tuple[TrainState, Metrics]]:
    """Up to `most` steps in one call on batches that are cut on the devices; see `on_all_devices`.

    Metrics are arrays, with `count` values set.
    """
    mine = step.stage.batch // jax.device_count()

    def update(
        state: TrainState, clips: DeviceClips, teacher: ParamTree | None, asked: Array, place: Place
    ) -> tuple[TrainState, Metrics]:
        mapped = dataclasses.replace(step, start=place.start, axis=DEVICES)
        first = place.sample + (lax.axis_index(DEVICES) * mine).astype(jnp.uint32) + jnp.arange(mine, dtype=jnp.uint32)

        def one(number: Array, state: TrainState) -> tuple[TrainState, Metrics]:
            sample = first + number.astype(jnp.uint32) * jnp.uint32(step.stage.batch)
            batch = cut_batch(clips, step.stage, sample, jax.random.wrap_key_data(state.key))
            steps = (state.step - place.start).astype(jnp.float32)
            return mapped(state, batch, jnp.where(place.timed, place.position + number * place.pace, steps), teacher)

        def body(number: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            state, metrics = one(number, carry[0])
            return state, jax.tree.map(lambda kept, value: kept.at[number].set(value), carry[1], metrics)

        shapes = jax.eval_shape(one, jnp.int32(0), state)[1]
        kept = jax.tree.map(lambda value: jnp.zeros(most, value.dtype), shapes)
        state, metrics = lax.fori_loop(0, place.count, body, (state, kept))
        return state, metrics | {"asked": lax.pmax(asked, DEVICES)}

    several = jax.pmap(update, axis_name=DEVICES, in_axes=(0, 0, 0, 0, None), donate_argnums=0)
    return lambda state, asked, place: several(state, clips, teacher, asked, place)


def on_all_devices(
    step: Step, teacher: ParamTree | None = None
) -> Callable[[TrainState, Batch, npt.NDArray[np.float32]], tuple[TrainState, Metrics]]:
    """The step, mapped over the devices of all processes; the state is updated in place.

    The third argument is 1 on devices of a process that was asked to stop; `asked` among the metrics says in all
    processes whether there is one. teacher: parameters of the teacher's network, on all devices.
    """
    mapped = dataclasses.replace(step, axis=DEVICES)

    def update(state: TrainState, teacher: ParamTree | None, batch: Batch, asked: Array) -> tuple[TrainState, Metrics]:
        state, metrics = mapped(state, batch, teacher=teacher)
        return state, metrics | {"asked": lax.pmax(asked, DEVICES)}

    one = jax.pmap(update, axis_name=DEVICES, donate_argnums=0)
    return lambda state, batch, asked: one(state, teacher, batch, asked)
