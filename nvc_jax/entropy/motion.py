"""Motion of blocks to symbols and back, in whole numbers (docs/FORMAT.md, 2.6).

The motion of a block is [dy, dx, skipped], int8: its vector, and not 0 if it is taken from the prediction as it is.
Blocks are coded in the order of `ops.motion_order`, which also says what is expected of a vector. The table row with
which it is coded whether a block is skipped goes by how many of its neighbours are.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.entropy.tables import TOTAL, CdfArrays, from_frequencies, symbol_bits
from nvc_jax.ops.motion_order import LARGEST, ROWS, Blocks, expectation, frequencies, steps

Int8 = npt.NDArray[np.int8]
Uint8 = npt.NDArray[np.uint8]

# Share of skipped blocks in thousandths where 0 to 4 of the neighbours are, the second half as above. Fitted to what
# embedded_v1 skips in training clips at qps 5, 25 and 45, and for the fewest neighbours to less.
_SKIP_ROWS = (90, 290, 540, 780, 987, 220, 370, 570, 770, 970)
_SKIP_FAR = len(_SKIP_ROWS) // 2
SKIP_ROWS = [[TOTAL - TOTAL * share // 1000, TOTAL * share // 1000 - 1, 1] for share in _SKIP_ROWS]  # frequencies


def tables() -> CdfArrays:
    """A table row for each way in which neighbours may differ, and for each number of them that are skipped."""
    return from_frequencies([*frequencies(TOTAL), *SKIP_ROWS], [-LARGEST] * ROWS + [0] * len(SKIP_ROWS))


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
    for (y, x), (around_y, around_x), far in steps(*symbols.shape[1:3]):
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
    for blocks, around, far in steps(height, width):
        expected, rows = _expectation(field[around], far, np)
        field[blocks] = code(blocks, expected, rows.astype(np.uint8))
    return field


def _expectation(neighbours: Any, far: bool, xp: Any) -> tuple[Any, Any]:
    """From the motion of neighbours [..., 4, n, 3], what is expected between them and table rows, both [..., n, 3]."""
    expected, row = expectation(neighbours[..., :2], far, xp)
    none = xp.zeros_like(expected[..., :1])
    return xp.concatenate([expected, none], axis=-1), xp.stack([row, row, ROWS + skip_row(neighbours, far)], axis=-1)


def skip_row(neighbours: Any, far: Any) -> Any:
    """The row of SKIP_ROWS for blocks with such neighbours [..., 4, n, 3], [..., n]; far: see `expectation`."""
    return _SKIP_FAR * far + (neighbours[..., 2] != 0).sum(axis=-2)
