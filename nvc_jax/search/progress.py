"""Lines about a search, with the time that is left."""

import time
from collections.abc import Callable, Mapping
from typing import Any


class Progress:
    """Counts what is trained and measured."""

    def __init__(self, total: int, say: Callable[[str], Any], now: Callable[[], float] = time.monotonic) -> None:
        """Start.

        Args:
            total: pieces of work.
            say: takes lines.
            now: clock.
        """
        self._total, self._say, self._now = total, say, now
        self._done, self._taken, self._measured, self._began = 0, 0.0, 0, 0.0

    def skip(self) -> None:
        """Count a piece that was there."""
        self._done += 1

    def begin(self, label: str) -> None:
        """Announce the next one."""
        self._began = self._now()
        self._say(f"{self._done + 1} of {self._total}: {label} ...")

    def end(self, label: str, row: Mapping[str, Any]) -> None:
        """Count it, with its figures."""
        self._done += 1
        self._measured += 1
        self._taken += self._now() - self._began
        left = self._taken / self._measured * max(0, self._total - self._done)
        speedup = row.get("measured_speedup", row.get("speedup"))
        loss = row["reason"] if row["loss"] is None else f"loss {row['loss']:+.1f} %"
        self._say(
            f"{self._done} of {self._total}: {label}: decodes {100 * (speedup - 1):.1f} % faster, {loss}; "
            f"{self._now() - self._began:.0f} s, about {left / 60:.0f} min left"
        )
