"""Cost of a compiled program on a device: launches and memory traffic."""

import dataclasses
from collections import Counter
from typing import Any

from nvc_jax.benchmark.hlo import Computation, Instruction, Program, parse

# Instructions that cost nothing at run time.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id", "iota",
    "opt-barrier", "domain",
}  # fmt: skip
_FREE_TARGETS = {"ConcatBitcast", "AllocateBuffer", "Sharding"}
_LIBRARIES = ("__cublas", "__cudnn", "__onednn")
_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "reduce-scatter",
    "collective-permute",
    "collective-broadcast",
)
_PRODUCTS = {"dot", "convolution", "ragged-dot"}
_SLICES = {"slice", "dynamic-slice", "gather"}
# A fusion of only these moves data.
_MOVES = _SLICES | {
    "copy", "transpose", "reshape", "concatenate", "pad", "reverse", "broadcast", "dynamic-update-slice",
}  # fmt: skip

CLASSES = ("products", "fusions", "copies", "custom_calls", "collectives", "other")


@dataclasses.dataclass(frozen=True)
class DeviceCost:
    """Cost of one run of a program on one chip.

    Attributes:
        kernels: launches by class (`CLASSES`): matrix products and convolutions with their epilogues, other
            fusions, copies and fusions that only move data, custom calls (Pallas kernels), collectives, and
            single operations. The body of a loop counts once per iteration.
        transfers: asynchronous copies between device memory and on-chip memory.
        bytes: read and written in device memory by kernels and transfers, by the sizes of operands and results.
        on_chip_bytes: the same in on-chip memory.
        collective_bytes: sent by a chip in collectives.
        unknown_loops: loops of unknown trip count; they are counted once.
    """

    kernels: Counter[str] = dataclasses.field(default_factory=Counter)
    transfers: int = 0
    bytes: int = 0
    on_chip_bytes: int = 0
    collective_bytes: int = 0
    unknown_loops: int = 0

    def __add__(self, other: "DeviceCost") -> "DeviceCost":
        """Add the cost of a program that follows."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        return DeviceCost(*(a + b for a, b in pairs))

    def times(self, count: int) -> "DeviceCost":
        """Multiply by a number of runs."""
        return DeviceCost(
            Counter({name: count * number for name, number in self.kernels.items()}),
            count * self.transfers,
            count * self.bytes,
            count * self.on_chip_bytes,
            count * self.collective_bytes,
            self.unknown_loops,
        )


def device_cost(hlo: str) -> DeviceCost:
    """Compute the cost of a compiled program from its HLO text."""
    program = parse(hlo)
    return _of_computation(program, program.entry)


def _of_computation(program: Program, computation: Computation) -> DeviceCost:
    total = DeviceCost()
    for instruction in computation.instructions.values():
        total += _of_instruction(program, computation, instruction)
    return total


def _of_instruction(program: Program, computation: Computation, instruction: Instruction) -> DeviceCost:
    opcode = instruction.opcode
    if opcode in _FREE or instruction.target in _FREE_TARGETS:
        return DeviceCost()
    inner = program.computations.get(instruction.called or "")
    if opcode == "while" and inner is not None:
        body = _of_computation(program, inner)
        trips = program.trips(computation, instruction)
        return body.times(trips) if trips is not None else body + DeviceCost(unknown_loops=1)
    if opcode in ("call", "async-start") and inner is not None:
        return _of_computation(program, inner)
    if opcode == "conditional":  # one branch runs
        costs = (_of_computation(program, program.computations[name]) for name in instruction.branches)
        return max(costs, key=lambda cost: (cost.kernels.total(), cost.bytes))
    if opcode.startswith(_COLLECTIVES):
        return _collective(computation, instruction)
    if opcode.endswith("-start"):
        return _transfer(computation, instruction)
    if opcode.endswith(("-done", "-update")):
        return DeviceCost()
    device, chip = _traffic(computation, instruction, inner)
    return DeviceCost(Counter({_class(program, instruction, inner): 1}), 0, device, chip)


def _collective(computation: Computation, instruction: Instruction) -> DeviceCost:
    if instruction.opcode.endswith("-done"):
        return DeviceCost()
    sent = sum(sum(_sizes(operand)) for operand in _operands(computation, instruction))
    return DeviceCost(Counter({"collectives": 1}), 0, 2 * sent, 0, sent)


def _transfer(computation: Computation, instruction: Instruction) -> DeviceCost:
    """Cost an asynchronous copy or slice, by the size of its done instruction."""
    arrived = next((u for u in computation.users[instruction.name] if u.opcode.endswith("-done")), None)
    if arrived is None:
        return DeviceCost(transfers=1)
    size = sum(buffer.bytes for buffer in arrived.buffers)
    ends = [*(b for operand in _operands(computation, instruction)[:1] for b in operand.buffers), *arrived.buffers]
    device = sum(size for end in ends if not end.on_chip)
    return DeviceCost(transfers=1, bytes=device, on_chip_bytes=size * len(ends) - device)


def _class(program: Program, instruction: Instruction, inner: Computation | None) -> str:
    opcode = instruction.opcode
    if opcode == "custom-call":
        return "products" if instruction.target.startswith(_LIBRARIES) else "custom_calls"
    if opcode == "fusion" and inner is not None:
        inside = _opcodes(program, inner)
        if inside & _PRODUCTS:
            return "products"
        return "copies" if inside <= _MOVES else "fusions"
    if opcode in _PRODUCTS:
        return "products"
    return "copies" if opcode in _MOVES else "other"


def _opcodes(program: Program, computation: Computation) -> set[str]:
    """Collect the opcodes of a fusion and of fusions nested in it."""
    found = set()
    for instruction in computation.instructions.values():
        inner = program.computations.get(instruction.called or "")
        if instruction.opcode == "fusion" and inner is not None:
            found |= _opcodes(program, inner)
        elif instruction.opcode not in _FREE:
            found.add(instruction.opcode)
    return found


def _traffic(computation: Computation, instruction: Instruction, inner: Computation | None) -> tuple[int, int]:
    """Count bytes in device memory and in on-chip memory."""
    operands = _operands(computation, instruction)
    results = list(instruction.buffers)
    if instruction.target.startswith(_LIBRARIES):
        results = results[:1]  # the other is workspace
    moved: list[tuple[int, Any]] = []
    if instruction.opcode == "fusion" and inner is not None:
        for number, operand in enumerate(operands):
            read = _read_of_parameter(inner, number)
            for buffer in operand.buffers:
                moved.append((buffer.bytes if read is None else min(buffer.bytes, read), buffer))
        moved += zip(_written_by_fusion(inner, [b.bytes for b in results]), results, strict=True)
    elif instruction.opcode in _SLICES:
        result = results[0]
        moved = [(result.bytes, operands[0].buffers[0]), (result.bytes, result)]
    elif instruction.opcode == "dynamic-update-slice":
        update = operands[1].buffers[0]
        moved = [(update.bytes, update), (update.bytes, results[0])]
    else:
        moved = [(b.bytes, b) for operand in operands for b in operand.buffers] + [(b.bytes, b) for b in results]
    chip = sum(size for size, buffer in moved if buffer.on_chip)
    return sum(size for size, _ in moved) - chip, chip


def _read_of_parameter(fused: Computation, number: int) -> int | None:
    """Count the bytes a fusion reads of an operand that it only slices or updates in place; else None."""
    parameter = fused.parameters.get(number)
    if parameter is None:
        return None
    total, pending = 0, [parameter.name]
    while pending:
        name = pending.pop()
        for user in fused.users.get(name, []):
            if user.opcode in ("bitcast", "tuple", "get-tuple-element"):
                pending.append(user.name)
            elif user.opcode in _SLICES and user.operands[0] == name:
                total += sum(_sizes(user))
            elif not (user.opcode == "dynamic-update-slice" and user.operands[0] == name):
                return None
        if name == fused.root.name and not fused.users.get(name):
            return None if name == parameter.name else total
    return total


def _written_by_fusion(fused: Computation, sizes: list[int]) -> list[int]:
    """Count the bytes written of each result: all, or the updated part of one changed in place."""
    roots = [fused.root]
    if fused.root.opcode == "tuple":
        roots = [fused.instructions[name] for name in fused.root.operands]
    written = []
    for root, size in zip(roots, sizes, strict=len(roots) == len(sizes)):
        while root.opcode == "bitcast" and root.operands:
            root = fused.instructions[root.operands[0]]
        if root.opcode == "dynamic-update-slice":
            size = min(size, sum(_sizes(fused.instructions[root.operands[1]])))
        written.append(size)
    return written + sizes[len(written) :]


def _operands(computation: Computation, instruction: Instruction) -> list[Instruction]:
    return [computation.instructions[name] for name in instruction.operands if name in computation.instructions]


def _sizes(instruction: Instruction) -> list[int]:
    return [buffer.bytes for buffer in instruction.buffers]
