"""Counting time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timer:
    """Seconds spent in a part of the work."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Count the time inside the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start
