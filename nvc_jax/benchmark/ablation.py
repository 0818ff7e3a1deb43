"""Measure the effect of fusion: a packet in programs of growing size, from single operations to several packets."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import Jaxpr

from nvc_jax.benchmark.clock import Times, interleaved
from nvc_jax.benchmark.programs import Cost, cost_of, cost_of_operations, program_name
from nvc_jax.benchmark.subject import Subject, code_packet
from nvc_jax.codec.loop import LoadedNetwork
from nvc_jax.models.layers import Conv3x3, DCBlock, Pointwise, QualityBank
from nvc_jax.models.network import State
from nvc_jax.models.params import ParamTree

SCAN_PACKETS = 4
_BLOCKS = DCBlock, Conv3x3, Pointwise, QualityBank
# Between two variants: the share of the symbols that must agree, and the largest mean difference of pictures in 0..1.
_EXACT = {"float32": 0.999, "bfloat16": 0.9, "float16": 0.95, "int16": 1.0}
_UNROUNDED = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02, "int16": 0.0}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to run the packet.

    Attributes:
        name: in tables.
        run: gives symbols, feature and pictures, of one packet or, with a leading axis, of several.
        cost: of one packet, for a subject of any size.
        packets: that one run codes.
    """

    name: str
    run: Callable[[], Any]
    cost: Callable[[Subject], Cost]
    packets: int = 1


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of a variant with the codec's own way, compiled stages.

    Attributes:
        same_symbols: share of the symbols and table rows that are the same.
        picture_difference: mean over the pictures, in 0..1.
        close: within the bounds for the precision.
    """

    same_symbols: float
    picture_difference: float
    close: bool


def variants(subject: Subject) -> list[Variant]:
    """Make all of them, the codec's own among them."""
    loaded, inputs = subject.loaded, subject.inputs
    program, scan = _program(subject), _scan(subject)

    def op_by_op() -> Any:
        with jax.disable_jit():
            return code_packet(loaded, *inputs)

    def block_by_block() -> Any:
        with jax.disable_jit(), compiled_blocks():
            return code_packet(loaded, *inputs)

    return [
        Variant("op by op", op_by_op, lambda s: cost_of_operations(_trace(s), ())),
        Variant("jit per block", block_by_block, lambda s: cost_of_operations(_trace_blocks(s), ("_run_block",))),
        Variant("jit per stage", lambda: code_packet(loaded, *inputs), _stages_cost),
        Variant("one program", lambda: program(*inputs), lambda s: cost_of(_program(s).lower(*s.inputs).compile())),
        Variant("scan over frames", lambda: scan(*inputs), _scan_cost, SCAN_PACKETS),
    ]


def measure(
    ways: Sequence[Variant], subject: Subject, counted: Subject, precision: str, runs: int
) -> Iterator[tuple[Variant, Times, Cost, Agreement]]:
    """Time and compare variants, in turns.

    Args:
        ways: variants of the subject, the codec's own among them.
        subject: the packet.
        counted: a packet of a size at which nothing loops, for counting bytes; they are scaled to the other.
        precision: of the codec.
        runs: of each variant.
    """
    times = interleaved({way.name: way.run for way in ways}, runs)
    results = {way.name: way.run() for way in ways}
    for way in ways:
        cost = way.cost(subject)
        if counted is not subject:
            cost = dataclasses.replace(cost, bytes=way.cost(counted).bytes * subject.pixels / counted.pixels)
        result = results[way.name]
        if way.packets > 1:
            result = jax.tree.map(lambda leaf: leaf[0], result)
        taken = Times([seconds / way.packets for seconds in times[way.name].seconds])
        yield way, taken, cost, _compare(result, results["jit per stage"], precision)


def _compare(result: Any, expected: Any, precision: str) -> Agreement:
    pairs = zip(jax.tree.leaves(result[0]), jax.tree.leaves(expected[0]), strict=True)
    same = np.concatenate([np.ravel(np.asarray(a) == np.asarray(b)) for a, b in pairs]).mean()
    pictures = (np.asarray(picture, np.float64) for picture in (result[2], expected[2]))
    difference = float(np.abs(np.subtract(*pictures)).mean())
    close = same >= _EXACT[precision] and difference <= _UNROUNDED[precision]
    return Agreement(float(same), difference, bool(close))


# --- blocks


@contextlib.contextmanager
def compiled_blocks() -> Iterator[None]:
    """Compile each block of a network as a program of its own."""
    inside = False

    def call(function: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        nonlocal inside
        module = context.module
        if inside or context.method_name != "__call__" or not isinstance(module, _BLOCKS):
            return function(*args, **kwargs)
        inside = True
        try:
            with jax.disable_jit(False):
                return _run_block(module.clone(parent=None), module.variables["params"], *args)
        finally:
            inside = False

    with nn.intercept_methods(call):
        yield


@functools.partial(jax.jit, static_argnums=0)
def _run_block(module: nn.Module, params: ParamTree, *inputs: Array) -> Any:
    return module.apply({"params": params}, *inputs)


# --- larger programs


def _program(subject: Subject) -> Any:
    return jax.jit(functools.partial(code_packet, subject.loaded))


def _scan(subject: Subject) -> Any:
    return jax.jit(functools.partial(_code_packets, subject.loaded))


def _code_packets(loaded: LoadedNetwork, params: ParamTree, pictures: Array, state: State, qps: Array) -> Any:
    """Code the same pictures several times, each from the state that the packet before leaves."""

    def step(state: State, pictures: Array) -> Any:
        symbols, feature, decoded = code_packet(loaded, params, pictures, state, qps)
        return loaded.network.advance(state, feature, lambda: decoded), (symbols, feature, decoded)

    return lax.scan(step, state, jnp.broadcast_to(pictures, (SCAN_PACKETS, *pictures.shape)))[1]


def _scan_cost(subject: Subject) -> Cost:
    """Compute the cost of one packet; XLA counts the bytes of a loop's body once, thus of one packet."""
    cost = cost_of(_scan(subject).lower(*subject.inputs).compile())
    return dataclasses.replace(cost, kernels=cost.kernels // SCAN_PACKETS, fusions=cost.fusions // SCAN_PACKETS)


# --- counting


def _trace(subject: Subject) -> Jaxpr:
    return jax.make_jaxpr(functools.partial(code_packet, subject.loaded))(*subject.inputs).jaxpr


def _stages_cost(subject: Subject) -> Cost:
    trace = _trace(subject)
    return cost_of_operations(trace, {e.params["name"] for e in trace.eqns if program_name(e)})


def _trace_blocks(subject: Subject) -> Jaxpr:
    """Trace blocks as programs. The network has another name, for JAX keeps its trace without them."""
    loaded = dataclasses.replace(subject.loaded, network=subject.loaded.network.clone(name="blocks"))
    with compiled_blocks():
        return _trace(dataclasses.replace(subject, loaded=loaded))


def to_json(times: Times, cost: Cost, agreement: Agreement) -> Mapping[str, Any]:
    """Make a row of the result file."""
    return times.to_json() | dataclasses.asdict(cost) | dataclasses.asdict(agreement)
