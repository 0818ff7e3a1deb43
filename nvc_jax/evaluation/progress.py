"""Progress of an evaluation on standard error: a bar on a terminal, else a line every few seconds."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS = 5.0  # between lines


class PointProgress:
    """Counts points as they are measured."""

    def __init__(self, total: int) -> None:
        """Start the clock. total: points to measure."""
        self._console = Console(stderr=True)
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[last]}"),
        )
        self._bar = Progress(
            *columns, console=self._console, redirect_stdout=False, disable=not self._console.is_terminal
        )
        self._task = self._bar.add_task("points", total=total, last="the first one compiles")
        self._total, self._done = total, 0
        self._start = self._last = time.monotonic()

    def __enter__(self) -> "PointProgress":
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it is."""
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def advance(self, finished: str) -> None:
        """Count a point. finished: its name."""
        self._done += 1
        self._bar.update(self._task, completed=self._done, last=finished)
        now = time.monotonic()
        if self._console.is_terminal or (now - self._last < _SECONDS and self._done < self._total):
            return
        self._last, seconds = now, now - self._start
        left = seconds / self._done * (self._total - self._done)
        self.say(f"{self._done} of {self._total} points, {seconds:.0f} s, about {left:.0f} s left; {finished}")
