"""Motion of blocks to symbols and back, in whole numbers (docs/FORMAT.md, 2.6).

The motion of a block is [dy, dx, skipped], int8: its vector, and not 0 if it is taken from the prediction as it is.

Blocks are coded from coarse to fine: first the top left one, then, with steps that halve, those in the middle of four
coded ones, and those between. A vector is expected to be the middle of its neighbours', and what is left is coded with
a table row chosen by how much these differ; whether a block is skipped, with one chosen by how many of them are.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.entropy.tables import TOTAL, CdfArrays, symbol_bits

Int8 = npt.NDArray[np.int8]
Uint8 = npt.NDArray[np.uint8]
Blocks = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]  # rows and columns

_LARGEST = 127  # difference with a bin of its own
# Sums of the differences in both components from which on the next row of the table is used. The first row is for
# neighbours that all stand still, the second for neighbours that are alike; where neighbours are farther away than one
# block, the second half of the table is used.
_SPREADS = np.array([1, 2, 4, 8, 16, 32])
# (share of zeros in thousandths, width in quarters) of each row, fitted to the vectors of the training clips; the share
# of the first is higher than theirs, since most videos that people code move less.
_ROWS = (
    *((992, 0), (848, 4), (757, 0), (602, 0), (508, 4), (391, 8), (377, 16), (221, 96)),
    *((970, 0), (479, 16), (689, 0), (491, 0), (459, 4), (321, 12), (364, 24), (229, 192)),
)
_FAR = len(_ROWS) // 2
# Share of skipped blocks in thousandths where 0 to 4 of the neighbours are, the second half as above. Fitted to what
# the embedded model skips in training clips at qps 5, 25 and 45, and for the fewest neighbours to less.
_SKIP_ROWS = (90, 290, 540, 780, 987, 220, 370, 570, 770, 970)
_SKIP_FAR = len(_SKIP_ROWS) // 2


def tables() -> CdfArrays:
    """A table row for each way in which neighbours may differ, and for each number of them that are skipped.

    The difference d has the frequency of 1 / (width + |d|)^3. Whole numbers only: tables must be the same everywhere.
    """
    rows = []
    for zeros, width in _ROWS:
        weights = [(1 << 60) // (width + 4 * d) ** 3 for d in range(1, _LARGEST + 1)]
        room = (TOTAL - 2 * _LARGEST - 2) * (1000 - zeros) // 2000
        side = [1 + room * weight // sum(weights) for weight in weights]
        frequencies = [*side[::-1], TOTAL - 2 * sum(side) - 1, *side, 1]
        rows.append(np.concatenate([[0], np.cumsum(frequencies)]))
    skips = [np.array([0, TOTAL - TOTAL * share // 1000, TOTAL - 1, TOTAL]) for share in _SKIP_ROWS]
    width = len(rows[0])
    cdf = np.array([np.pad(row, (0, width - len(row))) for row in rows + skips], np.int32)
    length = np.array([len(row) for row in rows + skips], np.int32)
    return CdfArrays(cdf, length, np.array([-_LARGEST] * len(rows) + [0] * len(skips), np.int32))


def encode(symbols: Int8) -> list[tuple[Int8, Uint8]]:
    """(differences, table rows) of each step, from the motion of blocks [h, w, 3]."""
    coded: list[tuple[Int8, Uint8]] = []

    def write(blocks: Blocks, expected: npt.NDArray[np.int32], rows: Uint8) -> Int8:
        values = symbols[blocks]
        coded.append(((values - expected).astype(np.int8), rows))
        return values

    _visit(symbols.shape[0], symbols.shape[1], write)
    return coded


def decode(height: int, width: int, read: Callable[[Uint8], Int8]) -> Int8:
    """The inverse: motion [height, width, 3], where `read` gives the symbols for table rows."""

    def values(blocks: Blocks, expected: npt.NDArray[np.int32], rows: Uint8) -> Int8:
        return (read(rows) + expected).astype(np.int8)  # modulo 256, as the encoder takes differences

    return _visit(height, width, values)


def bits(symbols: Any, xp: Any) -> Any:
    """Bits of the motion of blocks [B, h, w, 3]: [B].

    Args:
        symbols: int8, of NumPy or, for training and estimates on a device, of JAX.
        xp: numpy or jax.numpy; this package does not import JAX.
    """
    table = xp.asarray(_bits_of_symbols())
    total = 0.0
    known = xp.zeros_like(symbols)  # at the first step
    for (y, x), (around_y, around_x), far in _steps(*symbols.shape[1:3]):
        expected, rows = _expectation(known[:, around_y, around_x], far, xp)
        known = symbols
        differences = (symbols[:, y, x] - expected).astype(np.int8)
        total = total + table[rows, differences.astype(np.int32) + 128].sum(axis=(1, 2))
    return total


@lru_cache(maxsize=1)
def _bits_of_symbols() -> npt.NDArray[np.float32]:
    return symbol_bits(tables())


def _visit(height: int, width: int, code: Callable[[Blocks, npt.NDArray[np.int32], Uint8], Int8]) -> Int8:
    """Fill a field by `code(blocks, expected, rows)`, step by step from what is known so far."""
    field = np.zeros((height, width, 3), np.int8)
    for blocks, around, far in _steps(height, width):
        expected, rows = _expectation(field[around], far, np)
        field[blocks] = code(blocks, expected, rows.astype(np.uint8))
    return field


def _expectation(neighbours: Any, far: bool, xp: Any) -> tuple[Any, Any]:
    """From the motion of neighbours [..., 4, n, 3], what is expected between them and table rows, both [..., n, 3]."""
    vectors = xp.moveaxis(xp.sort(neighbours[..., :2].astype(np.int32), axis=-3), -3, 0)
    spread = (vectors[3] - vectors[0]).sum(axis=-1)
    still = ~vectors.any(axis=(0, -1))
    row = xp.where(still, 0, 1 + (spread[..., None] >= xp.asarray(_SPREADS)).sum(axis=-1)) + _FAR * far
    skipped = (neighbours[..., 2] != 0).sum(axis=-2)
    expected = (vectors[1] + vectors[2]) >> 1
    none = xp.zeros_like(expected[..., :1])
    skip_row = len(_ROWS) + _SKIP_FAR * far + skipped
    return xp.concatenate([expected, none], axis=-1), xp.stack([row, row, skip_row], axis=-1)


@lru_cache(maxsize=8)
def _steps(height: int, width: int) -> list[tuple[Blocks, Blocks, bool]]:
    """For each step: blocks [n], their known neighbours [4, n], and True where these are more than a block away."""
    size = 1 << (max(height, width) - 1).bit_length()
    steps = [(*_step((0, size), (0, size), [(0, 0)] * 4, height, width), True)]
    while size > 1:
        half = size // 2
        beside, above = [(0, -half), (0, half)], [(-half, 0), (half, 0)]
        diagonal = [(y, x) for y in (-half, half) for x in (-half, half)]
        steps.append((*_step((half, size), (half, size), diagonal, height, width), half > 1))
        steps.append((*_step((0, size), (half, size), beside + above, height, width), half > 1))
        steps.append((*_step((half, size), (0, size), above + beside, height, width), half > 1))
        size = half
    return steps


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
