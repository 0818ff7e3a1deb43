"""What fusion is worth: the same inter frame in programs of growing size, from single operations to several frames."""

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
from nvc_jax.benchmark.modules import code_frame, frame_inputs
from nvc_jax.benchmark.programs import Cost, cost_of, cost_of_operations
from nvc_jax.benchmark.subject import Subject
from nvc_jax.codec.frame import FrameCodec
from nvc_jax.models.layers import Conv3x3, DCBlock, Pointwise, QualityBank
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Reference, reference_after

SCAN_FRAMES = 4
STAGES = (
    *("estimate", "compensate", "skip", "temporal", "context", "analyse"),
    *("prior", "quantise", "refine", "synthesise", "reconstruct"),
)
_BLOCKS = DCBlock, Conv3x3, Pointwise, QualityBank
# Between two variants: the share of the symbols that must agree, and the largest mean difference of pictures in 0..1.
_EXACT = {"float32": 0.999, "bfloat16": 0.9, "float16": 0.95, "int16": 1.0}
_UNROUNDED = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02, "int16": 0.0}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to run the frame.

    Attributes:
        name: in tables.
        run: gives symbols, feature and picture, of one frame or, with a leading axis, of several.
        cost: of one frame, for a subject of any size.
        frames: that one run codes.
    """

    name: str
    run: Callable[[], Any]
    cost: Callable[[Subject], Cost]
    frames: int = 1


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far a variant is from the codec's way, compiled stages.

    Attributes:
        same_symbols: share of the symbols and table rows that are the same.
        picture_difference: mean over the picture, in 0..1.
        close: within the bounds for the precision.
    """

    same_symbols: float
    picture_difference: float
    close: bool


def variants(subject: Subject) -> list[Variant]:
    """All of them, the codec's own among them."""
    codec, inputs = subject.codec, frame_inputs(subject)

    def op_by_op() -> Any:
        with jax.disable_jit():
            return code_frame(codec, *inputs)

    def block_by_block() -> Any:
        with jax.disable_jit(), compiled_blocks():
            return code_frame(codec, *inputs)

    return [
        Variant("op by op", op_by_op, lambda s: cost_of_operations(_trace(s), ())),
        Variant("jit per block", block_by_block, lambda s: cost_of_operations(_trace_blocks(s), ("_run_block",))),
        Variant("jit per stage", lambda: code_frame(codec, *inputs), lambda s: cost_of_operations(_trace(s), STAGES)),
        Variant("one program", lambda: _program(subject)(*inputs), _program_cost),
        Variant("scan over frames", lambda: _scan(subject)(*inputs), _scan_cost, SCAN_FRAMES),
    ]


def measure(
    ways: Sequence[Variant], subject: Subject, counted: Subject, precision: str, runs: int
) -> Iterator[tuple[Variant, Times, Cost, Agreement]]:
    """Time and compare variants, in turns.

    Args:
        ways: variants of the subject, the codec's own among them.
        subject: the frame.
        counted: a frame of a size at which nothing loops, for counting bytes; they are scaled to the other.
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
        if way.frames > 1:
            result = jax.tree.map(lambda leaf: leaf[0], result)
        taken = Times([seconds / way.frames for seconds in times[way.name].seconds])
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
    """Blocks of the network are programs of their own inside."""
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
    return functools.partial(_frame, subject.codec.model, subject.codec.skip_threshold)


@functools.partial(jax.jit, static_argnums=0)
def _frame(model: Any, threshold: Array, params: ParamTree, picture: Array, reference: Reference, qp: Array) -> Any:
    return code_frame(FrameCodec(model, params, threshold), params, picture, reference, qp)


def _program_cost(subject: Subject) -> Cost:
    return cost_of(_frame.lower(subject.codec.model, subject.codec.skip_threshold, *frame_inputs(subject)).compile())


def _scan(subject: Subject) -> Any:
    return functools.partial(_frames, subject.codec.model, subject.codec.skip_threshold)


@functools.partial(jax.jit, static_argnums=0)
def _frames(model: Any, threshold: Array, params: ParamTree, picture: Array, reference: Reference, qp: Array) -> Any:
    codec = FrameCodec(model, params, threshold)

    def step(value: Array, picture: Array) -> Any:
        symbols, feature, decoded = code_frame(codec, params, picture, Reference(value, reference.kind), qp)
        return reference_after(model.config, feature, decoded).value, (symbols, feature, decoded)

    return lax.scan(step, reference.value, jnp.broadcast_to(picture, (SCAN_FRAMES, *picture.shape)))[1]


def _scan_cost(subject: Subject) -> Cost:
    """Of one frame; XLA counts the bytes of a loop's body once, which is what one frame takes."""
    lowered = _frames.lower(subject.codec.model, subject.codec.skip_threshold, *frame_inputs(subject))
    cost = cost_of(lowered.compile())
    return dataclasses.replace(cost, kernels=cost.kernels // SCAN_FRAMES, fusions=cost.fusions // SCAN_FRAMES)


# --- counting


def _trace(subject: Subject) -> Jaxpr:
    return jax.make_jaxpr(functools.partial(code_frame, subject.codec))(*frame_inputs(subject)).jaxpr


def _trace_blocks(subject: Subject) -> Jaxpr:
    """With blocks as programs. The model has another name, for JAX remembers what it traced without them."""
    codec = dataclasses.replace(subject.codec, model=subject.codec.model.clone(name="blocks"))
    with compiled_blocks():
        return _trace(dataclasses.replace(subject, codec=codec))


def to_json(times: Times, cost: Cost, agreement: Agreement) -> Mapping[str, Any]:
    """A row of the result file."""
    return times.to_json() | dataclasses.asdict(cost) | dataclasses.asdict(agreement)
