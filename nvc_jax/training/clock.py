"""Time budget of a run with --seconds: when its stages end, and the position of their schedules.

The learning rate completes its decay as the time runs out, however fast the machine is.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvc_jax.errors import ConfigError
from nvc_jax.io.files import atomic_output

CLOCK = "clock.json"


@dataclasses.dataclass(frozen=True)
class Ration:
    """Budget of the next call.

    Attributes:
        steps: number of steps; 0 if the stage is over.
        over: share of the stage's time that has passed when the call begins.
        pace: share of the stage's time per step.
    """

    steps: int
    over: float
    pace: float


class Clock:
    """Time budget of a run, over all its calls.

    Attributes:
        starts: first step of every stage that has begun.
    """

    def __init__(self, workdir: Path, seconds: float, shares: Sequence[float], step: int, began: float) -> None:
        """Start, or resume at a checkpoint.

        Args:
            workdir: folder of the run.
            seconds: time budget of the run.
            shares: of every stage in the time that is left when the first one begins.
            step: of the checkpoint; 0 to start.
            began: start of this call, by `time.monotonic`.

        Raises:
            ConfigError: the run was started without --seconds, or its record is damaged.
        """
        self._workdir, self._seconds, self._shares, self._began = workdir, seconds, shares, began
        self.starts: list[int] = []
        self._entered: list[float] = []  # seconds of the run at which each stage began
        self._pace = 0.0  # seconds per step
        if step == 0:
            return
        kept = read_clock(workdir).get(str(step))
        if kept is None:
            raise ConfigError(f"{workdir}: holds a run that was started without `seconds`; leave it out to resume.")
        try:
            self.starts, self._entered = list(kept["starts"]), list(kept["entered"])
            self._began -= kept["seconds"]
        except (KeyError, TypeError):
            raise ConfigError(f"{workdir / CLOCK}: is damaged; name a new folder.") from None

    @property
    def elapsed(self) -> float:
        """Seconds of the run so far."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds of the run that are left."""
        return max(0.0, self._seconds - self.elapsed)

    def enter(self, stage: int, step: int) -> None:
        """Enter a stage, unless it has begun."""
        if stage == len(self.starts):
            self.starts.append(step)
            self._entered.append(self.elapsed)
        self._pace = 0.0

    def took(self, steps: int, seconds: float) -> None:
        """Update the expected time per step."""
        pace = seconds / steps
        self._pace = 0.7 * self._pace + 0.3 * pace if self._pace else pace

    def ration(self, stage: int, under_way: int, most: int) -> Ration:
        """Plan a call of at most `most` steps, queued behind `under_way` unfinished ones."""
        share = self._shares[stage] / sum(self._shares[stage:])
        length = max(1e-3, share * (self._seconds - self._entered[stage]))
        over = (self.elapsed - self._entered[stage] + under_way * self._pace) / length
        if over >= 1.0:
            return Ration(0, 1.0, 0.0)
        if not self._pace:  # no step has been timed
            return Ration(1, over, 0.0)
        pace = self._pace / length
        return Ration(max(1, min(most, round((1.0 - over) / pace))), over, pace)

    def save(self, step: int) -> None:
        """Record the time of a checkpoint."""
        kept = read_clock(self._workdir)
        kept[str(step)] = {"starts": self.starts, "entered": self._entered, "seconds": self.elapsed}
        with atomic_output(self._workdir / CLOCK) as file:
            file.write((json.dumps(kept) + "\n").encode())


def read_clock(workdir: Path) -> dict[str, Any]:
    """Read the times of a run's checkpoints by step; empty for a run without --seconds.

    Raises:
        ConfigError: the file is damaged.
    """
    path = workdir / CLOCK
    try:
        return dict(json.loads(path.read_text())) if path.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: is damaged ({error}); name a new folder.") from None
