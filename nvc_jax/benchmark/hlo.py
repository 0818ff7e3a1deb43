"""Parse XLA's compiled programs (HLO text): computations, instructions, buffers and their memory."""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_START = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_OPERAND = re.compile(r"%([\w.\-]+)")
_LEAF = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_TILE = re.compile(r"T\(([\d,*]+)\)")
_SPACE = re.compile(r"S\((\d+)\)")
_CALLED = re.compile(r"(?:to_apply|body|calls)=%?([\w.\-]+)")
_BRANCHES = re.compile(
    r"(?:branch_computations=\{([^}]*)\}|true_computation=%?([\w.\-]+), false_computation=%?([\w.\-]+))"
)
_CONDITION = re.compile(r"condition=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Buffer:
    """An array in the program's layout.

    Attributes:
        bytes: with the padding of tiles.
        on_chip: it is in on-chip memory (VMEM, SMEM), not in device memory.
    """

    bytes: int
    on_chip: bool = False


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        name: unique in its computation.
        opcode: "fusion", "copy", ...
        shape: text of its result.
        operands: names of other instructions of the computation.
        attributes: the rest of the line; for constants and parameters after the text in parentheses.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    attributes: str

    @functools.cached_property
    def buffers(self) -> tuple[Buffer, ...]:
        """Arrays of the result; several for a tuple."""
        return tuple(_buffer(*leaf.groups()) for leaf in _LEAF.finditer(self.shape))

    @property
    def called(self) -> str | None:
        """Name of the called computation: loop body, fusion or function."""
        found = _CALLED.search(self.attributes)
        return found[1] if found else None

    @property
    def branches(self) -> list[str]:
        """Names of the branches of a conditional."""
        found = _BRANCHES.search(self.attributes)
        if found is None:
            return []
        return [name.strip().lstrip("%") for name in (found[1].split(",") if found[1] else found.groups()[1:])]

    @property
    def condition(self) -> str | None:
        """Name of the condition of a loop."""
        found = _CONDITION.search(self.attributes)
        return found[1] if found else None

    @property
    def known_trips(self) -> int | None:
        """Trip count of a loop, if XLA recorded it."""
        found = _TRIPS.search(self.attributes)
        return int(found[1]) if found else None

    @property
    def number(self) -> int | None:
        """Value of an integer constant or index of a parameter; None for other instructions."""
        found = re.match(r"(-?\d+)\)", self.attributes) if self.opcode in ("constant", "parameter") else None
        return int(found[1]) if found else None

    @property
    def target(self) -> str:
        """Target of a custom call; empty for other instructions."""
        found = _TARGET.search(self.attributes)
        return found[1] if found else ""


@dataclasses.dataclass(frozen=True)
class Computation:
    """A list of instructions in order of execution.

    Attributes:
        instructions: by name.
        root: the instruction whose result is the computation's.
    """

    instructions: Mapping[str, Instruction]
    root: Instruction

    @functools.cached_property
    def parameters(self) -> dict[int, Instruction]:
        """Parameters by index."""
        found = (i for i in self.instructions.values() if i.opcode == "parameter")
        return {i.number: i for i in found if i.number is not None}

    @functools.cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """Instructions that read each name."""
        users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for instruction in self.instructions.values():
            for name in set(instruction.operands):
                users.setdefault(name, []).append(instruction)
        return users


@dataclasses.dataclass(frozen=True)
class Program:
    """An HLO module.

    Attributes:
        computations: by name.
        entry: the entry computation.
    """

    computations: Mapping[str, Computation]
    entry: Computation

    def trips(self, computation: Computation, loop: Instruction) -> int | None:
        """Find the trip count of a loop; None if it is only known at run time.

        Loops of JAX count up by one to a limit. Where XLA did not record the trip count, both bounds are looked up.
        """
        condition = self.computations.get(loop.condition or "")
        if loop.known_trips is not None or condition is None or "direction=LT" not in condition.root.attributes:
            return loop.known_trips
        counter, limit = (condition.instructions.get(name) for name in condition.root.operands)
        place = re.search(r"index=(\d+)", counter.attributes) if counter is not None else None
        state = _source(computation, loop.operands[0])
        if limit is None or limit.number is None or place is None or state.opcode != "tuple":
            return None
        start = _source(computation, state.operands[int(place[1])]).number
        return None if start is None else limit.number - start


def _source(computation: Computation, name: str) -> Instruction:
    """Follow copies to the instruction that they copy."""
    instruction = computation.instructions[name]
    while instruction.opcode in ("copy", "bitcast", "copy-start", "copy-done") and instruction.operands:
        instruction = computation.instructions[instruction.operands[0]]
    return instruction


def parse(text: str) -> Program:
    """Parse the output of `jax.stages.Compiled.as_text`."""
    computations: dict[str, Computation] = {}
    entry, name = "", ""
    lines: list[str] = []
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name, lines = header[2], []
            entry = name if header[1] else entry
        elif line.startswith("}") and lines:
            computations[name] = _computation(lines)
            lines = []
        elif _START.match(line):
            lines.append(line)
    return Program(computations, computations[entry])


def _computation(lines: list[str]) -> Computation:
    parsed = {}
    root = None
    for line in lines:
        instruction = _instruction(line)
        parsed[instruction.name] = instruction
        if line.lstrip().startswith("ROOT "):
            root = instruction
    return Computation(parsed, root or instruction)


def _instruction(line: str) -> Instruction:
    start = _START.match(line)
    assert start is not None
    end = _end_of_group(line, start.end()) if line[start.end()] == "(" else line.index(" ", start.end())
    opcode = _OPCODE.match(line, end)
    assert opcode is not None, line
    close = _end_of_group(line, opcode.end() - 1)
    inside = line[opcode.end() : close - 1]
    attributes = line[close:]
    if opcode[1] in ("parameter", "constant"):
        attributes = f"{inside}){attributes}"
    return Instruction(start[2], opcode[1], line[start.end() : end], tuple(_OPERAND.findall(inside)), attributes)


def _end_of_group(line: str, start: int) -> int:
    """Find the position behind the parenthesis that closes the one at `start`."""
    depth = 0
    for position in range(start, len(line)):
        depth += {"(": 1, ")": -1}.get(line[position], 0)
        if depth == 0:
            return position + 1
    return len(line)


def _buffer(dtype: str, dimensions: str, layout: str | None) -> Buffer:
    sides = [int(side.lstrip("<=")) for side in dimensions.split(",") if side]
    order, _, rest = (layout or "").partition(":")
    minor_first = [sides[int(axis)] for axis in order.split(",") if axis] if order else sides[::-1]
    if tile := _TILE.search(rest):
        tiled = [int(side) for side in tile[1].split(",") if side != "*"][::-1]
        minor_first += [1] * (len(tiled) - len(minor_first))
        minor_first[: len(tiled)] = [math.ceil(side / of) * of for side, of in zip(minor_first, tiled, strict=False)]
    space = _SPACE.search(rest)
    return Buffer(math.prod(minor_first) * _bits(dtype) // 8, space is not None and space[1] != "0")


def _bits(dtype: str) -> int:
    """Look up the bits of an element; 0 for types that are no array."""
    if dtype == "pred":
        return 8
    found = re.match(r"[a-z]+(\d+)", dtype)
    return int(found[1]) if found else 0
