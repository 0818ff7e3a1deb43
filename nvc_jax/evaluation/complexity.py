"""Parameters and multiply-accumulates per module, read from the traced model.

Multiply-accumulates are those of matrix products, convolutions and depthwise convolutions (which are written as shifted
multiply-adds); elementwise work, motion search and compensation do not count. Per pixel means per pixel of the picture
before padding: a 1920x1080 picture is coded as 1920x1088, which is how the published figures count.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr

from nvc_jax.codec import stages
from nvc_jax.codec.frame import FrameCodec
from nvc_jax.models.config import PATCH, CodecConfig
from nvc_jax.models.params import models, parameter_shapes, unflatten
from nvc_jax.models.state import Reference, reference_after
from nvc_jax.spec import KEY_OF_KIND, PICTURE_STRIDE, FrameKind

Place = tuple[str, str]  # (stage, module), as named by Flax while it traces; "" outside

_SIDES = ("encode", "decode")
_XLA_SIZE = 512, 512  # on CPU larger pictures run in loops, whose bodies XLA counts once


@dataclasses.dataclass(frozen=True)
class Module:
    """A part of a network.

    Attributes:
        parameters: how many numbers it has.
        encode: multiply-accumulates per pixel when a frame is encoded.
        decode: the same for decoding.
    """

    parameters: int
    encode: float
    decode: float


@dataclasses.dataclass(frozen=True)
class Complexity:
    """What it takes to code a frame.

    Attributes:
        modules: by the names the network gives them.
        xla: `encode_flops`, `encode_bytes`, `decode_flops`, `decode_bytes` per pixel, as XLA counts them in what it
            compiled for this machine; empty if not asked for.
    """

    modules: Mapping[str, Module]
    xla: Mapping[str, float]

    @property
    def total(self) -> Module:
        """All modules together."""
        rows = [dataclasses.astuple(module) for module in self.modules.values()]
        return Module(*(sum(column) for column in zip(*rows, strict=True)))


def frame_complexity(
    config: CodecConfig, kind: FrameKind, width: int = 1920, height: int = 1080, xla: bool = False
) -> Complexity:
    """What a frame of a codec takes: "I", or "P" with a feature as its reference (a picture with motion).

    Args:
        config: architecture; nothing is allocated for it.
        kind: of the frame.
        width: of the picture.
        height: of the picture.
        xla: also compile, for what XLA counts.
    """
    parameters: Counter[str] = Counter()
    for name, shape in parameter_shapes(config).items():
        if name.startswith(KEY_OF_KIND[kind]):
            parameters[_without_number(name.split("/")[1])] += math.prod(shape)
    sides: dict[str, Counter[str]] = {side: Counter() for side in _SIDES}
    for (stage, module), macs in _count(_trace(config, kind, width, height)).items():
        for side in _sides(config, kind, stage):
            sides[side][_without_number(module)] += macs
    pixels = width * height
    modules = {
        name: Module(count, *(sides[side][name] / pixels for side in _SIDES)) for name, count in parameters.items()
    }
    return Complexity(modules, _xla_costs(config, kind) if xla else {})


def count_macs(function: Callable[..., Any], *arguments: Any) -> int:
    """Multiply-accumulates in one call of a function."""
    return sum(_count(jax.make_jaxpr(function)(*arguments).jaxpr).values())


def _sides(config: CodecConfig, kind: FrameKind, stage: str) -> tuple[str, ...]:
    """Who runs a stage: only the encoder analyses, and it needs pictures only where they are references."""
    if stage in ("skip", "analyse", "quantise"):
        return ("encode",)
    return ("decode",) if stage == "reconstruct" and kind == "P" and not config.inter.motion else _SIDES


def _trace(config: CodecConfig, kind: FrameKind, width: int, height: int) -> Jaxpr:
    """The program of a frame: everything that encoder or decoder run, each stage once."""
    key = KEY_OF_KIND[kind]
    model = models(config)[key]
    shapes = {name: _abstract(shape) for name, shape in parameter_shapes(config).items()}
    rows, columns = (math.ceil(side / PICTURE_STRIDE) * PICTURE_STRIDE for side in (height, width))
    picture, feature = (
        _abstract((1, rows, columns, 3)),
        _abstract((1, rows // PATCH, columns // PATCH, config.inter.width)),
    )
    reference = reference_after(config.inter, feature, picture) if kind == "P" else None

    def frame(params: Any, picture: Array, reference: Reference | None, qp: Array) -> Array:
        synthesis = FrameCodec(model, params, jnp.float32(-1)).transform(picture, reference, qp).synthesis
        return stages.reconstruct(model, params, synthesis, qp)

    return jax.make_jaxpr(frame)(unflatten(shapes)[key], picture, reference, _abstract((1,))).jaxpr


def _abstract(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """Stands in for an array while tracing."""
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _xla_costs(config: CodecConfig, kind: FrameKind) -> dict[str, float]:
    """The sum of XLA's estimates for the compiled programs of all stages."""
    width, height = _XLA_SIZE
    costs: Counter[str] = Counter()
    for equation in _trace(config, kind, width, height).eqns:
        program = equation.params.get("jaxpr")
        if not isinstance(program, ClosedJaxpr):
            continue
        arguments = (_abstract(aval.shape, aval.dtype) for aval in program.in_avals)
        cost = jax.jit(jax.extend.core.jaxpr_as_fun(program)).lower(*arguments).compile().cost_analysis() or {}
        if equation.params["name"] == "estimate":
            continue  # loops, whose bodies XLA counts once
        for side in _sides(config, kind, equation.params["name"]):
            for ours, theirs in (("flops", "flops"), ("bytes", "bytes accessed")):
                costs[f"{side}_{ours}"] += cost.get(theirs, 0.0) / (width * height)
    return dict(costs)


def _without_number(module: str) -> str:
    """The name of a list of blocks, for each of its blocks."""
    return re.sub(r"_\d+$", "", module)


def _count(jaxpr: Jaxpr, place: Place = ("", ""), depthwise: bool = False) -> Counter[Place]:
    """Multiply-accumulates by place."""
    counts: Counter[Place] = Counter()
    for equation in jaxpr.eqns:
        counts += _count_equation(equation, place, depthwise)
    return counts


def _count_equation(equation: Any, place: Place, depthwise: bool) -> Counter[Place]:
    scopes = str(equation.source_info.name_stack).split("/")
    for scope, inside in zip(scopes, [*scopes[1:], ""], strict=True):
        if "Model." in scope:  # `InterModel.analyse/encoder_blocks_0/depthwise`
            place = scope.split(".")[1], inside
    depthwise = depthwise or "depthwise" in scopes
    name, out = equation.primitive.name, equation.outvars[0].aval
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return Counter({place: out.size * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)})
    if name == "conv_general_dilated":
        kernel, axes = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
        return Counter({place: out.size * math.prod(kernel[axis] for axis in axes[1:])})
    if name == "mul" and depthwise:
        return Counter({place: out.size})
    if name == "cond":  # one branch runs; where they are one computation written for several platforms, they agree
        branches = (_count(branch.jaxpr, place, depthwise) for branch in equation.params["branches"])
        return max(branches, key=Counter.total)
    total: Counter[Place] = Counter()
    for value in equation.params.values():
        if isinstance(value, ClosedJaxpr | Jaxpr):
            total += _count(value.jaxpr if isinstance(value, ClosedJaxpr) else value, place, depthwise)
    repeats = equation.params.get("length", 1) if name == "scan" else 1
    return Counter({place: repeats * macs for place, macs in total.items()})
