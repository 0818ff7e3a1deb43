"""Decodes a float frame whose encoder rounded a few scales otherwise.

Another machine computes scales that differ in their last bits. Where one lies on an edge between two rows of the
Gaussian table, or on the skip threshold, it may come out on the other side, and all symbols after that one are read
wrong. They look no worse than the right ones, so nothing tells where it happened; but only scales next to an edge can
have changed sides, there are few of them, and the end of the payload tells whether a guess was right.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from nvc_jax.codec.stages import CodingStep
from nvc_jax.codec.transfer import to_host
from nvc_jax.spec import LOG_SCALE_MIN, LOG_SCALE_STEP_RECIPROCAL, NOT_CODED, SCALE_LEVELS, SCALE_MIN

# In table steps. Scales of the official code differ from ours by 1e-5 on average, one in a hundred by more than 1e-4.
TOLERANCE = 5e-4
# In a simulation of such differences, a third of the frames with 50,000 coded symbols needed flips, and 3 in 1000 more
# trials than these. Each lets garbage pass with a probability below 3e-8: 2^23 ln 256 final states are likely.
MAX_TRIALS = 64
# With more scales next to an edge than these, so many of them have changed sides that no trial can be expected to hit:
# at 352x288 there are about a hundred, at 1312x736 hundreds.
MAX_CANDIDATES = 256


Found = TypeVar("Found")


class Flip(NamedTuple):
    """A table index to be taken otherwise than it was computed.

    Attributes:
        step: the coding step.
        position: in the flattened plane [C/steps, h, w].
        other: the index to take.
    """

    step: int
    position: int
    other: int


def resync(
    steps: list[CodingStep],
    attempt: Callable[[tuple[Flip, ...]], tuple[list[CodingStep], Found | None]],
    skip_threshold: float,
) -> tuple[Found, int] | None:
    """Try flips, alone and together, in the order of the sum of their distances from the edges.

    Args:
        steps: coding steps of the packet as far as a reading without flips came.
        attempt: reads the packet with flips from its beginning; the steps as far as that came, and the result where
            the payload comes out right.
        skip_threshold: as in `LoadedNetwork`.

    Returns:
        The result and the number of flips; None if there is none within TOLERANCE, MAX_TRIALS and MAX_CANDIDATES.
    """
    untried = list(_with_one_more(steps, (), 0.0, skip_threshold))
    if len(untried) > MAX_CANDIDATES:
        return None
    for left in range(MAX_TRIALS, 0, -1):
        untried = heapq.nsmallest(left, untried)
        if not untried:
            break
        distance, flips = untried.pop(0)
        steps, found = attempt(flips)
        if found is not None:
            return found, len(flips)
        untried += _with_one_more(steps, flips, distance, skip_threshold)
    return None


def _with_one_more(
    steps: list[CodingStep], flips: tuple[Flip, ...], distance: float, skip_threshold: float
) -> Iterator[tuple[float, tuple[Flip, ...]]]:
    """Flips that failed at some distance, and one after them: (distance, flips)."""
    last = flips[-1] if flips else Flip(0, -1, 0)
    for number in range(last.step, len(steps)):
        for more, position, other in _next_to_edges(steps[number], TOLERANCE - distance, skip_threshold):
            if (number, position) > last[:2]:
                yield distance + more, (*flips, Flip(number, position, other))


def _next_to_edges(step: CodingStep, within: float, skip_threshold: float) -> Iterator[tuple[float, int, int]]:
    """Scales nearer to an edge than `within`: (distance, position, index on the other side)."""
    index = to_host(step.indexes).ravel()
    place = _place(to_host(step.scale).ravel())
    coded = index != NOT_CODED
    edge = np.clip(np.round(place), 1, SCALE_LEVELS - 1)
    yield from _nearer(within, np.where(coded, abs(place - edge), np.inf), np.where(index == edge, edge - 1, edge))
    if skip_threshold >= np.float32(SCALE_MIN):  # scales are raised to it before they are compared
        row = np.clip(np.floor(place), 0, SCALE_LEVELS - 1)
        yield from _nearer(within, abs(place - _place(skip_threshold)), np.where(coded, NOT_CODED, row))


def _place(scale: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Where scales lie in the table, in steps: those of row n from n to n + 1."""
    with np.errstate(divide="ignore"):  # networks may give scales of zero and below
        return (np.log(np.maximum(scale, 0.0, dtype=np.float64)) - LOG_SCALE_MIN) * LOG_SCALE_STEP_RECIPROCAL


def _nearer(
    within: float, distance: npt.NDArray[np.float64], index: npt.NDArray[Any]
) -> Iterator[tuple[float, int, int]]:
    for position in np.flatnonzero(distance < within):
        yield float(distance[position]), int(position), int(index[position])
