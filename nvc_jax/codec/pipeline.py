"""Keeping the device one frame ahead of the host (D7)."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from nvc_jax.errors import NvcError

Item = TypeVar("Item")
Submitted = TypeVar("Submitted")
Result = TypeVar("Result")


def one_ahead(
    items: Iterable[Item], submit: Callable[[Item], Submitted], finish: Callable[[Submitted], Result]
) -> Iterator[Result]:
    """Submit item t + 1 to the device before finishing item t on the host.

    When the items end with an error of ours, what was submitted before it is still finished and yielded.
    """
    pending: list[Submitted] = []
    try:
        for item in items:
            pending.append(submit(item))
            if len(pending) > 1:
                yield finish(pending.pop(0))
    except NvcError:
        yield from (finish(pending.pop(0)) for _ in range(len(pending)))
        raise
    yield from map(finish, pending)
