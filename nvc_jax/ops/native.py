"""FFI handlers in C++ for the convolutions of networks, block motion and deblocking on CPU (native_coder/functions.h).

XLA on CPU has no fast product of integers, and its float32 products, WSiLU and depthwise convolution each pass their
activations through memory. The handlers take work items of a few positions, whose activations stay in cache.
"""

import functools
from collections.abc import Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from native_coder import (  # noqa: TID251
    bfloat16_functions,
    deblocking_functions,
    float32_functions,
    int16_functions,
    motion_functions,
)
from nvc_jax.errors import ConfigError

AMX = "amx"  # its kernels take weights in another order than those of other ISAs

_FUNCTIONS = {
    "float32": float32_functions,
    "bfloat16": bfloat16_functions,
    "int16": int16_functions,
    "motion": motion_functions,
    "deblocking": deblocking_functions,
}
# Those that motion and deblocking take; the search takes no uint16 ones (`motion.as_searched`).
_PICTURES = tuple(map(jnp.dtype, (jnp.int16, jnp.uint16, jnp.float32)))
_CHANNELS = 3


def available(precision: str) -> tuple[str, ...]:
    """ISAs of this machine that a precision has handlers for, the newest first; registers them with XLA.

    Empty on devices other than CPUs, for precisions without handlers, and where XLA refuses the version of the FFI that
    they were built with.
    """
    return _registered(precision) if jax.default_backend() == "cpu" and precision in _FUNCTIONS else ()


def takes(functions: str, *pictures: Array) -> bool:
    """True if these functions have handlers for programs of this process, which take these pictures of blocks."""
    fits = all(x.dtype in _PICTURES and x.shape[-1] == _CHANNELS and x.size > 0 for x in pictures)
    return fits and bool(available(functions))


def with_gradients(precision: str) -> tuple[str, ...]:
    """Those of `available` that have handlers for training."""
    return tuple(isa for isa in available(precision) if "block_gradient" in _FUNCTIONS[precision]()[isa])


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
    """Call a handler with one result; see `call_for`."""
    return call_for(name, isa, (shape,), *operands, **attributes)[0]


def call_for(
    name: str,
    isa: str,
    shapes: tuple[tuple[int, ...], ...],
    *operands: Array | np.ndarray,
    **attributes: bool | int,
) -> Sequence[Array]:
    """Call a handler; the results have the precision of the first operand.

    Differentiating it raises a ConfigError; `native_training` has what can be differentiated.

    Args:
        name: a member of `Functions` in native_coder/functions.h.
        isa: one of `available`.
        shapes: of the results.
        operands: arrays, in the order of the handler's definition.
        attributes: static arguments.
    """
    dtype = operands[0].dtype
    results = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]  # type: ignore[no-untyped-call]
    function = jax.ffi.ffi_call(_full_name(name, dtype.name, isa), results, vmap_method="sequential")

    @jax.custom_jvp
    def called(*operands: Array) -> Any:
        return function(*operands, **attributes)

    @called.defjvp
    def differentiated(*_: Any) -> NoReturn:
        raise ConfigError(f"the C++ kernels {isa!r} have no gradient; use kernels='xla', or Codec.forward.")

    outputs: Sequence[Array] = called(*operands)
    return outputs


def convolved(shape: tuple[int, ...], stride: int, features: int) -> tuple[int, ...]:
    """Shape of a full 3x3 convolution of [B, H, W, C]."""
    batch, height, width, _ = shape
    return batch, height // stride, width // stride, features


def _full_name(name: str, precision: str, isa: str) -> str:
    return f"nvc_{precision}_{name}_{isa}"
