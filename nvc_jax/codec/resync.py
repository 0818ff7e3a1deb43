"""Decodes a float frame whose encoder rounded a few scales otherwise.

Another machine computes scales that differ in their last bits. Where one lies on an edge between two rows of the
Gaussian table, or on the skip threshold, it may come out on the other side, and all symbols after that one are read
wrong. They look no worse than the right ones, so nothing tells where it happened; but only scales next to an edge can
have changed sides, there are few of them, and the end of the payload tells whether a guess was right.
"""

import dataclasses
import heapq
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jax import Array

from nvc_jax.codec.stages import CodingStep
from nvc_jax.codec.transfer import to_host
from nvc_jax.errors import BitstreamError
from nvc_jax.spec import LOG_SCALE_MIN, LOG_SCALE_STEP_RECIPROCAL, NOT_CODED, SCALE_LEVELS, SCALE_MIN

# In table steps. Scales of the official code differ from ours by 1e-5 on average, one in a hundred by more than 1e-4.
TOLERANCE = 5e-4
# In a simulation of such differences, a third of the frames with 50,000 coded symbols needed flips, and 3 in 1000 more
# trials than these. Each lets garbage pass with a probability below 3e-8: 2^23 ln 256 final states are likely.
MAX_TRIALS = 64
# With more scales next to an edge than these, so many of them have changed sides that no trial can be expected to hit:
# at 352x288 there are about a hundred, at 1312x736 hundreds.
MAX_CANDIDATES = 256


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


@dataclasses.dataclass
class Reading:
    """The coding steps of a frame as they are read.

    Attributes:
        steps: what was decoded of y before each step (None before the first), and the step; as far as the reading came.
        symbols: of the last step that was read; before the first, those of z.
        flips: in the order of coding.
    """

    steps: list[tuple[Array | None, CodingStep]]
    symbols: Array
    flips: tuple[Flip, ...] = ()

    def indexes(self, step: int) -> npt.NDArray[np.uint8]:
        """Table indexes [C/steps, h, w] of a step, flipped. Waits for the device."""
        indexes: npt.NDArray[np.uint8] = to_host(self.steps[step][1].indexes)[0]
        flips = [flip for flip in self.flips if flip.step == step]
        if flips:
            indexes = indexes.copy()
            for flip in flips:
                indexes.flat[flip.position] = flip.other
        return indexes

    def flipped(self, flips: tuple[Flip, ...]) -> "Reading":
        """A new one with these flips, the last of which is in a step that this one has reached."""
        return Reading(self.steps[: flips[-1].step + 1], self.symbols, flips)


def resync(reading: Reading, read: Callable[[Reading], None], skip_threshold: float) -> Reading | None:
    """Try flips, alone and together, in the order of the sum of their distances from the edges.

    Args:
        reading: one without flips that failed.
        read: reads the frame from its beginning; raises BitstreamError where the payload does not come out right.
        skip_threshold: as in `FrameCodec`.

    Returns:
        A reading that came out right; None if there is none within TOLERANCE, MAX_TRIALS and MAX_CANDIDATES.
    """
    untried = list(_with_one_more(reading, 0.0, skip_threshold))
    if len(untried) > MAX_CANDIDATES:
        return None
    for left in range(MAX_TRIALS, 0, -1):
        untried = heapq.nsmallest(left, untried)
        if not untried:
            break
        distance, flips, before = untried.pop(0)
        reading = before.flipped(flips)
        try:
            read(reading)
            return reading
        except BitstreamError:
            untried += _with_one_more(reading, distance, skip_threshold)
    return None


def _with_one_more(
    failed: Reading, distance: float, skip_threshold: float
) -> Iterator[tuple[float, tuple[Flip, ...], Reading]]:
    """The flips of a reading, at some distance, and one after them: (distance, flips, reading)."""
    last = failed.flips[-1] if failed.flips else Flip(0, -1, 0)
    for number in range(last.step, len(failed.steps)):
        _, step = failed.steps[number]
        for more, position, other in _next_to_edges(step, TOLERANCE - distance, skip_threshold):
            if (number, position) > last[:2]:
                yield distance + more, (*failed.flips, Flip(number, position, other)), failed


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
