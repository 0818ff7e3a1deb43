"""Functions in C++ that XLA calls on CPU: the convolutions of networks (native_coder/functions.h).

XLA has no fast product of integers there, and of float32 its products, the WSiLU behind them and the depthwise
convolution each pass their numbers through memory. These functions work on a few positions at a time, whose numbers
stay in cache.
"""

import functools

import jax
import numpy as np
from jax import Array

from native_coder import float32_functions, int16_functions  # noqa: TID251

_FUNCTIONS = {"float32": float32_functions, "int16": int16_functions}


def available(precision: str) -> tuple[str, ...]:
    """The kinds of functions that this machine can run, the fastest first; XLA learns of them here.

    None on other devices than CPUs, for precisions without any, and where XLA does not take functions of the version
    that these were built with.
    """
    return _registered(precision) if jax.default_backend() == "cpu" and precision in _FUNCTIONS else ()


@functools.cache
def _registered(precision: str) -> tuple[str, ...]:
    jax.devices("cpu")  # what it refuses before it has started ends it
    kinds = _FUNCTIONS[precision]()
    try:
        for kind, functions in kinds.items():
            for name, function in functions.items():
                jax.ffi.register_ffi_target(_full_name(name, precision, kind), function, platform="cpu")
    except jax.errors.JaxRuntimeError:
        return ()
    return tuple(kinds)


def call(
    name: str,
    kind: str,
    shape: tuple[int, ...],
    *operands: Array | np.ndarray,
    **attributes: bool | int,
) -> Array:
    """The result [shape] of a function, in the precision of the first operand.

    Args:
        name: of the function, "affine", "convolve" or "rest_of_block".
        kind: one of those available.
        shape: of the result.
        operands: what it takes.
        attributes: what it takes besides.
    """
    dtype = operands[0].dtype
    result = jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
    function = jax.ffi.ffi_call(_full_name(name, dtype.name, kind), result, vmap_method="sequential")
    output: Array = function(*operands, **attributes)
    return output


def convolved(shape: tuple[int, ...], stride: int, features: int) -> tuple[int, ...]:
    """Of [B, H, W, C]: the shape of its convolution."""
    batch, height, width, _ = shape
    return batch, height // stride, width // stride, features


def _full_name(name: str, precision: str, kind: str) -> str:
    return f"nvc_{precision}_{name}_{kind}"
