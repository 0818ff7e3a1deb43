"""Multiply-accumulates, counted in the traced program."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def count_macs(function: Callable[..., Any], *arguments: Any) -> int:
    """Multiply-accumulates of the matrix products and full convolutions in one call of a function.

    Elementwise work does not count, and so neither does the depthwise convolution, which is written as shifted
    multiply-adds (0.4 % of DCVC-RT).
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: Any) -> int:
    name, out = equation.primitive.name, equation.outvars[0].aval
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return math.prod(out.shape) * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, axes = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
        return math.prod(out.shape) * math.prod(kernel[axis] for axis in axes[1:])
    if name == "cond":  # one branch runs; where they are one computation written for several platforms, they agree
        return max(_count(branch.jaxpr) for branch in equation.params["branches"])
    inner = [value for value in equation.params.values() if isinstance(value, ClosedJaxpr | Jaxpr)]
    total = sum(_count(value.jaxpr if isinstance(value, ClosedJaxpr) else value) for value in inner)
    return total * equation.params.get("length", 1) if name == "scan" else total
