"""Keeping the device one packet ahead of the host (D7)."""

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
    submitted = map(submit, items)
    pending: list[Submitted] = []
    failure: NvcError | None = None
    while failure is None:
        try:
            pending.append(next(submitted))
        except StopIteration:
            break
        except NvcError as error:
            failure = error
        if len(pending) > 1:
            yield finish(pending.pop(0))
    yield from map(finish, pending)
    if failure is not None:
        raise failure
