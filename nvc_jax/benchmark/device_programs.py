"""Programs that a codec runs on a device, to be compiled from the shapes of their inputs alone."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.benchmark.programs import program_name
from nvc_jax.codec import stages
from nvc_jax.codec.abstract import AbstractPackets, Program, abstract, program_of
from nvc_jax.codec.model import Codec
from nvc_jax.models.network import State
from nvc_jax.models.params import ParamTree
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD

STREAMS = 4  # that `decode_4` decodes


@dataclasses.dataclass(frozen=True)
class DeviceProgram:
    """A function and the shapes of its arguments.

    Attributes:
        function: pure.
        inputs: trees of `jax.ShapeDtypeStruct`.
        donated: numbers of the inputs whose memory the results may take.
        grid: of the chips that it runs on together.
        axis: by which the function knows those chips; empty for one alone.
        split: numbers of the inputs that are sharded over the chips by their first axis; the others are replicated.
    """

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    donated: tuple[int, ...] = ()
    grid: tuple[int, int] = (1, 1)
    axis: str = ""
    split: tuple[int, ...] = ()


def coding_programs(codec: Codec, width: int, height: int) -> dict[str, DeviceProgram]:
    """Make everything that coding runs, by name.

    `encode`: a packet that goes on a sequence, from its pictures to packed symbols and the feature, one program;
    `picture`: from the feature to 8-bit planes; `decode`: from symbols to the feature; `decode_4`: a batch of four;
    `stage_...`: the programs of a packet as they are dispatched. Where another network starts a sequence, `encode`,
    `decode` and `picture` of its packets have its name in front: `intra_encode`.
    """
    config = codec.stored.config
    networks = codec.networks(DEFAULT_SKIP_THRESHOLD)
    rest = AbstractPackets(networks[config.rest], (width, height), goes_on=True)
    programs = {"encode": rest.encode(), "picture": rest.picture(), "decode": rest.decode()}
    programs[f"decode_{STREAMS}"] = dataclasses.replace(rest, batch=STREAMS).decode()
    if config.first != config.rest:
        first = AbstractPackets(networks[config.first], (width, height), goes_on=False)
        parts = {"encode": first.encode(), "decode": first.decode(), "picture": first.picture()}
        programs |= {f"{config.first}_{name}": program for name, program in parts.items()}
    return {name: DeviceProgram(*program) for name, program in (programs | _stages(rest)).items()}


def _stages(packets: AbstractPackets) -> dict[str, Program]:
    """Make a program of each compiled function, `stage_NAME`; later runs of the same one have numbers."""
    count, (width, height) = packets.loaded.network.config.pictures, packets.size
    sizes = (height, width), *[(height // 2, width // 2)] * 2
    planes = [abstract((count, *size), jnp.uint8) for size in sizes]
    (encode, (params, _, state, qps)), (picture, _) = packets.encode(), packets.picture()

    def packet(planes: list[Array], params: ParamTree, state: State, qps: Array) -> Any:
        symbols, synthesis = encode(params, stages.pictures_from_planes(*planes), state, qps)
        return symbols, picture(params, synthesis, qps)

    programs: dict[str, Program] = {}
    for equation in jax.make_jaxpr(packet)(planes, params, state, qps).jaxpr.eqns:
        name = program_name(equation)
        if name is None:
            continue
        again = sum(other == f"stage_{name}" or other.startswith(f"stage_{name}_") for other in programs)
        programs[f"stage_{name}" + (f"_{again + 1}" if again else "")] = program_of(equation.params["jaxpr"])
    return programs
