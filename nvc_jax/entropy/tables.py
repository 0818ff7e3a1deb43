"""Frequency tables of the entropy coder, built once per model on the host (docs/FORMAT.md).

A row is a distribution over consecutive integers, as cumulative frequencies that rise from 0 to 65536. Its
last bin is the tail: the probability of all other integers, which are then sent as an escape code.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import IO, BinaryIO

import numpy as np
import numpy.typing as npt

from nvc_jax.errors import ModelError
from nvc_jax.spec import SCALE_LEVELS

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]

TOTAL = 1 << 16  # sum of the frequencies of a row
MAX_BINS = 256  # of a row, the tail included
MIN_REACH, MAX_REACH = 2, 8  # integers on either side of 0 that may have a bin of their own
TAIL_PROBABILITY = 1e-4  # one side's probability that a row may leave to its tail, if MAX_REACH allows
FACTORISED_PARAMS = ("f1.h", "f1.b", "f1.a", "f2.h", "f2.b", "f2.a", "f3.h", "f3.b", "f3.a", "f4.h", "f4.b")
_PARTS = ("cdf", "length", "offset")


@dataclass(frozen=True, eq=False)
class CdfArrays:
    """Tables as arrays.

    Attributes:
        cdf: [rows, width] cumulative frequencies; row r uses its first length[r] values, zeros follow.
        length: [rows] values in use, one more than there are bins.
        offset: [rows] the integer of the first bin.
    """

    cdf: Int32
    length: Int32
    offset: Int32

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ModelError: the arrays are no tables.
        """
        for name, ndim in zip(_PARTS, (2, 1, 1), strict=True):
            array = getattr(self, name)
            if array.dtype != np.int32 or array.ndim != ndim:
                raise ModelError(
                    f"{name} of a probability table is {array.dtype} with shape {array.shape}, "
                    f"not int32 with {ndim} dimensions"
                )
        rows, width = self.cdf.shape
        if rows == 0 or width < 3 or self.length.shape != (rows,) or self.offset.shape != (rows,):
            raise ModelError(
                f"a probability table has {rows} rows of {width} values, "
                f"{self.length.size} lengths and {self.offset.size} offsets"
            )
        used = np.arange(width) < self.length[:, None]
        rising = (self.cdf[:, 1:] > self.cdf[:, :-1]) | ~used[:, 1:]
        last = np.take_along_axis(self.cdf, np.clip(self.length[:, None] - 1, 0, width - 1), axis=1)[:, 0]
        good = (self.length >= 3) & (self.length <= min(width, MAX_BINS + 1))
        good &= (self.cdf[:, 0] == 0) & (last == TOTAL) & rising.all(axis=1)
        good &= (self.offset >= -128) & (self.offset.astype(np.int64) + self.length <= 127 + 3)
        if not good.all():
            raise ModelError(
                f"row {int(np.argmin(good))} of a probability table does not rise from 0 to {TOTAL} over int8 symbols"
            )

    @property
    def rows(self) -> int:
        """Number of distributions."""
        return int(self.cdf.shape[0])


def gaussian_tables() -> CdfArrays:
    """The table of the zero-mean Gaussians: row i has scale SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (i / 127).

    It is data, not a computation, because platforms disagree about the last digit of the normal distribution.
    """
    with resources.files(__package__).joinpath("gaussian.npz").open("rb") as file:
        tables = _read(file, ("gaussian",))["gaussian"]
    assert tables.rows == SCALE_LEVELS
    return tables


def factorised_tables(params: Mapping[str, npt.ArrayLike]) -> CdfArrays:
    """The tables of the hyper-latent z. Row = qp * channels + channel.

    Args:
        params: `f1.h`, `f1.b`, `f1.a` ... `f4.h`, `f4.b`, each [qps, channels]: four layers of a monotone
            function whose sigmoid is the cumulative distribution.

    Raises:
        ModelError: a parameter is missing, not finite, or shaped unlike the others.
    """
    layers = _factorised_layers(params)

    @np.errstate(over="ignore", invalid="ignore")
    def cumulative(x: Float64) -> Float64:
        # x: [rows or 1, points] -> [rows, points]
        for h, b, a in layers:
            x = x * np.logaddexp(0.0, h) + b
            if a is not None:
                x = x + np.tanh(x) * np.tanh(a)
        return 0.5 + 0.5 * np.tanh(0.5 * x)

    reach = np.arange(MIN_REACH, MAX_REACH + 1, dtype=np.float64)
    below = _first_true(cumulative(-reach) < TAIL_PROBABILITY)
    above = _first_true(cumulative(reach) > 1.0 - TAIL_PROBABILITY)
    integers = (np.arange(2 * MAX_REACH + 1) - below[:, None]).astype(np.float64)
    lower, upper = cumulative(integers - 0.5), cumulative(integers + 0.5)
    tail = lower[:, 0] + (1.0 - cumulative(above.astype(np.float64)[:, None])[:, 0])
    if not np.isfinite([lower.sum(), upper.sum(), tail.sum()]).all():
        raise ModelError("the parameters of the hyper-latent's distribution are too large")
    return _quantise(upper - lower, tail, below + above + 1, -below)


def from_frequencies(rows: Sequence[Sequence[int]], offsets: Sequence[int]) -> CdfArrays:
    """Tables of rows of frequencies, the last one that of the tail; offsets: the integer of each row's first bin."""
    length = np.array([len(row) + 1 for row in rows], np.int32)
    cdf = np.zeros((len(rows), length.max()), np.int32)
    for values, row in zip(cdf, rows, strict=True):
        values[1 : len(row) + 1] = np.cumsum(row)
    return CdfArrays(cdf, length, np.array(offsets, np.int32))


def _factorised_layers(params: Mapping[str, npt.ArrayLike]) -> list[tuple[Float64, Float64, Float64 | None]]:
    """(h, b, a) of each layer, each [rows, 1]; the last layer has no a."""
    shape: tuple[int, ...] | None = None
    columns: dict[str, Float64] = {}
    for name in FACTORISED_PARAMS:
        if name not in params:
            raise ModelError(f"the parameters of the hyper-latent's distribution lack {name}")
        values = np.asarray(params[name], dtype=np.float64)
        shape = shape or values.shape
        if values.ndim != 2 or values.size == 0 or values.shape != shape or not np.isfinite(values).all():
            raise ModelError(
                f"parameter {name} of the hyper-latent's distribution must hold finite numbers in the shape "
                f"[qps, channels] of the others, {shape}; its shape is {values.shape}"
            )
        columns[name] = values.reshape(-1, 1)
    return [(columns[f"{f}.h"], columns[f"{f}.b"], columns.get(f"{f}.a")) for f in ("f1", "f2", "f3", "f4")]


def _first_true(enough: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """[rows, reaches] -> [rows]: the smallest sufficient reach, MAX_REACH where none is."""
    return np.where(enough.any(axis=1), MIN_REACH + np.argmax(enough, axis=1), MAX_REACH)


def _quantise(pmf: Float64, tail: Float64, size: npt.NDArray[np.int64], offset: npt.NDArray[np.int64]) -> CdfArrays:
    """Turn probabilities into cumulative frequencies with no empty bin.

    Args:
        pmf: [rows, integers] probabilities; row r has size[r] integers.
        tail: [rows] probability of all others.
        size: [rows].
        offset: [rows] the integer of the first bin.
    """
    rows, width = pmf.shape
    row, edge = np.arange(rows), np.arange(width + 2)
    bins = edge[:-1] <= size[:, None]  # the integers and the tail, which comes right after them
    mass = np.where(edge[:-1] < size[:, None], np.pad(pmf, ((0, 0), (0, 1))), 0.0)
    mass[row, size] = tail
    frequency = np.floor(mass * TOTAL + 0.5).astype(np.int64)
    frequency = TOTAL * frequency // frequency.sum(axis=1, keepdims=True)
    cdf = np.pad(np.cumsum(frequency, axis=1), ((0, 0), (1, 0)))
    cdf[row, size + 1] = TOTAL
    for i in range(width + 1):
        # An empty bin takes one count from the first of the smallest bins that can spare one.
        (empty,) = np.nonzero(bins[:, i] & (cdf[:, i + 1] == cdf[:, i]))
        frequency = np.diff(cdf[empty], axis=1)
        giver = np.argmin(np.where((frequency > 1) & bins[empty], frequency, 2 * TOTAL), axis=1)[:, None]
        cdf[empty] += ((edge > i) & (edge <= giver)).astype(np.int64) - ((edge > giver) & (edge <= i))
    cdf[edge > size[:, None] + 1] = 0
    return CdfArrays(cdf.astype(np.int32), (size + 2).astype(np.int32), offset.astype(np.int32))


def symbol_bits(tables: CdfArrays) -> npt.NDArray[np.float32]:
    """Bits of every int8 symbol -128..127, escape codes included: [rows, 256]."""
    symbols = np.arange(-128, 128)
    value = symbols - tables.offset[:, None]
    tail = tables.length[:, None] - 2
    escaped = (value < 0) | (value >= tail)
    raw = np.where(value < 0, -2 * value - 1, 2 * (value - tail))
    groups = np.where(escaped, np.ceil(np.log2(np.maximum(raw, 0) + 1) / 2), 0)
    escape_bits = np.where(escaped, 2 * (groups // 3 + 1 + groups), 0)
    bin_ = np.where(escaped, tail, value)
    frequency = np.take_along_axis(tables.cdf, bin_ + 1, axis=1) - np.take_along_axis(tables.cdf, bin_, axis=1)
    return (np.log2(TOTAL / frequency) + escape_bits).astype(np.float32)


@lru_cache(maxsize=1)
def gaussian_bits() -> Int32:
    """[256, 256] in 1/256: bits of every int8 symbol -128..127 by table index of the Gaussians, 0 for NOT_CODED."""
    bits = np.zeros((256, 256), np.int32)
    known = symbol_bits(gaussian_tables())
    bits[: len(known)] = np.round(256 * known)
    return bits


def save_tables(file: BinaryIO, tables: Mapping[str, CdfArrays]) -> None:
    """Write named tables in npz form: `<name>_cdf`, `<name>_length`, `<name>_offset`."""
    np.savez_compressed(
        file, **{f"{name}_{part}": getattr(table, part) for name, table in tables.items() for part in _PARTS}
    )


def load_tables(path: str | os.PathLike[str], names: Iterable[str]) -> dict[str, CdfArrays]:
    """Read the tables of these names from an npz file.

    Raises:
        ModelError: the file cannot be read, lacks one of the tables, or holds no valid tables.
    """
    try:
        with open(path, "rb") as file:
            return _read(file, names)
    except OSError as error:
        raise ModelError(f"{path}: cannot read the probability tables ({error.strerror})") from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _read(file: IO[bytes], names: Iterable[str]) -> dict[str, CdfArrays]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: CdfArrays(*(arrays[f"{name}_{part}"] for part in _PARTS)) for name in names}
    except KeyError as error:
        raise ModelError(f"lacks the probability table {error.args[0]}") from None
    except ModelError:
        raise
    except Exception as error:  # a damaged file makes NumPy's parsers raise nearly anything
        raise ModelError(f"is no file of probability tables ({error})") from None
