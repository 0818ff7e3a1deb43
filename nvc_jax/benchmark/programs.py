"""Count the kernels, fusions and bytes of compiled programs."""

import dataclasses
import functools
import math
import re
from collections import Counter
from collections.abc import Collection
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from nvc_jax.benchmark.hlo import Computation, Program, parse
from nvc_jax.codec.abstract import program_of
from nvc_jax.evaluation.complexity import programs_in

# Instructions that cost nothing at run time.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}
_FUNCTION = re.compile(
    r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*?) custom-call\(.*?operand_layout_constraints=(.*?), api_version=", re.M
)
_SHAPE = re.compile(r"\b[a-z]+(\d+)\[([\d,]*)\]")  # of real numbers and integers


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of one run of one or several programs.

    Attributes:
        programs: number of dispatches.
        kernels: executed instructions: fusions, products, copies; those of a loop once per iteration.
        fusions: kernels that are fusions of several operations.
        bytes: XLA's estimate of the bytes that kernels read and write in any memory, and the operands and results of
            custom calls. The body of a loop counts once.
        temporary_bytes: memory beside arguments and results; None if XLA does not report it.
    """

    programs: int = 0
    kernels: int = 0
    fusions: int = 0
    bytes: float = 0.0
    temporary_bytes: int | None = None

    def __add__(self, other: "Cost") -> "Cost":
        """Add the cost of programs that follow."""
        peaks = [cost.temporary_bytes for cost in (self, other) if cost.temporary_bytes is not None]
        return Cost(
            self.programs + other.programs,
            self.kernels + other.kernels,
            self.fusions + other.fusions,
            self.bytes + other.bytes,
            max(peaks, default=None),
        )


def cost_of(compiled: Any) -> Cost:
    """Compute the cost of a compiled program (`jax.stages.Compiled`)."""
    hlo = compiled.as_text()
    counts = count_instructions(hlo)
    memory = compiled.memory_analysis()
    return Cost(
        1,
        counts.total(),
        counts["fusion"],
        (compiled.cost_analysis() or {}).get("bytes accessed", 0.0) + _bytes_of_functions(hlo),
        None if memory is None else int(memory.temp_size_in_bytes),
    )


def _bytes_of_functions(hlo: str) -> int:
    """Count the bytes of custom calls, for which XLA counts -1 each."""
    total = 0
    for result, operands in _FUNCTION.findall(hlo):
        shapes = _SHAPE.findall(result + operands)
        total += 1 + sum(int(bits) // 8 * math.prod(map(int, filter(None, sides.split(",")))) for bits, sides in shapes)
    return total


def count_instructions(hlo: str) -> Counter[str]:
    """Count the executed instructions of an HLO text by opcode, in calls and loops but not in fusions."""
    program = parse(hlo)
    return _count(program, program.entry)


def _count(program: Program, computation: Computation) -> Counter[str]:
    counts: Counter[str] = Counter()
    for instruction in computation.instructions.values():
        opcode, inner = instruction.opcode, program.computations.get(instruction.called or "")
        if opcode in _FREE:
            continue
        if opcode == "while" and inner is not None:
            for name, count in _count(program, inner).items():
                counts[name] += count * (program.trips(computation, instruction) or 1)
        elif opcode == "call" and inner is not None:
            counts += _count(program, inner)
        elif opcode == "conditional" and instruction.branches:
            branches = [_count(program, program.computations[name]) for name in instruction.branches]
            largest: Counter[str] = max(branches, key=Counter.total)
            counts += largest
        else:
            counts[opcode] += 1
    return counts


def cost_of_operations(jaxpr: Jaxpr, compiled: Collection[str]) -> Cost:
    """Compute the cost of running operations one by one; functions of the given names are programs."""
    total = Cost()
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if params.get("name") in compiled:
            total += _cost_of_program(params["jaxpr"])
        elif name == "scan":
            body = cost_of_operations(params["jaxpr"].jaxpr, compiled)
            total += functools.reduce(Cost.__add__, [body] * params["length"])
        elif name == "cond":  # one branch runs
            branches = (cost_of_operations(branch.jaxpr, compiled) for branch in params["branches"])
            total += max(branches, key=lambda cost: cost.kernels)
        elif inner := programs_in(equation):
            total += functools.reduce(Cost.__add__, (cost_of_operations(program, compiled) for program in inner))
        else:
            avals: list[Any] = [value.aval for value in (*equation.invars, *equation.outvars)]
            total += Cost(1, 1, 0, sum(math.prod(aval.shape) * np.dtype(aval.dtype).itemsize for aval in avals))
    return total


def program_name(equation: Any) -> str | None:
    """Give the name of the compiled function that an equation calls, without leading underscores; None without one."""
    is_program = {"jaxpr", "name"} <= equation.params.keys()
    return str(equation.params["name"]).lstrip("_") if is_program else None


_costs: dict[str, Cost] = {}


def _cost_of_program(program: ClosedJaxpr) -> Cost:
    text = str(program)  # equal functions of equal shapes are one program
    if text not in _costs:
        function, inputs = program_of(program)
        _costs[text] = cost_of(jax.jit(function).lower(*inputs).compile())
    return _costs[text]
