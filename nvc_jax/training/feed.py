"""Run steps on batches from grain, one per call, or on batches that devices cut, several per call."""

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nvc_jax.models.params import ParamTree
from nvc_jax.training.clock import Ration
from nvc_jax.training.config import TrainConfig
from nvc_jax.training.data import ClipSet, batches, on_devices
from nvc_jax.training.device_data import device_clips
from nvc_jax.training.mapped import Place, on_all_devices, several_on_all_devices
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.processes import on_all
from nvc_jax.training.step import Metrics, Step, TrainState
from nvc_jax.training.teacher import LoadedTeacher

Asked = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class StagePlace:
    """Position of a stage in the run.

    Attributes:
        number: index of the stage.
        start: number of steps of the run before it.
        sample: number of clips of the run before it.
    """

    number: int
    start: int
    sample: int


class Feed(Protocol):
    """Runs steps of a stage.

    Attributes:
        most: largest number of steps in a call.
    """

    most: int

    def __call__(
        self, state: TrainState, asked: Asked, step: int, count: int, ration: Ration | None
    ) -> tuple[TrainState, Metrics]:
        """Run steps from `step` of the run on.

        Args:
            state: donated.
            asked: see `on_all_devices`.
            step: number of the first one.
            count: their number.
            ration: position of the schedule; None takes that of the steps.

        Returns:
            The new state, and metrics; those of several steps as arrays of `most`.
        """


class HostFeed:
    """Batches from grain, one step per call."""

    most = 1

    def __init__(
        self,
        config: TrainConfig,
        clips: ClipSet,
        packing: Packing,
        place: StagePlace,
        step: int,
        teacher: LoadedTeacher | None = None,
    ) -> None:
        """Start at a step of the run."""
        stage = config.stages[place.number]
        self._batches = batches(clips, stage, place.number, place.sample, (jax.process_index(), jax.process_count()))
        if step > place.start:
            self._batches.set_state({"next_index": step - place.start})
        self._update = on_all_devices(*_taught(Step(config, stage, place.start, packing), teacher))

    def __call__(
        self, state: TrainState, asked: Asked, step: int, count: int, ration: Ration | None
    ) -> tuple[TrainState, Metrics]:
        """Run one step."""
        del step, count, ration
        return self._update(state, on_devices(next(self._batches), jax.local_device_count()), asked)


class DeviceFeed:
    """Batches that the devices cut, several steps per call."""

    def __init__(
        self, config: TrainConfig, clips: ClipSet, packing: Packing, number: int, teacher: LoadedTeacher | None
    ) -> None:
        """Put the clips of a stage on the devices."""
        self._stage = config.stages[number]
        self._place = StagePlace(number, 0, 0)
        self.most = config.steps_per_call
        held = on_all(device_clips(clips, self._stage))
        step, lent = _taught(Step(config, self._stage, 0, packing), teacher)
        self._update = several_on_all_devices(step, held, self.most, lent)

    def begin(self, place: StagePlace) -> "DeviceFeed":
        """Set the position of the stage."""
        self._place = place
        return self

    def compile(self, state: TrainState) -> None:
        """Compile the program by a call without steps."""
        copy = jax.tree.map(jnp.copy, state)  # the argument is donated
        jax.block_until_ready(self(copy, np.zeros(jax.local_device_count(), np.float32), 0, 0, None))

    def __call__(
        self, state: TrainState, asked: Asked, step: int, count: int, ration: Ration | None
    ) -> tuple[TrainState, Metrics]:
        """Run several steps."""
        steps = self._stage.steps
        place = Place(
            start=np.int32(self._place.start),
            sample=np.uint32((self._place.sample + (step - self._place.start) * self._stage.batch) % 2**32),
            count=np.int32(count),
            timed=np.bool_(ration is not None),
            position=np.float32(0.0 if ration is None else ration.over * steps),
            pace=np.float32(0.0 if ration is None else ration.pace * steps),
        )
        return self._update(state, asked, place)


def _taught(step: Step, teacher: LoadedTeacher | None) -> tuple[Step, ParamTree | None]:
    """Give a step its teacher, if its stage has one, and the parameters of it."""
    if teacher is None or not step.config.taught(step.stage):
        return step, None
    return dataclasses.replace(step, teacher=teacher.network), teacher.params


def device_feeds(
    config: TrainConfig,
    clips: ClipSet,
    packing: Packing,
    state: TrainState,
    stages: Sequence[int],
    teacher: LoadedTeacher | None = None,
) -> Mapping[int, DeviceFeed]:
    """Make the feeds of some stages by index, compiled in parallel."""
    feeds = {number: DeviceFeed(config, clips, packing, number, teacher) for number in stages}
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda feed: feed.compile(state), feeds.values()))
    return feeds
