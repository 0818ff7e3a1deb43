"""Measure elapsed time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timer:
    """A stopwatch that adds up the time of several blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Add the time spent inside the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start
