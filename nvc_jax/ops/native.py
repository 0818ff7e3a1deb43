"""FFI handlers in C++ for the convolutions of networks on CPU (native_coder/functions.h).

XLA on CPU has no fast product of integers, and its float32 products, WSiLU and depthwise convolution each pass their
activations through memory. The handlers take work items of a few positions, whose activations stay in cache.
"""

import functools

import jax
import numpy as np
from jax import Array

from native_coder import float32_functions, int16_functions, motion_functions  # noqa: TID251

_FUNCTIONS = {"float32": float32_functions, "int16": int16_functions, "motion": motion_functions}


def available(precision: str) -> tuple[str, ...]:
    """ISAs of this machine that a precision has handlers for, the fastest first; registers them with XLA.

    Empty on devices other than CPUs, for precisions without handlers, and where XLA refuses the version of the FFI that
    they were built with.
    """
    return _registered(precision) if jax.default_backend() == "cpu" and precision in _FUNCTIONS else ()


@functools.cache
def _registered(precision: str) -> tuple[str, ...]:
    jax.devices("cpu")  # a refusal before XLA has started ends the process
    isas = _FUNCTIONS[precision]()
    try:
        for isa, functions in isas.items():
            for name, function in functions.items():
                jax.ffi.register_ffi_target(_full_name(name, precision, isa), function, platform="cpu")
    except jax.errors.JaxRuntimeError:
        return ()
    return tuple(isas)


def call(
    name: str,
    isa: str,
    shape: tuple[int, ...],
    *operands: Array | np.ndarray,
    **attributes: bool | int,
) -> Array:
    """Call a handler; the result has the precision of the first operand.

    Args:
        name: "affine", "convolve" or "rest_of_block".
        isa: one of `available`.
        shape: of the result.
        operands: arrays, in the order of the handler's definition.
        attributes: static arguments.
    """
    dtype = operands[0].dtype
    result = jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
    function = jax.ffi.ffi_call(_full_name(name, dtype.name, isa), result, vmap_method="sequential")
    output: Array = function(*operands, **attributes)
    return output


def convolved(shape: tuple[int, ...], stride: int, features: int) -> tuple[int, ...]:
    """Shape of a full 3x3 convolution of [B, H, W, C]."""
    batch, height, width, _ = shape
    return batch, height // stride, width // stride, features


def _full_name(name: str, precision: str, isa: str) -> str:
    return f"nvc_{precision}_{name}_{isa}"
