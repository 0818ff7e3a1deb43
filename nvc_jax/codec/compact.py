"""Parameters on disk: each leaf in one or two bytes a parameter where those hold it exactly.

- one byte a parameter: kernels whose output channels are whole multiples, at most 127, of a power of two each
  (`rounding.rounded` makes them), as {"steps": int8, "exponents": int8 [C]}
- two bytes: bfloat16, 8 significant bits, or float16, 11
- float32 and integers otherwise
"""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from nvc_jax.models.params import ParamTree

STEP_BITS = 7  # of the magnitude of `steps`


def compacted(params: ParamTree) -> dict[str, Any]:
    """Shorten every leaf of a tree of NumPy arrays."""
    return {key: compacted(value) if isinstance(value, Mapping) else _compacted(value) for key, value in params.items()}


def expanded(params: ParamTree) -> ParamTree:
    """The tree that was compacted, as NumPy arrays, float32 or integers."""
    return {key: _expanded(value) if _is_steps(value) else _leaf(value) for key, value in params.items()}


def _compacted(leaf: np.ndarray) -> Any:
    if leaf.dtype != np.float32:
        return leaf
    with np.errstate(over="ignore", invalid="ignore"):
        if leaf.ndim > 1:
            exponents = np.frexp(np.abs(leaf).max(axis=tuple(range(leaf.ndim - 1)), initial=0))[1] - STEP_BITS
            steps = np.ldexp(leaf, -exponents).astype(np.int8)
            short: dict[str, Any] = {"steps": steps, "exponents": exponents.astype(np.int8)}
            if np.array_equal(_expanded(short).view(np.int32), leaf.view(np.int32)):  # -0 is not 0
                return short
        candidates = (leaf.astype(kind) for kind in (ml_dtypes.bfloat16, np.float16))
        return next((values for values in candidates if np.array_equal(values.astype(np.float32), leaf)), leaf)


def _is_steps(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"steps", "exponents"}


def _expanded(value: Mapping[str, Any]) -> np.ndarray:
    steps, exponents = (np.asarray(value[key]) for key in ("steps", "exponents"))
    return np.ldexp(steps.astype(np.float32), exponents.astype(np.int32))


def _leaf(value: Any) -> Any:
    if isinstance(value, Mapping):
        return expanded(value)
    values = np.asarray(value)
    return values if np.issubdtype(values.dtype, np.integer) else values.astype(np.float32)
