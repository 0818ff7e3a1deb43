"""Interleaved timing of functions, so that a disturbance of the machine affects all of them."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of repeated calls."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """The time that tables show."""
        return statistics.median(self.seconds)

    def to_json(self) -> dict[str, Any]:
        """Collect median, best, spread (interquartile range over the median) and all times."""
        quarters = statistics.quantiles(self.seconds, n=4) if len(self.seconds) > 1 else [0.0, 0.0, 0.0]
        return {
            "median_s": self.median,
            "min_s": min(self.seconds),
            "spread": (quarters[2] - quarters[0]) / self.median,
            "all_s": list(self.seconds),
        }


def seconds_of(function: Callable[[], Any]) -> float:
    """Time one call, until its results are on the device."""
    start = time.perf_counter()
    jax.block_until_ready(function())  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def interleaved(functions: Mapping[str, Callable[[], Any]], runs: int) -> dict[str, Times]:
    """Time every function once per run, after an uncounted run that compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for run in range(runs + 1):
        for name, function in functions.items():
            taken = seconds_of(function)
            if run > 0:
                seconds[name].append(taken)
    return {name: Times(values) for name, values in seconds.items()}
