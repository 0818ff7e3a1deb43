"""Parameters and multiply-accumulates per module, read from the traced model.

Multiply-accumulates are those of matrix products, convolutions and depthwise convolutions (which are written as shifted
multiply-adds); elementwise work, motion search and compensation do not count. Per pixel means per pixel of the picture
before padding: a 1920x1080 picture is coded as 1920x1088, which is how the published figures count.
"""

import dataclasses
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr

from nvc_jax.codec.abstract import AbstractPackets, abstract, program_of
from nvc_jax.codec.loop import LoadedNetwork
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.networks import networks
from nvc_jax.models.params import parameter_shapes, unflatten

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
    for side, programs in _programs(config, name, width, height).items():
        for program in programs:
            for module, macs in tally(program, macs_by_module).items():
                sides[side][_without_number(module)] += macs
    pixels = width * height * config[name].pictures
    modules = {
        module: Module(count, *(sides[side][module] / pixels for side in _SIDES))
        for module, count in parameters.items()
    }
    return Complexity(modules, _xla_costs(config, name) if xla else {})


def _programs(config: CodecConfig, name: str, width: int, height: int) -> dict[str, list[Jaxpr]]:
    """The programs of a packet on each side."""
    params = unflatten({path: abstract(shape) for path, shape in parameter_shapes(config).items()})[name]
    loaded = LoadedNetwork(networks(config)[name], params, jnp.float32(-1))
    packets = AbstractPackets(loaded, (width, height), goes_on=name == config.rest)
    ways = packets.encode(), packets.decode(), packets.picture()
    encode, decode, picture = (jax.make_jaxpr(function)(*inputs).jaxpr for function, inputs in ways)
    # The encoder reconstructs only pictures that states start from.
    from_pictures = name != config.rest or loaded.network.goes_on_from_pictures
    return {"encode": [encode, picture] if from_pictures else [encode], "decode": [decode, picture]}


def _xla_costs(config: CodecConfig, name: str) -> dict[str, float]:
    """The sum of XLA's estimates for the compiled programs of all stages, those with loops left out."""
    costs: Counter[str] = Counter()
    analyses: dict[str, Mapping[str, float]] = {}
    for side, programs in _programs(config, name, *_XLA_SIZE).items():
        for equation in itertools.chain.from_iterable(program.eqns for program in programs):
            program, text = equation.params.get("jaxpr"), str(equation)
            if not isinstance(program, ClosedJaxpr) or "scan[" in text or "while[" in text:
                continue  # XLA counts the body of a loop once
            if text not in analyses:
                function, inputs = program_of(program)
                analyses[text] = jax.jit(function).lower(*inputs).compile().cost_analysis() or {}
            for ours, theirs in (("flops", "flops"), ("bytes", "bytes accessed")):
                pixels = math.prod(_XLA_SIZE) * config[name].pictures
                costs[f"{side}_{ours}"] += analyses[text].get(theirs, 0.0) / pixels
    return dict(costs)


def _without_number(module: str) -> str:
    """The name of a list of blocks, for each of its blocks."""
    return re.sub(r"_\d+$", "", module)


def macs_of(equation: Any) -> int:
    """Multiply-accumulates of a matrix product or a convolution, 0 of other equations."""
    numbers, operands = equation.params.get("dimension_numbers"), [value.aval for value in equation.invars]
    if equation.primitive.name == "dot_general":
        sides = [operands[0].shape[axis] for axis in numbers[0][0]]
    elif equation.primitive.name == "conv_general_dilated":
        sides = [operands[1].shape[axis] for axis in numbers.rhs_spec[1:]]
    else:
        return 0
    return int(equation.outvars[0].aval.size) * math.prod(sides)


def programs_in(equation: Any) -> list[Jaxpr]:
    """The programs that an equation runs: the body of a loop, a called function, ..."""
    values = (value.jaxpr if isinstance(value, ClosedJaxpr) else value for value in equation.params.values())
    return [value for value in values if isinstance(value, Jaxpr)]


def tally(
    jaxpr: Jaxpr, counted: Callable[[Any, tuple[str, ...]], Counter[str]], scopes: tuple[str, ...] = ()
) -> Counter[str]:
    """Sum what is counted in a program and in those that it runs.

    The body of a loop counts once per iteration if the trace has the trip count, else once; of branches the largest
    counts: where they are one computation written for several platforms, they agree.

    Args:
        jaxpr: the program.
        counted: for an equation, and the scopes around it as named by Flax and JAX.
        scopes: around the program.
    """
    total: Counter[str] = Counter()
    for equation in jaxpr.eqns:
        inner = (*scopes, *str(equation.source_info.name_stack).split("/"))
        name, params, found = equation.primitive.name, equation.params, counted(equation, inner)
        if name == "cond":
            found = max((tally(branch.jaxpr, counted, inner) for branch in params["branches"]), key=Counter.total)
        elif not found:
            repeats = params["length"] if name == "scan" else 1
            if name == "pallas_call":
                repeats = math.prod(side for side in params["grid_mapping"].grid if isinstance(side, int))
            for program in programs_in(equation):
                found += Counter({key: repeats * n for key, n in tally(program, counted, inner).items()})
        total += found
    return total


def macs_by_module(equation: Any, scopes: tuple[str, ...]) -> Counter[str]:
    """Multiply-accumulates of an equation, for `tally`."""
    macs = macs_of(equation)
    if "depthwise" in scopes and equation.primitive.name == "mul":
        macs = equation.outvars[0].aval.size
    methods = (i for i, scope in enumerate(scopes) if re.fullmatch(r"[A-Z]\w*\.\w+", scope))
    method = max(methods, default=len(scopes))  # `Inter.analyse/encoder_blocks_0/depthwise`
    return Counter({"".join(scopes[method + 1 : method + 2]): macs} if macs else {})
