"""What a compiled program is made of: kernels, fusions, bytes."""

import dataclasses
import re
from collections import Counter
from typing import Any

# Instructions that cost nothing at run time.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = .*? ([a-z][\w\-]*)\(")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CALLED = re.compile(r"(?:to_apply|body|calls)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one run of one or several programs.

    Attributes:
        programs: how many are dispatched.
        kernels: instructions that are executed one after the other: fusions, products, copies; in loops every time.
        fusions: those of them that are fusions of several operations.
        bytes: XLA's estimate of the bytes that all of them read and write, wherever those lie. It counts the body of a
            loop once.
        temporary_bytes: memory beside arguments and results; None if XLA does not tell.
    """

    programs: int = 0
    kernels: int = 0
    fusions: int = 0
    bytes: float = 0.0
    temporary_bytes: int | None = None

    def __add__(self, other: "Cost") -> "Cost":
        """One after the other."""
        peaks = [cost.temporary_bytes for cost in (self, other) if cost.temporary_bytes is not None]
        return Cost(
            self.programs + other.programs,
            self.kernels + other.kernels,
            self.fusions + other.fusions,
            self.bytes + other.bytes,
            max(peaks, default=None),
        )


def cost_of(compiled: Any) -> Cost:
    """Of a compiled program (`jax.stages.Compiled`)."""
    counts = count_instructions(compiled.as_text())
    memory = compiled.memory_analysis()
    return Cost(
        1,
        counts.total(),
        counts["fusion"],
        (compiled.cost_analysis() or {}).get("bytes accessed", 0.0),
        None if memory is None else int(memory.temp_size_in_bytes),
    )


def count_instructions(hlo: str) -> Counter[str]:
    """Executed instructions of an HLO text by opcode: calls and loops are followed, insides of fusions are not."""
    computations: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in hlo.splitlines():
        if header := _COMPUTATION.match(line):
            lines = computations[header[2]] = []
            entry = header[2] if header[1] else entry
        else:
            lines.append(line)
    return _count(computations, entry)


def _count(computations: dict[str, list[str]], name: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in computations.get(name, []):
        instruction = _INSTRUCTION.match(line)
        if instruction is None or instruction[1] in _FREE:
            continue
        opcode = instruction[1]
        called = _CALLED.search(line)
        if opcode == "while" and (body := re.search(r"body=%?([\w.\-]+)", line)):
            trips = _TRIPS.search(line)
            for inner, count in _count(computations, body[1]).items():
                counts[inner] += count * int(trips[1] if trips else 1)
        elif opcode == "call" and called:
            counts += _count(computations, called[1])
        elif opcode == "conditional" and (branches := _BRANCHES.search(line)):
            names = [branch.strip().lstrip("%") for branch in branches[1].split(",")]
            counts += max((_count(computations, branch) for branch in names), key=Counter.total)
        else:
            counts[opcode] += 1
    return counts
