"""The LUTs of the int16 arithmetic (docs/INT16.md, section 3).

They depend only on the arithmetic version. No entry is nearer than 1e-5 to a rounding tie (a test has the figures), so
double precision gives the same tables on every machine, whatever the last digits of its exponential.
"""

import functools
import math

import numpy as np
import numpy.typing as npt

from nvc_jax.spec import FIXED_SCALE, LOG_SCALE_MIN, LOG_SCALE_STEP_RECIPROCAL, SCALE_LEVELS, SCALE_MAX, SCALE_MIN

GAIN_SIZE = 4096  # smallest |v| for which the sigmoid of a gain is 0 or 1
SCALE_LOW, SCALE_HIGH = math.floor(SCALE_MIN * FIXED_SCALE), round(SCALE_MAX * FIXED_SCALE)


@functools.cache
def wsilu_deficits(unit: int) -> npt.NDArray[np.uint8]:
    """|x| - |x| * sigmoid(4|x|), [2 * 2^unit], by |x|, both in 1 / 2^unit; zero from |x| = 2 on."""
    return _rounded(exact_wsilu_deficits(unit)).astype(np.uint8)


@functools.cache
def wsilu_table(unit: int) -> npt.NDArray[np.int16]:
    """X * sigmoid(4x), [65536], by x + 32768; both in 1 / 2^unit."""
    x = np.arange(-32768, 32768)
    deficits = wsilu_deficits(unit)
    deficits = deficits[np.minimum(np.abs(x), len(deficits) - 1)]
    return (np.maximum(x, 0) - deficits).astype(np.int16)


@functools.cache
def gain_offsets() -> npt.NDArray[np.int16]:
    """1.5 * (sigmoid(v) - 0.5) in 1/512, [GAIN_SIZE], by v in 1/512."""
    return _rounded(exact_gain_offsets()).astype(np.int16)


@functools.cache
def scale_rows() -> npt.NDArray[np.uint8]:
    """Rows of the Gaussian table, [SCALE_HIGH - SCALE_LOW + 1], by scale in 1/512 - SCALE_LOW."""
    inner = np.floor(exact_scale_rows()).astype(np.uint8)
    return np.concatenate([[0], inner, [SCALE_LEVELS - 1]]).astype(np.uint8)  # both ends are exact by definition


def exact_wsilu_deficits(unit: int) -> npt.NDArray[np.float64]:
    """`wsilu_deficits` before rounding."""
    x = np.arange(2 << unit)
    return x / (1.0 + np.exp(4.0 * x / (1 << unit)))


def exact_gain_offsets() -> npt.NDArray[np.float64]:
    """`gain_offsets` before rounding."""
    return 1.5 * FIXED_SCALE * (1.0 / (1.0 + np.exp(-np.arange(GAIN_SIZE) / FIXED_SCALE)) - 0.5)


def exact_scale_rows() -> npt.NDArray[np.float64]:
    """`scale_rows` before rounding down, without the two ends."""
    scales = np.arange(SCALE_LOW + 1, SCALE_HIGH) / FIXED_SCALE
    return (np.log(scales) - LOG_SCALE_MIN) * LOG_SCALE_STEP_RECIPROCAL


def _rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.floor(values + 0.5)
