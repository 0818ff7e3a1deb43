"""Progress of a run on stderr: a live line on a terminal, else a line about every ten seconds, also while compiling."""

import datetime
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn
from rich.table import Column

from nvc_jax.training.config import Stage, TrainConfig
from nvc_jax.training.step import bucket_names

SECONDS = 10.0  # from line to line
LATER = 30.0  # the same, of work that has taken a minute


class Pace:
    """Time left in a run, from the speed of the steps of its stage; compilation does not count."""

    def __init__(self, config: TrainConfig, limit: int, now: Callable[[], float] = time.monotonic) -> None:
        """Start before any step.

        Args:
            config: the run, in steps.
            limit: step at which this call ends.
            now: clock.
        """
        self._stages = [
            (start, stage.steps, _work(stage))
            for (start, _), stage in zip(config.stage_starts(), config.stages, strict=True)
        ]
        self._limit, self._now = limit, now
        self._since: tuple[int, float, float] | None = None  # stage, time of its first logged step, work since
        self._rate = 0.0  # work per second

    def done(self, number: int, steps: int) -> None:
        """Count steps of a stage whose metrics arrived."""
        now = self._now()
        if self._since is None or self._since[0] != number:
            self._since = (number, now, 0.0)
            return
        _, began, work = self._since
        work += steps * self._stages[number][2]
        self._since = (number, began, work)
        if now > began:
            self._rate = work / (now - began)

    def left(self, step: int) -> float | None:
        """Estimate the seconds from a step to the end of the call; None before there is a speed."""
        if not self._rate:
            return None
        ends = ((start, min(start + steps, self._limit), work) for start, steps, work in self._stages)
        return sum(max(0, end - max(start, step)) * work for start, end, work in ends) / self._rate


class Shown:
    """Lines of a run on stderr. PSNRs in parentheses are by range of qp."""

    def __init__(self, bar: Progress, task: TaskID, limit: int, left: Callable[[int], float | None]) -> None:
        """Show the steps of a run; `left` estimates the seconds from a step to its end."""
        self._bar, self._task, self._limit, self._left = bar, task, limit, left
        self._terminal = bar.console.is_terminal
        self._lock = threading.Lock()
        self._busy = ("starting", time.monotonic())
        self._last = time.monotonic()
        self._step = ""

    def busy(self, work: str) -> None:
        """Say what takes the time until the next step, for example compilation."""
        with self._lock:
            self._busy = (work, time.monotonic())
            self._last = time.monotonic()
            self._bar.update(self._task, description=work)
            if not self._terminal:
                self._print(f"{work} ...")

    def step(self, step: int, values: Mapping[str, float], speed: float, part: str) -> None:
        """Show the metrics of a step.

        Args:
            step: number of steps done.
            values: of this step.
            speed: clips per second.
            part: network whose rate and quality are shown.
        """
        by_qp = (values[f"psnr_y_{part}_{bucket}"] for bucket in bucket_names())
        text = (
            f"loss {values['loss']:.4f}  {values[f'bpp_{part}']:.4f} bpp  {values[f'psnr_y_{part}']:.2f} dB  "
            f"{speed:.1f} clips/s  ({' '.join('-' if math.isnan(psnr) else f'{psnr:.1f}' for psnr in by_qp)} dB)"
        )
        seconds = self._left(step)
        left = "" if seconds is None else f"{datetime.timedelta(seconds=round(seconds))} left"
        with self._lock:
            now = time.monotonic()
            self._step = f"step {step} of {self._limit}"
            self._bar.update(self._task, completed=step, description=text, left=left)
            if not self._terminal and (now - self._last >= SECONDS or step == self._limit or self._busy[0]):
                self._print("  ".join(filter(None, (self._step, left, text))))
                self._last = now
            self._busy = ("", now)

    def beat(self) -> None:
        """Say that work which takes long goes on; called every second or so."""
        with self._lock:
            now = time.monotonic()
            work, since = self._busy
            if self._terminal:
                if work:
                    self._bar.update(self._task, description=f"{work}, {now - since:.0f} s so far")
            elif now - max(self._last, since) >= (SECONDS if now - since < 60 else LATER):
                self._last = now
                self._print(f"{work or self._step or 'starting'}: {now - since:.0f} s so far")

    def _print(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def shown(limit: int, step: int, left: Callable[[int], float | None], first: bool = True) -> Iterator[Shown]:
    """Show a run; step and time left come first, so that they stay visible on narrow terminals.

    Args:
        limit: step at which the call ends.
        step: step at which it begins.
        left: see `Shown`.
        first: this process writes; others show nothing.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.completed}/{task.total}", table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=console, disable=not (first and console.is_terminal), expand=True) as bar:
        result = Shown(bar, bar.add_task("starting", total=limit, completed=step, left=""), limit, left)
        if not first:
            yield result
            return
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(1.0):
                result.beat()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield result
        finally:
            ended.set()
            thread.join()


def _work(stage: Stage) -> float:
    """Weigh a step by the pixels it codes."""
    return float(stage.batch * stage.frames * stage.size**2)
