"""Count operations of matrix products and convolutions in a traced function, by operand type."""

import math
from collections import Counter
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr

from nvc_jax.evaluation.complexity import macs_of, programs_in

_HIGHEST = lax.Precision.HIGHEST


def count(jaxpr: Jaxpr) -> Counter[str]:
    """Count multiplications and additions by kind, the type of the operands ("bfloat16", "int8", ...).

    float32 is two kinds: "float32" at full precision, and "float32_default", which may be truncated to TF32 or
    bfloat16. Elementwise work, depthwise convolutions included, does not count. The body of a loop counts once per
    iteration if the trace has the trip count, else once; of branches the largest counts.
    """
    total: Counter[str] = Counter()
    for equation in jaxpr.eqns:
        total += _of_equation(equation)
    return total


def _of_equation(equation: Any) -> Counter[str]:
    name, params = equation.primitive.name, equation.params
    if macs := macs_of(equation):
        return Counter({_kind(equation): 2 * macs})
    if name == "cond":
        return max((count(branch.jaxpr) for branch in params["branches"]), key=Counter.total)
    total: Counter[str] = Counter()
    for program in programs_in(equation):
        total += count(program)
    repeats = params["length"] if name == "scan" else 1
    if name == "pallas_call":
        repeats = math.prod(side for side in params["grid_mapping"].grid if isinstance(side, int))
    return Counter({kind: repeats * operations for kind, operations in total.items()})


def _kind(equation: Any) -> str:
    dtype = equation.invars[0].aval.dtype
    if dtype != jnp.float32:
        return str(jnp.dtype(dtype).name)
    precision = equation.params.get("precision")
    exact = precision == _HIGHEST or (isinstance(precision, tuple) and _HIGHEST in precision)
    return "float32" if exact else "float32_default"
