"""Count operations of matrix products and convolutions in a traced function, by operand type."""

from collections import Counter
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr

from nvc_jax.evaluation.complexity import macs_of, tally

_HIGHEST = lax.Precision.HIGHEST


def count(jaxpr: Jaxpr) -> Counter[str]:
    """Count multiplications and additions by kind, the type of the operands ("bfloat16", "int8", ...), see `tally`.

    float32 is two kinds: "float32" at full precision, and "float32_default", which may be truncated to TF32 or
    bfloat16. Elementwise work, depthwise convolutions included, does not count.
    """

    def operations(equation: Any, _: Any) -> Counter[str]:
        macs = macs_of(equation)
        return Counter({_kind(equation): 2 * macs} if macs else {})

    return tally(jaxpr, operations)


def _kind(equation: Any) -> str:
    dtype = equation.invars[0].aval.dtype
    if dtype != jnp.float32:
        return str(jnp.dtype(dtype).name)
    precision = equation.params.get("precision")
    exact = precision == _HIGHEST or (isinstance(precision, tuple) and _HIGHEST in precision)
    return "float32" if exact else "float32_default"
