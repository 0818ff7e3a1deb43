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

from nvc_jax.codec.loop import LoadedNetwork, encode
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.network import State
from nvc_jax.models.networks import networks
from nvc_jax.models.params import parameter_shapes, unflatten
from nvc_jax.spec import PICTURE_STRIDE

Place = tuple[str, str]  # (stage, module), as named by Flax while it traces; "" outside

_SIDES = ("encode", "decode")
_SEARCH = "_estimate"  # of block motion
_ENCODER_STAGES = "analyse", "quantise", _SEARCH, "_skip"
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
    """Complexity of a packet, per picture.

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


def packet_complexity(
    config: CodecConfig, name: str, width: int = 1920, height: int = 1080, xla: bool = False
) -> Complexity:
    """The complexity of a packet in the middle of a sequence, per picture.

    Args:
        config: architecture; nothing is allocated for it.
        name: of the network that codes it.
        width: of the pictures.
        height: of the pictures.
        xla: also compile, for XLA's own counts.
    """
    parameters: Counter[str] = Counter()
    for path, shape in parameter_shapes(config).items():
        network, module = path.split("/")[:2]
        if network == name:
            parameters[_without_number(module)] += math.prod(shape)
    sides: dict[str, Counter[str]] = {side: Counter() for side in _SIDES}
    for (stage, module), macs in _count(_trace(config, name, width, height)).items():
        for side in _sides(config, name, stage):
            sides[side][_without_number(module)] += macs
    pixels = width * height * config[name].pictures
    modules = {
        module: Module(count, *(sides[side][module] / pixels for side in _SIDES))
        for module, count in parameters.items()
    }
    return Complexity(modules, _xla_costs(config, name) if xla else {})


def count_macs(function: Callable[..., Any], *arguments: Any) -> int:
    """Multiply-accumulates in one call of a function."""
    return sum(_count(jax.make_jaxpr(function)(*arguments).jaxpr).values())


def _sides(config: CodecConfig, name: str, stage: str) -> tuple[str, ...]:
    """The sides that run a stage: the encoder alone analyses, and reconstructs only pictures that states start from."""
    if stage in _ENCODER_STAGES:
        return ("encode",)
    goes_on = name == config.rest and not networks(config)[name].goes_on_from_pictures
    return ("decode",) if stage == "reconstruct" and goes_on else _SIDES


def _trace(config: CodecConfig, name: str, width: int, height: int) -> Jaxpr:
    """The program of a packet: everything that encoder or decoder run, each stage once."""
    network, count = networks(config)[name], config[name].pictures
    params = unflatten({path: _abstract(shape) for path, shape in parameter_shapes(config).items()})[name]
    rows, columns = (math.ceil(side / PICTURE_STRIDE) * PICTURE_STRIDE for side in (height, width))
    pictures, qps = _abstract((1, count, rows, columns, 3)), _abstract((1, count))

    def code(params: Any, pictures: Array, state: State, qps: Array) -> tuple[Array, Array]:
        loaded = LoadedNetwork(network, params, jnp.float32(-1))
        _, synthesis = encode(loaded, pictures, state, qps)
        return synthesis.feature, loaded.reconstruct(synthesis, qps)

    state = network.start(pictures)
    feature, decoded = jax.eval_shape(code, params, pictures, state, qps)
    state = network.advance(state, feature, lambda: decoded)
    return jax.make_jaxpr(code)(params, pictures, state, qps).jaxpr


def _abstract(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """Stands in for an array while tracing."""
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _xla_costs(config: CodecConfig, name: str) -> dict[str, float]:
    """The sum of XLA's estimates for the compiled programs of all stages."""
    width, height = _XLA_SIZE
    costs: Counter[str] = Counter()
    for equation in _trace(config, name, width, height).eqns:
        program = equation.params.get("jaxpr")
        if not isinstance(program, ClosedJaxpr):
            continue
        arguments = (_abstract(aval.shape, aval.dtype) for aval in program.in_avals)
        cost = jax.jit(jax.extend.core.jaxpr_as_fun(program)).lower(*arguments).compile().cost_analysis() or {}
        if equation.params["name"] == _SEARCH:
            continue  # loops, whose bodies XLA counts once
        for side in _sides(config, name, equation.params["name"]):
            for ours, theirs in (("flops", "flops"), ("bytes", "bytes accessed")):
                costs[f"{side}_{ours}"] += cost.get(theirs, 0.0) / (width * height * config[name].pictures)
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
        method = re.fullmatch(r"[A-Z]\w*\.(\w+)", scope)  # `Inter.analyse/encoder_blocks_0/depthwise`
        if method:
            place = method[1], inside
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
