"""A run that is given seconds instead of steps: when its stages end, and where their schedules are.

For borrowed machines: the learning rate ends its decay when the time is over, however fast the machine is.
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
    """What the next call may do.

    Attributes:
        steps: how many; 0 if the stage is over.
        over: share of the stage that is over when it begins.
        pace: share that a step takes.
    """

    steps: int
    over: float
    pace: float


class Clock:
    """The time of a run, all its calls together.

    Attributes:
        starts: steps of the run before every stage that has begun.
    """

    def __init__(self, workdir: Path, seconds: float, shares: Sequence[float], step: int, began: float) -> None:
        """Begin, or go on where a checkpoint says.

        Args:
            workdir: of the run.
            seconds: that the run may take.
            shares: of every stage, of the time that is left when the first one begins.
            step: of the checkpoint.
            began: when this call began, by `time.monotonic`.

        Raises:
            ConfigError: the run was begun without a clock, or what was kept of it is damaged.
        """
        self._workdir, self._seconds, self._shares, self._began = workdir, seconds, shares, began
        self.starts: list[int] = []
        self._entered: list[float] = []  # seconds of the run, by stage
        self._pace = 0.0  # seconds of a step
        if step == 0:
            return
        kept = read_clock(workdir).get(str(step))
        if kept is None:
            raise ConfigError(f"{workdir}: holds a run that was begun without --seconds; leave it out to go on.")
        try:
            self.starts, self._entered = list(kept["starts"]), list(kept["entered"])
            self._began -= kept["seconds"]
        except (KeyError, TypeError):
            raise ConfigError(f"{workdir / CLOCK}: is damaged; name a new folder.") from None

    @property
    def elapsed(self) -> float:
        """Seconds of the run so far."""
        return time.monotonic() - self._began

    def enter(self, stage: int, step: int) -> None:
        """A stage begins, unless it has."""
        if stage == len(self.starts):
            self.starts.append(step)
            self._entered.append(self.elapsed)
        self._pace = 0.0

    def took(self, steps: int, seconds: float) -> None:
        """Steps have taken so long, and the next ones are expected to."""
        pace = seconds / steps
        self._pace = 0.7 * self._pace + 0.3 * pace if self._pace else pace

    def ration(self, stage: int, under_way: int, most: int) -> Ration:
        """Of a call after `under_way` steps that are not done yet; `most`: steps of a call."""
        share = self._shares[stage] / sum(self._shares[stage:])
        length = max(1e-3, share * (self._seconds - self._entered[stage]))
        over = (self.elapsed - self._entered[stage] + under_way * self._pace) / length
        if over >= 1.0:
            return Ration(0, 1.0, 0.0)
        if not self._pace:  # nothing is known of the machine
            return Ration(1, over, 0.0)
        pace = self._pace / length
        return Ration(max(1, min(most, round((1.0 - over) / pace))), over, pace)

    def save(self, step: int) -> None:
        """Keep the time of a checkpoint."""
        kept = read_clock(self._workdir)
        kept[str(step)] = {"starts": self.starts, "entered": self._entered, "seconds": self.elapsed}
        with atomic_output(self._workdir / CLOCK) as file:
            file.write((json.dumps(kept) + "\n").encode())


def read_clock(workdir: Path) -> dict[str, Any]:
    """What was kept of a run with a clock, by the steps of its checkpoints; empty if it has none.

    Raises:
        ConfigError: the file is damaged.
    """
    path = workdir / CLOCK
    try:
        return dict(json.loads(path.read_text())) if path.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: is damaged ({error}); name a new folder.") from None
