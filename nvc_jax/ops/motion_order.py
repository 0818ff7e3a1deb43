"""The order in which vectors of blocks are coded, and what is expected of each (docs/FORMAT.md, 2.6). NumPy only.

Blocks are coded from coarse to fine: first the top left one, then, with steps that halve, those in the middle of four
coded ones, and those between. A vector is expected to be the middle of its neighbours', and what is left is coded with
a table row chosen by how much these differ.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Blocks = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]  # rows and columns

LARGEST = 127  # difference with a bin of its own
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


def frequencies(total: int) -> list[list[int]]:
    """Count the differences -127 to 127 and all others, for each row, in parts of `total`.

    The difference d has the frequency of 1 / (width + |d|)^3. Whole numbers only: tables must be the same everywhere.
    """
    rows = []
    for zeros, width in _ROWS:
        weights = [(1 << 60) // (width + 4 * d) ** 3 for d in range(1, LARGEST + 1)]
        room = (total - 2 * LARGEST - 2) * (1000 - zeros) // 2000
        side = [1 + room * weight // sum(weights) for weight in weights]
        rows.append([*side[::-1], total - 2 * sum(side) - 1, *side, 1])
    return rows


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
