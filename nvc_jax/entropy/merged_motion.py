"""Motion of blocks in whole numbers, where vectors may be those of neighbours (docs/FORMAT.md, 2.7).

As in `entropy.motion`, but a vector is coded as a choice: the expected one, that of a neighbour, or another one. Only
of another one, the difference from the expected one follows: dy first, then dx with a table row chosen by it.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.entropy.motion import SKIP_ROWS, skip_row
from nvc_jax.entropy.tables import TOTAL, CdfArrays, symbol_bits
from nvc_jax.ops import motion_order
from nvc_jax.ops.motion_order import ANOTHER, Blocks, Context, context, difference_rows, steps

Int8 = npt.NDArray[np.int8]
Uint8 = npt.NDArray[np.uint8]

_DIFFERENCES = motion_order.CHOICE_ROWS  # the first table row of differences
_SKIPPED = _DIFFERENCES + motion_order.DIFFERENCE_ROWS


def tables() -> CdfArrays:
    """Table rows of choices, of differences and of skipped blocks."""
    differences = motion_order.difference_frequencies(TOTAL)
    counts = [*motion_order.choice_frequencies(TOTAL), *differences, *SKIP_ROWS]
    length = np.array([len(row) + 1 for row in counts], np.int32)
    cdf = np.zeros((len(counts), max(length)), np.int32)
    for row, count in zip(cdf, counts, strict=True):
        row[1 : len(count) + 1] = np.cumsum(count)
    offset = np.zeros(len(counts), np.int32)
    offset[_DIFFERENCES:_SKIPPED] = -motion_order.LARGEST
    return CdfArrays(cdf, length, offset)


def encode(symbols: Int8) -> list[tuple[Int8, Uint8]]:
    """(symbols, table rows) of each list, from the motion of blocks [h, w, 3]."""
    coded: list[tuple[Int8, Uint8]] = []

    def write(blocks: Blocks, here: Context, rows: Uint8) -> Int8:
        values = symbols[blocks]
        choice = here.choice(values[:, :2], np)
        coded.append((np.stack([choice, values[:, 2]], axis=-1).astype(np.int8), rows))
        another = choice == ANOTHER
        if another.any():
            dy, dx = (values[another, :2] - here.expected[another]).astype(np.int8).T
            row_y, row_x = difference_rows(here.row[another], dy, np)
            coded.extend([(dy.copy(), _table_rows(row_y)), (dx.copy(), _table_rows(row_x))])
        return values

    _visit(symbols.shape[0], symbols.shape[1], write)
    return coded


def decode(height: int, width: int, read: Callable[[Uint8], Int8]) -> Int8:
    """The inverse: motion [height, width, 3], where `read` gives the symbols for table rows."""

    def values(blocks: Blocks, here: Context, rows: Uint8) -> Int8:
        choice, skipped = read(rows).T
        vectors = here.chosen(choice)
        another = (choice < 0) | (choice >= ANOTHER)  # an encoder writes no other symbols
        if another.any():
            row = here.row[another]
            dy = read(_table_rows(difference_rows(row, 0, np)[0]))
            dx = read(_table_rows(difference_rows(row, dy, np)[1]))
            vectors[another] += np.stack([dy, dx], axis=-1)  # modulo 256, as the encoder takes differences
        return np.concatenate([vectors.astype(np.int8), skipped[:, None]], axis=-1)

    return _visit(height, width, values)


def bits(symbols: Any, xp: Any) -> Any:
    """Bits of the motion of blocks; see `entropy.motion.bits`."""
    table = xp.asarray(_bits_of_symbols())
    total = 0.0
    known = xp.zeros_like(symbols)  # at the first step
    for (y, x), (around_y, around_x), far in steps(*symbols.shape[1:3]):
        neighbours, values = known[:, around_y, around_x], symbols[:, y, x]
        here, known = context(neighbours[..., :2], far, xp), symbols
        choice = here.choice(values[..., :2], xp)
        dy, dx = xp.moveaxis((values[..., :2] - here.expected).astype(np.int8).astype(np.int32), -1, 0)
        row_y, row_x = difference_rows(here.row, dy, xp)
        differences = table[_DIFFERENCES + row_y, dy + 128] + table[_DIFFERENCES + row_x, dx + 128]
        found = table[here.choice_row, choice + 128] + xp.where(choice == ANOTHER, differences, 0.0)
        skipped = table[_SKIPPED + skip_row(neighbours, far), values[..., 2].astype(np.int32) + 128]
        total = total + (found + skipped).sum(axis=1)
    return total


@lru_cache(maxsize=1)
def _bits_of_symbols() -> npt.NDArray[np.float32]:
    return symbol_bits(tables())


def _table_rows(difference_row: Any) -> Uint8:
    return np.asarray(_DIFFERENCES + difference_row).astype(np.uint8)


def _visit(height: int, width: int, code: Callable[[Blocks, Context, Uint8], Int8]) -> Int8:
    """Fill a field by `code(blocks, context, rows of choice and skipping)`, step by step from what is known so far."""
    field = np.zeros((height, width, 3), np.int8)
    for blocks, around, far in steps(height, width):
        neighbours = field[around]
        here = context(neighbours[..., :2], far, np)
        rows = np.stack([here.choice_row, _SKIPPED + skip_row(neighbours, far)], axis=-1)
        field[blocks] = code(blocks, here, rows.astype(np.uint8))
    return field
