"""Compile a program for an absent chip, and estimate its cost there."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from nvc_jax.benchmark import flops
from nvc_jax.benchmark.device_cost import device_cost
from nvc_jax.benchmark.device_programs import DeviceProgram
from nvc_jax.benchmark.targets import LAUNCH_S, Target
from nvc_jax.errors import ConfigError


def compile_for(program: DeviceProgram, target: Target, hlo: Path | None = None) -> dict[str, Any]:
    """Compile, and count the cost on one chip, ready for JSON (`report`).

    Args:
        program: to compile.
        target: to compile for.
        hlo: file for the optimised HLO, if any.

    Raises:
        ConfigError: XLA cannot compile it.
    """
    function, inputs = _placed(program, target)
    start = time.perf_counter()
    traced = jax.jit(function, donate_argnums=program.donated).trace(*inputs)
    lowered = traced.lower()
    lower_s = time.perf_counter() - start
    start, start_cpu = time.perf_counter(), time.process_time()
    compiled, options = _compiled(lowered, target)
    compile_s, compile_cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    if hlo is not None:
        hlo.parent.mkdir(parents=True, exist_ok=True)
        hlo.write_text(compiled.as_text() or "")
    return report(compiled, dict(flops.count(traced.jaxpr.jaxpr)), target) | {
        "lower_s": round(lower_s, 3),
        "compile_s": round(compile_s, 3),
        "compile_cpu_s": round(compile_cpu_s, 3),
        "options": options,
    }


def _compiled(lowered: Any, target: Target) -> tuple[Any, dict[str, bool]]:
    """Compile a program, and give the options that XLA needed."""
    try:
        return lowered.compile(), {}
    except jax.errors.JaxRuntimeError as error:
        options, sentence = target.other_options(error), target.explain(error)
    try:
        if options:
            return lowered.compile(compiler_options=options), options
    except jax.errors.JaxRuntimeError as error:
        sentence = target.explain(error)
    raise ConfigError(sentence)


def _placed(program: DeviceProgram, target: Target) -> tuple[Callable[..., Any], list[Any]]:
    """Make the function of all chips, and abstract inputs with their shardings."""
    devices = target.devices(*program.grid)
    shardings: list[Sharding] = [SingleDeviceSharding(devices[0]) for _ in program.inputs]
    function = program.function
    if program.axis:
        mesh = Mesh(np.array(devices), (program.axis,))
        everywhere, split = PartitionSpec(), PartitionSpec(program.axis)  # type: ignore[no-untyped-call]
        parts = [split if number in program.split else everywhere for number in range(len(program.inputs))]
        shardings = [NamedSharding(mesh, part) for part in parts]
        function = jax.shard_map(function, mesh=mesh, in_specs=tuple(parts), out_specs=everywhere, check_vma=False)

    def place(tree: Any, sharding: Sharding) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)  # type: ignore[no-untyped-call]

    return function, [place(tree, sharding) for tree, sharding in zip(program.inputs, shardings, strict=True)]


def report(compiled: Any, operations: dict[str, int], target: Target) -> dict[str, Any]:
    """Report the cost of a compiled program on one chip of a target.

    Args:
        compiled: `jax.stages.Compiled`.
        operations: of its matrix products, by kind (`flops.count`).
        target: of the compilation.

    Returns:
        `kernels` and `classes`, `flops` by kind, `bytes`, memory, and times in ms. `peak_bytes` are arguments,
        results that do not alias them, and temporaries. `products_ms` and `memory_ms` are at the published peaks,
        `roofline_ms` the larger one, `launched_ms` with the launches of kernels outside of CUDA graphs.
    """
    cost = device_cost(compiled.as_text())
    analysis = (compiled.cost_analysis() or {}) if target.platform == "tpu" else {}
    memory = compiled.memory_analysis()
    inputs, outputs, temporary = (
        int(memory.argument_size_in_bytes),
        int(memory.output_size_in_bytes),
        int(memory.temp_size_in_bytes),
    )
    peak = inputs + outputs - int(memory.alias_size_in_bytes) + temporary
    products_ms = sum(1e3 * n / target.peaks[kind] for kind, n in operations.items() if kind in target.peaks)
    memory_ms = 1e3 * cost.bytes / target.bandwidth
    roofline_ms = max(products_ms, memory_ms)
    launches_ms = 1e3 * LAUNCH_S * cost.kernels.total() if target.platform == "cuda" else 0.0
    return {
        "kernels": cost.kernels.total(),
        "classes": dict(sorted(cost.kernels.items())),
        "transfers": cost.transfers,
        "unknown_loops": cost.unknown_loops,
        "flops": sum(operations.values()),
        "flops_by_kind": operations,
        "bytes": cost.bytes,
        "on_chip_bytes": cost.on_chip_bytes,
        "collective_bytes": cost.collective_bytes,
        "xla_bytes": analysis.get("bytes accessed"),
        "xla_flops": analysis.get("flops"),
        "temporary_bytes": temporary,
        "argument_bytes": inputs,
        "output_bytes": outputs,
        "peak_bytes": peak,
        "fits": peak <= target.memory_bytes,
        "code_bytes": int(memory.generated_code_size_in_bytes),
        "products_ms": round(products_ms, 4),
        "memory_ms": round(memory_ms, 4),
        "roofline_ms": round(roofline_ms, 4),
        "launched_ms": round(roofline_ms + launches_ms, 4),
    }
