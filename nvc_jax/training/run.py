"""A run from its configuration to an exported model: start or resume, step, log, save, stop."""

import dataclasses
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from nvc_jax.errors import ConfigError, NvcError, TrainingError
from nvc_jax.io.files import make_folder
from nvc_jax.io.lock import locked
from nvc_jax.models.params import ParamTree, initialise
from nvc_jax.training.checkpoints import Checkpoints
from nvc_jax.training.clips import pictures
from nvc_jax.training.clock import Clock, read_clock
from nvc_jax.training.config import DEMO, TrainConfig, resolved
from nvc_jax.training.data import ClipSet, open_clips, samples
from nvc_jax.training.evaluate import evaluate, picture_of, videos
from nvc_jax.training.export import export, load_parameters, trained_model
from nvc_jax.training.feed import Feed, HostFeed, StagePlace, device_feeds
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.overview import compiling, labelled, overview
from nvc_jax.training.processes import from_first, is_first, on_all, together
from nvc_jax.training.progress import Pace, Shown, shown
from nvc_jax.training.records import CHECKPOINTS, Records, check_config, check_folder, save_config
from nvc_jax.training.settings import to_json
from nvc_jax.training.signals import collect_signals
from nvc_jax.training.step import Metrics, TrainState, fresh_moments, initial_state
from nvc_jax.training.teacher import LoadedTeacher, load_teacher
from nvc_jax.training.transform_init import patch_statistics, transform_codec

_STATISTICS_CLIPS = 64
_ENDLESS = 1 << 30  # steps


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a call of `train`.

    Attributes:
        step: steps of the run so far.
        steps: steps of the whole run.
        model: the exported model directory; None in processes that write nothing.
        signal: the signal that stopped the call, if any.
    """

    step: int
    steps: int
    model: Path | None
    signal: signal.Signals | None


def train(
    config: TrainConfig,
    workdir: Path,
    stop_at: int | None,
    note: Callable[[str], Any],
    seconds: float | None = None,
    say: Callable[[str], Any] | None = None,
) -> Outcome:
    """Start a run, or resume the one in `workdir`.

    Args:
        config: the run.
        workdir: folder for its output.
        stop_at: stop at this step, with the schedule of the whole run.
        note: takes sentences for the user.
        seconds: time budget of the run over all calls, up to its last step; its stages then share time, not steps.
        say: takes the lines that describe the run before its first step.

    Raises:
        NvcError: the run cannot start or continue.
    """
    began = time.monotonic()
    if seconds is not None and not (config.data.on_device and jax.process_count() == 1):
        raise ConfigError("`seconds` needs a configuration with data.on_device=true, and a single process.")

    def opened() -> tuple[tuple[TrainConfig, ClipSet, LoadedTeacher | None], str]:
        clips = open_clips(config.data, config.seed, note)
        in_steps = resolved(config, [len(clips.epoch(stage)) for stage in config.stages])
        for stage in config.stages:
            if stage.batch % jax.device_count():
                raise ConfigError(
                    f"stage {stage.name!r}: a batch of {stage.batch} does not divide by {jax.device_count()} devices."
                )
        teacher = load_teacher(config)
        same = f"{to_json(in_steps)} {stop_at} {clips.identity} {teacher and teacher.identity}"  # in all processes
        return (in_steps, clips, teacher), same

    config, clips, teacher = together(opened)
    with ExitStack() as stack:
        run = _Run(config, clips, workdir, note, stack, teacher)
        if seconds is not None:
            run.clock = Clock(workdir, seconds, config.shares(), run.step, began)
        elif str(run.step) in read_clock(workdir):
            raise ConfigError(f"{workdir}: holds a run that was started with `seconds`; give it again to resume.")
        if say is not None and is_first():
            limit = None if run.clock else min(config.steps, config.steps if stop_at is None else stop_at)
            for line in [*overview(config, clips, from_first(run.state), run.step, limit, workdir), *run.origin]:
                say(line)
        return run.go(stop_at)


@dataclasses.dataclass(frozen=True)
class _Pending:
    """Steps in flight on the devices: the first one, their number, and their metrics."""

    step: int
    count: int
    metrics: Metrics


class _Run:
    """The training loop and its state. Only the first process has checkpoints and writes files.

    Attributes:
        origin: lines that say what the teacher is, and which parameters of a new run come from another model.
    """

    def __init__(
        self,
        config: TrainConfig,
        clips: ClipSet,
        workdir: Path,
        note: Callable[[str], Any],
        stack: ExitStack,
        teacher: LoadedTeacher | None = None,
    ) -> None:
        self.config = config
        self.teacher = teacher
        self.clips = clips
        self.workdir = workdir
        self.note = note
        self.stack = stack
        self.checkpoints: Checkpoints | None = None
        self.records: Records | None = None
        self.clock: Clock | None = None
        self.origin = [] if teacher is None else list(labelled("teacher", [teacher.line]))
        params = initialise(config.codec, config.seed)
        self.packing = Packing.of(config.optimiser, params)
        state = together(lambda: (self._begin(params) if is_first() else self._start_from(params), ""))
        self.step = int(_from_first_process(np.int32(state.step)))
        self.state = on_all(state)
        if teacher is not None:
            self.teacher = dataclasses.replace(teacher, params=on_all(teacher.params))

    def _begin(self, random: ParamTree) -> TrainState:
        """Initialise the state of a new run or restore the last checkpoint, in the first process."""
        config, workdir = self.config, self.workdir
        if config.evaluation.steps and config.evaluation.source != DEMO:
            videos(config.evaluation.source)  # refuses an empty source
        check_folder(workdir)
        begun = any((workdir / CHECKPOINTS).glob("[0-9]*"))
        fresh = None if begun else self._parameters(random)  # before anything is written
        make_folder(workdir)
        self.stack.enter_context(locked(workdir, "training run"))
        self.checkpoints = Checkpoints(workdir / CHECKPOINTS, config.logging)
        self.stack.callback(self.checkpoints.close)
        latest = self.checkpoints.latest()
        try:
            if latest is not None:
                check_config(workdir, config, self.clips.identity, self._teacher_identity)
        except ConfigError:
            if latest != 0:
                raise
            self.checkpoints.remove(0)  # nothing was trained, so other settings may start there
            latest = None
        if latest is not None:
            state = self.checkpoints.restore(latest, self._start_from(random))
            save_config(workdir, config, self.clips.identity, self._teacher_identity)
        else:
            state = self._start_from(self._parameters(random) if fresh is None else fresh)
            save_config(workdir, config, self.clips.identity, self._teacher_identity)
            self.checkpoints.save(0, state)
        self.records = self.stack.enter_context(Records(workdir, int(state.step), config.logging))
        return state

    @property
    def _teacher_identity(self) -> str:
        return "" if self.teacher is None else self.teacher.identity

    def _start_from(self, params: ParamTree) -> TrainState:
        """Make the state before the first step."""
        start = jax.jit(lambda params: initial_state(self.config, params, self.packing))
        state: TrainState = _on_host(start(params))
        return state

    def go(self, stop_at: int | None) -> Outcome:
        """Train until a step or a signal."""
        config = self.config
        limit = self.step + _ENDLESS if self.clock else config.steps
        limit = limit if stop_at is None else min(stop_at, limit)
        signals = self.stack.enter_context(collect_signals(self.note))
        self.pace = Pace(config, min(limit, config.steps))
        total = config.steps if self.clock else min(limit, config.steps)
        progress = self.stack.enter_context(shown(total, self.step, self._time_left, is_first()))
        left = self._stages_left(limit)
        feeds = None
        if config.data.on_device:
            progress.busy(compiling(config, [config.stages[number] for number in left]))
            feeds = device_feeds(config, self.clips, self.packing, self.state, left, self.teacher)
        stopped = False
        for number in left:
            if self.step >= limit:  # or the clock would enter another stage
                break
            stage, place = config.stages[number], self._place(number)
            end = limit if self.clock else min(place.start + stage.steps, limit)
            if self.step == place.start and not stage.carry_optimiser and place.start > 0:
                self._reset_moments()
            if feeds:
                stopped = self._stage(number, feeds[number].begin(place), end, signals, progress)
            else:
                progress.busy(compiling(config, [stage]))
                feed = HostFeed(config, self.clips, self.packing, place, self.step, self.teacher)
                stopped = self._stage(number, feed, end, signals, progress)
            if stopped:
                break
        model = None
        if self.checkpoints is not None:
            if self.checkpoints.latest() != self.step:
                self._save()
            progress.busy("exporting the model")
            model = export(config, from_first(self.state), self.packing, self.workdir)
        by_signal = (signals or [signal.SIGTERM])[0] if stopped else None  # SIGTERM: another process got the signal
        return Outcome(self.step, self.step if self.clock else config.steps, model, by_signal)

    def _time_left(self, step: int) -> float | None:
        return self.clock.left if self.clock else self.pace.left(step)

    def _stages_left(self, limit: int) -> Sequence[int]:
        """List the stages with steps left before a limit; with a clock, all that are not over."""
        stages = range(len(self.config.stages))
        if self.clock:
            return stages[max(0, len(self.clock.starts) - 1) :]
        starts = [start for start, _ in self.config.stage_starts()]
        ends = (start + stage.steps for start, stage in zip(starts, self.config.stages, strict=True))
        return [n for n, start, end in zip(stages, starts, ends, strict=True) if start < limit and end > self.step]

    def _place(self, number: int) -> StagePlace:
        """Locate the start of a stage, entering it if it has not begun."""
        if self.clock is None:
            return StagePlace(number, *self.config.stage_starts()[number])
        self.clock.enter(number, self.step)
        starts = self.clock.starts
        before = zip(starts, starts[1:], self.config.stages, strict=False)
        return StagePlace(number, starts[number], sum((end - start) * stage.batch for start, end, stage in before))

    def _stage(self, number: int, feed: Feed, end: int, signals: list[signal.Signals], progress: Shown) -> bool:
        """Train a stage; True if the processes agreed to stop, as one of them got a signal before a step."""
        pending: _Pending | None = None
        self._logged = time.monotonic()
        while self.step < end:
            count, ration = min(feed.most, end - self.step, *self._until_due()), None
            if self.clock:
                ration = self.clock.ration(number, 0 if pending is None else pending.count, count)
                count = ration.steps
                if count == 0:
                    break
            asked = np.full(jax.local_device_count(), len(signals) > 0, np.float32)
            self.state, metrics = feed(self.state, asked, self.step, count, ration)
            # Log the call before while the devices run this one.
            stopped = self._log(pending, number, progress)
            pending = _Pending(self.step, count, metrics)
            self.step += count
            save, measure = (left == 0 for left in self._until_due(past=True))
            if save or measure or stopped or self.step == end:
                stopped = self._log(pending, number, progress) or stopped
                pending = None
                if measure and is_first():
                    progress.busy(f"evaluating real streams of step {self.step}")
                    self._evaluate()  # before the checkpoint, so that a killed one is repeated
                if save and is_first():
                    self._save()
            if stopped:
                return True
        if self._log(pending, number, progress):
            return True
        return jax.process_count() == 1 and len(signals) > 0

    def _until_due(self, past: bool = False) -> tuple[int, int]:
        """Count the steps to the next checkpoint and the next evaluation; past: 0 if one is due now."""
        every = (self.config.logging.checkpoint_steps, self.config.evaluation.steps or _ENDLESS)
        return every[0] * (not past) - self.step % every[0], every[1] * (not past) - self.step % every[1]

    def _log(self, pending: "_Pending | None", number: int, progress: Shown) -> bool:
        """Log the steps of a call once their metrics arrive; True if a process got a signal before it."""
        if pending is None:
            return False
        metrics, count = from_first(pending.metrics), pending.count
        now = time.monotonic()
        if self.clock:
            self.clock.took(count, now - self._logged)
        self._logged = now
        stopped, stage = float(metrics.pop("asked")) > 0, self.config.stages[number]
        series = {name: np.atleast_1d(values)[:count] for name, values in metrics.items()}
        bad = series.pop("bad")
        by_step = [{name: float(values[i]) for name, values in series.items()} for i in range(count)]
        self.pace.done(number, count)
        if self.records is not None:
            speed = self.records.steps(pending.step, stage.name, by_step, stage.batch)
            for step, values in enumerate(by_step, start=pending.step + 1):
                progress.step(step, values, speed, self.config.trained(stage)[-1])
        if bad.max() >= self.config.max_bad_steps:
            raise TrainingError(
                f"step {pending.step + count - 1}: no finite loss or gradient for {int(bad.max())} steps in a row; the "
                "last checkpoint is kept; try a lower learning rate or clip_norm in a new run."
            )
        return stopped

    def _save(self) -> None:
        assert self.checkpoints is not None
        assert self.records is not None
        self.records.flush()
        if self.clock:
            self.clock.save(self.step)
        self.checkpoints.save(self.step, from_first(self.state))

    def _evaluate(self) -> None:
        assert self.records is not None
        model = trained_model(self.config, from_first(self.state), self.packing)
        pictures_folder = self.workdir / "pictures" / f"step_{self.step - 1:08}"
        try:
            for point in evaluate(model, self.config.evaluation, pictures_folder):
                picture = picture_of(pictures_folder, point["sequence"], point["qp"])
                self.records.evaluation(self.step - 1, point, picture)
        except NvcError as error:
            self.note(f"step {self.step}: the evaluation failed, training continues: {error}")
        self.records.restart_clock()
        self._logged = time.monotonic()

    def _reset_moments(self) -> None:
        """Reset the optimiser state at the start of a stage."""
        state = from_first(self.state)
        moments = _on_host(jax.jit(lambda params: fresh_moments(self.config, params))(state.params))
        self.state = on_all(dataclasses.replace(state, moments=moments))

    def _parameters(self, random: ParamTree) -> ParamTree:
        """Load or make the initial parameters of a new run."""
        config = self.config
        if config.start:
            adopted = load_parameters(config.start, config.codec, random)
            self.origin += labelled("init", adopted.lines(config.start))
            return adopted.params
        if not config.transform_init:
            return random
        stage = config.stages[0]
        count = config.codec[config.codec.rest].pictures
        stage = dataclasses.replace(stage, frames=max(count + 1, stage.frames))
        planes = samples(self.clips, stage, _STATISTICS_CLIPS)
        batch = tuple(jax.device_put(np.stack(plane)) for plane in zip(*planes, strict=True))
        clips = np.asarray(pictures(batch)).swapaxes(0, 1)
        statistics, loss = patch_statistics(clips, count), config.loss
        return transform_codec(config.codec, statistics, loss.intra_lambda, loss.inter_lambda, config.seed)


def _on_host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def _from_first_process(value: Any) -> Any:
    if jax.process_count() == 1:
        return value
    return multihost_utils.broadcast_one_to_all(value)
