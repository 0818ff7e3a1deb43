"""The order in which vectors of blocks are coded, and what is expected of each (docs/FORMAT.md, 2.6, 2.7). NumPy only.

Blocks are coded from coarse to fine: first the top left one, then, with steps that halve, those in the middle of four
coded ones, and those between. A vector is expected to be the middle of its neighbours', and what is left is coded with
a table row chosen by how much these differ. Or a choice is coded first: the expected vector, a neighbour's or another
one (`Context`).
"""

import dataclasses
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Blocks = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]  # rows and columns

LARGEST = 127  # difference with a bin of its own
ANOTHER = 5  # choice of a vector that is neither the expected one nor a neighbour's
# Sums of the differences in both components from which on the next row of the table is used. The first row is for
# neighbours that all stand still, the second for neighbours that are the same; where neighbours are farther away than
# one block, the second half of the table is used.
_SPREADS = np.array([1, 2, 4, 8, 16, 32])
# (share of zeros in thousandths, width in quarters) of each row, fitted to the vectors of the training clips; the share
# of the first is higher than theirs, since most videos that people code move less.
_ROWS = (
    *((992, 0), (848, 4), (757, 0), (602, 0), (508, 4), (391, 8), (377, 16), (221, 96)),
    *((970, 0), (479, 16), (689, 0), (491, 0), (459, 4), (321, 12), (364, 24), (229, 192)),
)
ROWS = len(_ROWS)
_FAR = ROWS // 2

# Vectors as choices: thousandths of those that are a surprise, not the expected vector, and the percentage of another
# vector among surprises; where fewer than three neighbours have the expected vector, and where three or four have.
# Fitted to 240 frames of six training clips at four qps. The first number is taken times the percentage by the number
# of neighbours that were a surprise themselves.
_MOST_AGREE = 3
_CHOICES = (
    *(((40, 100), (40, 100)), ((125, 100), (125, 100)), ((395, 22), (265, 36)), ((385, 33), (250, 50))),
    *(((378, 40), (280, 48)), ((400, 44), (298, 43)), ((460, 44), (335, 41)), ((580, 45), (320, 42))),
    *(((208, 100), (208, 100)), ((275, 100), (275, 100)), ((445, 34), (265, 47)), ((378, 35), (272, 69))),
    *(((450, 38), (368, 58)), ((442, 44), (380, 60)), ((505, 50), (372, 61)), ((575, 54), (420, 64))),
)
_SURPRISES = (21, 65, 90, 116, 141)
_OF_NEIGHBOURS = (280, 290, 225, 205), (95, 205, 360, 340)  # thousandths of the other surprises
CHOICE_ROWS = len(_CHOICES) * len(_OF_NEIGHBOURS) * len(_SURPRISES)
# (share of zeros, width) of the differences of another vector: of dy, and of dx where |dy| is 0, 1, 2, 3 or more.
_DIFFERENCES = (
    ((449, 48), (1, 64), (593, 8), (451, 8), (528, 128)),
    ((303, 12), (1, 16), (329, 4), (336, 12), (396, 48)),
    ((239, 32), (1, 48), (193, 16), (260, 24), (240, 48)),
    ((166, 256), (1, 256), (117, 48), (154, 48), (180, 256)),
)
DIFFERENCE_ROWS = sum(map(len, _DIFFERENCES))
_GROUPS = np.array([0, 0, 1, 1, 1, 2, 2, 3] * 2)  # of _DIFFERENCES, for every row of vectors


def frequencies(total: int) -> list[list[int]]:
    """Count the differences -127 to 127 and all others, for each row, in parts of `total`.

    The difference d has the frequency of 1 / (width + |d|)^3. Whole numbers only: tables must be the same everywhere.
    """
    return [_frequencies(zeros, width, total) for zeros, width in _ROWS]


def choice_frequencies(total: int) -> list[list[int]]:
    """Count the choices 0 to ANOTHER and all others, for each row, in parts of `total`."""
    rows = []
    for both in _CHOICES:
        for (surprise, another), shares in zip(both, _OF_NEIGHBOURS, strict=True):
            for percentage in _SURPRISES:
                surprises = total * surprise * percentage // 10**5
                others = surprises * another // 100
                neighbours = [1 + (surprises - others) * share // 1000 for share in shares]
                rows.append([total - sum(neighbours) - others - 1, *neighbours, others, 1])
    return rows


def difference_frequencies(total: int) -> list[list[int]]:
    """As `frequencies`, of the vectors that are another choice."""
    return [_frequencies(zeros, width, total) for group in _DIFFERENCES for zeros, width in group]


def _frequencies(zeros: int, width: int, total: int) -> list[int]:
    weights = [(1 << 60) // (width + 4 * d) ** 3 for d in range(1, LARGEST + 1)]
    room = (total - 2 * LARGEST - 2) * (1000 - zeros) // 2000
    side = [1 + room * weight // sum(weights) for weight in weights]
    return [*side[::-1], total - 2 * sum(side) - 1, *side, 1]


def expectation(neighbours: Any, far: Any, xp: Any) -> tuple[Any, Any]:
    """The vectors expected, [..., n, 2], and the table rows of what is left, [..., n].

    Args:
        neighbours: vectors [..., 4, n, 2] of the neighbours.
        far: True where these are more than a block away; a bool or [n].
        xp: numpy or jax.numpy.
    """
    vectors = xp.moveaxis(xp.sort(neighbours.astype(np.int32), axis=-3), -3, 0)
    spread = (vectors[3] - vectors[0]).sum(axis=-1)
    still = ~vectors.any(axis=(0, -1))
    row = xp.where(still, 0, 1 + (spread[..., None] >= xp.asarray(_SPREADS)).sum(axis=-1)) + _FAR * xp.asarray(far)
    return (vectors[1] + vectors[2]) >> 1, row


class Context(NamedTuple):
    """Knowledge of both sides before a vector is coded as a choice (docs/FORMAT.md, 2.7).

    Attributes:
        neighbours: vectors [..., 4, n, 2].
        expected: vectors [..., n, 2].
        row: table row by how much the neighbours differ, [..., n]; see `expectation`.
    """

    neighbours: Any
    expected: Any
    row: Any

    @classmethod
    def of(cls, neighbours: Any, far: Any, xp: Any) -> "Context":
        """The context of vectors from their neighbours; see `expectation`."""
        return cls(neighbours, *expectation(neighbours, far, xp))

    def choice_row(self, surprises: Any) -> Any:
        """Table rows of choices, [..., n].

        Args:
            surprises: [..., 4, n] bool, neighbours whose vectors are not those that were expected.
        """
        agree = (self.neighbours == self.expected[..., None, :, :]).all(axis=-1).sum(axis=-2) >= _MOST_AGREE
        return len(_SURPRISES) * (2 * self.row + agree) + surprises.sum(axis=-2)

    def choice(self, vectors: Any, xp: Any) -> Any:
        """Choices of vectors [..., n, 2]: 0 the expected one, 1 to 4 the first such neighbour's, or ANOTHER."""
        same = (self.neighbours == vectors[..., None, :, :]).all(axis=-1)
        of_neighbour = xp.where(same.any(axis=-2), 1 + xp.argmax(same, axis=-2), ANOTHER)
        return xp.where((vectors == self.expected).all(axis=-1), 0, of_neighbour)

    def chosen(self, choice: npt.NDArray[np.int8]) -> Any:
        """The vectors of choices [n], the expected one for ANOTHER."""
        vectors = self.expected.copy()
        for number, neighbour in enumerate(self.neighbours):
            vectors[choice == 1 + number] = neighbour[choice == 1 + number]
        return vectors


def difference_rows(row: Any, dy: Any, xp: Any) -> tuple[Any, Any]:
    """Rows of `difference_frequencies`, of dy and of dx, for differences dy [...] in blocks of `Context.row`."""
    first = len(_DIFFERENCES[0]) * xp.asarray(_GROUPS)[row]
    return first, first + 1 + xp.minimum(xp.abs(xp.asarray(dy, np.int32)), len(_DIFFERENCES[0]) - 2)


@lru_cache(maxsize=8)
def steps(height: int, width: int) -> list[tuple[Blocks, Blocks, bool]]:
    """For each step: blocks [n], their known neighbours [4, n], and True where these are more than a block away."""
    size = 1 << (max(height, width) - 1).bit_length()
    found = [(*_step((0, size), (0, size), [(0, 0)] * 4, height, width), True)]
    while size > 1:
        half = size // 2
        beside, above = [(0, -half), (0, half)], [(-half, 0), (half, 0)]
        diagonal = [(y, x) for y in (-half, half) for x in (-half, half)]
        found.append((*_step((half, size), (half, size), diagonal, height, width), half > 1))
        found.append((*_step((0, size), (half, size), beside + above, height, width), half > 1))
        found.append((*_step((half, size), (0, size), above + beside, height, width), half > 1))
        size = half
    return found


@dataclasses.dataclass(frozen=True)
class Order:
    """`steps` by block, in rows.

    Attributes:
        step: [h * w] number of the step that codes it.
        around: [4, h * w] places of its neighbours; the first block has none but itself.
        far: [h * w] bool, these are more than a block away.
    """

    step: npt.NDArray[np.int32]
    around: npt.NDArray[np.int32]
    far: npt.NDArray[np.bool_]

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, height: int, width: int) -> "Order":
        """The order of pictures of so many blocks."""
        step, around = np.zeros((height, width), np.int32), np.zeros((4, height, width), np.int32)
        far = np.zeros((height, width), bool)
        for number, (blocks, (y, x), is_far) in enumerate(steps(height, width)):
            step[blocks], far[blocks] = number, is_far
            around[:, *blocks] = y * width + x
        return cls(step.ravel(), around.reshape(4, -1), far.ravel())

    def contexts(self, vectors: Any, xp: Any) -> tuple[Context, Any, Any]:
        """Contexts, choices and their table rows, [..., h * w], of a whole field of vectors [..., h * w, 2]."""
        known = (self.step > 0)[:, None]  # the first block has no neighbours: zero vectors, no surprises
        here = Context.of(xp.where(known, vectors[..., self.around, :], 0), self.far, xp)
        choice = here.choice(vectors, xp)
        return here, choice, here.choice_row((choice != 0)[..., self.around] & known[:, 0])

    @cached_property
    def places(self) -> list[npt.NDArray[np.int64]]:
        """Places of the blocks of each step that has blocks."""
        found = (np.flatnonzero(self.step == number) for number in range(self.step.max() + 1))
        return [places for places in found if len(places)]


def _step(
    rows: tuple[int, int], columns: tuple[int, int], offsets: list[tuple[int, int]], height: int, width: int
) -> tuple[Blocks, Blocks]:
    """The blocks of a step, from (first, distance) of rows and columns, and their neighbours.

    A neighbour beyond the border is replaced by the first one, which is never.
    """
    y, x = (part.ravel() for part in np.mgrid[rows[0] : height : rows[1], columns[0] : width : columns[1]])
    around_y, around_x = (np.array(part)[:, None] for part in zip(*offsets, strict=True))
    around_y, around_x = around_y + y, around_x + x
    inside = (around_y >= 0) & (around_y < height) & (around_x >= 0) & (around_x < width)
    return (y, x), (np.where(inside, around_y, around_y[0]), np.where(inside, around_x, around_x[0]))
