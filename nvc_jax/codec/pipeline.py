"""Keeping the device ahead of the host (D7)."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from nvc_jax.errors import ConfigError, NvcError

Item = TypeVar("Item")
Result = TypeVar("Result")
Submitted = TypeVar("Submitted")

MAX_DELAY = 1  # items; a device that is one item ahead is never idle


class Pipeline(Generic[Item, Submitted, Result]):
    """Submits items to the device, and finishes each on the host when `delay` more have been submitted."""

    def __init__(
        self, submit: Callable[[Item], Submitted], finish: Callable[[Submitted], Result], delay: int = MAX_DELAY
    ) -> None:
        """Prepare.

        Args:
            submit: starts the work of an item on the device, without waiting for it.
            finish: waits for it, and does the host's part.
            delay: 0 finishes an item at once, 1 works on it while the device works on the next one.

        Raises:
            ConfigError: the delay is neither.
        """
        if delay not in range(MAX_DELAY + 1):
            raise ConfigError(f"delay is {delay}; it must be from 0 to {MAX_DELAY} packets.")
        self._submit, self._finish, self._delay = submit, finish, delay
        self._pending = deque[Submitted]()
        self._ready: list[Result] = []  # that were not given yet

    def push(self, items: Iterable[Item], flush: bool = False) -> list[Result]:
        """Submit items, and perhaps finish all; gives the results that are due, also those of a call that failed."""
        for item in items:
            self._pending.append(self._submit(item))
            self._ready.extend(self._finished(self._delay))
        if flush:
            self._ready.extend(self._finished(0))
        ready, self._ready = self._ready, []
        return ready

    def clear(self) -> None:
        """Forget the items that are not finished."""
        self._pending.clear()

    def run(self, items: Iterable[Item]) -> Iterator[Result]:
        """Push items one by one as results are asked for, and flush.

        When the items end with an error of ours, those before it are still finished and yielded.
        """
        source, failure = iter(items), None
        while failure is None:
            try:
                self._pending.append(self._submit(next(source)))
            except StopIteration:
                break
            except NvcError as error:
                failure = error
            else:
                yield from self._finished(self._delay)
        yield from self._finished(0)
        if failure is not None:
            raise failure

    def _finished(self, delay: int) -> Iterator[Result]:
        """Finish items until no more than `delay` are left."""
        while len(self._pending) > delay:
            yield self._finish(self._pending.popleft())
