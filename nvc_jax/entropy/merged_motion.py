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
from nvc_jax.entropy.tables import TOTAL, CdfArrays, from_frequencies, symbol_bits
from nvc_jax.ops import motion_order
from nvc_jax.ops.motion_order import (
    ANOTHER,
    CHOICE_ROWS,
    DIFFERENCE_ROWS,
    LARGEST,
    Context,
    Order,
    difference_rows,
    steps,
)

Int8 = npt.NDArray[np.int8]
Uint8 = npt.NDArray[np.uint8]

_DIFFERENCES = CHOICE_ROWS  # the first table row of differences
_SKIPPED = _DIFFERENCES + DIFFERENCE_ROWS


def tables() -> CdfArrays:
    """Table rows of choices, of differences and of skipped blocks."""
    rows = [*motion_order.choice_frequencies(TOTAL), *motion_order.difference_frequencies(TOTAL), *SKIP_ROWS]
    offsets = [0] * CHOICE_ROWS + [-LARGEST] * DIFFERENCE_ROWS + [0] * len(SKIP_ROWS)
    return from_frequencies(rows, offsets)


def encode(symbols: Int8) -> list[tuple[Int8, Uint8]]:
    """(symbols, table rows) of each list, from the motion of blocks [h, w, 3]."""
    order, field = Order.of(*symbols.shape[:2]), symbols.reshape(-1, 3)
    here, choice, choice_row = order.contexts(field[:, :2], np)
    first = np.stack([choice, field[:, 2]], axis=-1).astype(np.int8)
    first_rows = np.stack([choice_row, _skip_rows(field, order, np)], axis=-1).astype(np.uint8)
    dy, dx = (field[:, :2] - here.expected).astype(np.int8).T
    rows_y, rows_x = _difference_rows(here.row, dy)
    coded: list[tuple[Int8, Uint8]] = []
    for places in order.places:
        coded.append((first[places], first_rows[places]))
        another = places[choice[places] == ANOTHER]
        if len(another):
            coded.extend([(dy[another], rows_y[another]), (dx[another], rows_x[another])])
    return coded


def decode(height: int, width: int, read: Callable[[Uint8], Int8]) -> Int8:
    """The inverse: motion [height, width, 3], where `read` gives the symbols for table rows."""
    field, surprises = np.zeros((height, width, 3), np.int8), np.zeros((height, width), bool)
    for blocks, around, far in steps(height, width):
        neighbours = field[around]
        if not neighbours.size:
            continue
        here = Context.of(neighbours[..., :2], far, np)
        rows = np.stack([here.choice_row(surprises[around]), _SKIPPED + skip_row(neighbours, far)], axis=-1)
        choice, skipped = read(rows.astype(np.uint8)).T
        vectors = here.chosen(choice)
        another = (choice < 0) | (choice >= ANOTHER)  # an encoder writes no other symbols
        if another.any():
            row = here.row[another]
            dy = read(_difference_rows(row, 0)[0])
            dx = read(_difference_rows(row, dy)[1])
            vectors[another] += np.stack([dy, dx], axis=-1)  # modulo 256, as the encoder takes differences
        field[blocks] = np.concatenate([vectors.astype(np.int8), skipped[:, None]], axis=-1)
        surprises[blocks] = choice != 0
    return field


def bits(symbols: Any, xp: Any) -> Any:
    """Bits of the motion of blocks; see `entropy.motion.bits`."""
    order, table = Order.of(*symbols.shape[1:3]), xp.asarray(_bits_of_symbols())
    field = symbols.reshape(len(symbols), -1, 3)
    here, choice, choice_row = order.contexts(field[..., :2], xp)
    dy, dx = xp.moveaxis((field[..., :2] - here.expected).astype(np.int8).astype(np.int32), -1, 0)
    row_y, row_x = difference_rows(here.row, dy, xp)
    differences = table[_DIFFERENCES + row_y, dy + 128] + table[_DIFFERENCES + row_x, dx + 128]
    found = table[choice_row, choice + 128] + xp.where(choice == ANOTHER, differences, 0.0)
    skipped = table[_skip_rows(field, order, xp), field[..., 2].astype(np.int32) + 128]
    return (found + skipped).sum(axis=1)


@lru_cache(maxsize=1)
def _bits_of_symbols() -> npt.NDArray[np.float32]:
    return symbol_bits(tables())


def _skip_rows(field: Any, order: Order, xp: Any) -> Any:
    """Table rows of the third byte of a whole field [..., h * w, 3]."""
    neighbours = xp.where((order.step > 0)[:, None], field[..., order.around, :], 0)
    return _SKIPPED + skip_row(neighbours, order.far)


def _difference_rows(row: Any, dy: Any) -> tuple[Uint8, Uint8]:
    first, second = difference_rows(row, dy, np)
    return (_DIFFERENCES + first).astype(np.uint8), (_DIFFERENCES + second).astype(np.uint8)
