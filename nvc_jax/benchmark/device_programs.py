"""Programs that a codec runs on a device, to be compiled from the shapes of their inputs alone."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import jaxpr_as_fun

from nvc_jax.benchmark.given import Given
from nvc_jax.benchmark.programs import program_name
from nvc_jax.codec import loop, stages
from nvc_jax.codec.loop import CodedSymbols, LoadedNetwork
from nvc_jax.codec.model import Codec
from nvc_jax.models.network import State
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Synthesis
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD, PICTURE_STRIDE

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
    rest = _Packets(codec, config.rest, width, height)
    many = dataclasses.replace(rest, batch=STREAMS)
    programs = {
        "encode": rest.encode(),
        "picture": rest.picture(),
        "decode": rest.decode(),
        f"decode_{STREAMS}": many.decode(),
    }
    if config.first != config.rest:
        first = _Packets(codec, config.first, width, height)
        parts = {"encode": first.encode(), "decode": first.decode(), "picture": first.picture()}
        programs |= {f"{config.first}_{name}": program for name, program in parts.items()}
    return programs | rest.stages()


@dataclasses.dataclass(frozen=True)
class _Packets:
    """Packets of one network and picture size."""

    codec: Codec
    name: str
    width: int
    height: int
    batch: int = 1

    @functools.cached_property
    def _loaded(self) -> LoadedNetwork:
        return self.codec.networks(DEFAULT_SKIP_THRESHOLD)[self.name]

    def _with(self, params: ParamTree) -> LoadedNetwork:
        return dataclasses.replace(self._loaded, params=params)

    @property
    def _params(self) -> Any:
        return jax.tree.map(lambda leaf: _shape(leaf.shape, leaf.dtype), self._loaded.params)

    @property
    def _latent_size(self) -> tuple[int, int]:
        return math.ceil(self.height / PICTURE_STRIDE), math.ceil(self.width / PICTURE_STRIDE)

    def _pictures(self, dtype: Any = jnp.float32) -> Any:
        count, sides = self._loaded.network.config.pictures, (PICTURE_STRIDE * side for side in self._latent_size)
        return _shape((self.batch, count, *sides, 3), dtype)

    @property
    def _qps(self) -> Any:
        return _shape((self.batch, self._loaded.network.config.pictures), jnp.float32)

    @functools.cached_property
    def _state(self) -> State:
        """Left by a packet of the network; of a network that only starts sequences, the blank one."""
        network = self._loaded.network
        if self.name != self.codec.stored.config.rest:
            return jax.eval_shape(lambda: network.blank(self._pictures().shape))
        pictures = self._pictures(jnp.int16 if self.codec.precision == "int16" else jnp.float32)  # as reconstructed
        start = jax.eval_shape(network.start, pictures)
        _, synthesis = jax.eval_shape(self._encode, self._params, self._pictures(), start, self._qps)
        advance = lambda state, feature, decoded: network.advance(state, feature, lambda: decoded)  # noqa: E731
        return jax.eval_shape(advance, start, synthesis.feature, pictures)

    def _encode(self, params: ParamTree, pictures: Array, state: State, qps: Array) -> tuple[CodedSymbols, Synthesis]:
        return loop.encode(self._with(params), pictures, state, qps)

    @functools.cached_property
    def _encoded(self) -> tuple[CodedSymbols, Synthesis]:
        return jax.eval_shape(self._encode, self._params, self._pictures(), self._state, self._qps)

    def encode(self) -> DeviceProgram:
        def encode(params: ParamTree, pictures: Array, state: State, qps: Array) -> Any:
            symbols, synthesis = self._encode(params, pictures, state, qps)
            return stages.pack(jax.tree.leaves(symbols)), synthesis

        return DeviceProgram(encode, (self._params, self._pictures(), self._state, self._qps))

    def picture(self) -> DeviceProgram:
        def picture(params: ParamTree, synthesis: Synthesis, qps: Array) -> Any:
            pictures = self._with(params).reconstruct(synthesis, qps)
            return stages.planes_from_pictures(pictures, width=self.width, height=self.height)

        return DeviceProgram(picture, (self._params, self._encoded[1], self._qps))

    def decode(self) -> DeviceProgram:
        def decode(params: ParamTree, symbols: CodedSymbols, state: State, qps: Array) -> Any:
            loaded = self._with(params)
            given = Given(loaded.network, symbols)
            synthesis = loop.code(loaded, state, qps, self._latent_size, given)
            return given.indexes, synthesis

        symbols = self._encoded[0]
        symbols = symbols._replace(y=[(values, None) for values, _ in symbols.y])
        return DeviceProgram(decode, (self._params, symbols, self._state, self._qps))

    def stages(self) -> dict[str, DeviceProgram]:
        """Make a program of each compiled function, `stage_NAME`; later runs of the same one have numbers."""
        count, sizes = self._loaded.network.config.pictures, [(self.height, self.width)]
        sizes += [(self.height // 2, self.width // 2)] * 2
        planes = [_shape((count, *size), jnp.uint8) for size in sizes]
        encode, picture = self.encode(), self.picture()

        def packet(planes: list[Array], params: ParamTree, state: State, qps: Array) -> Any:
            symbols, synthesis = encode.function(params, stages.pictures_from_planes(*planes), state, qps)
            return symbols, picture.function(params, synthesis, qps)

        programs: dict[str, DeviceProgram] = {}
        for equation in jax.make_jaxpr(packet)(planes, self._params, self._state, self._qps).jaxpr.eqns:
            name = program_name(equation)
            if name is None:
                continue
            again = sum(other == f"stage_{name}" or other.startswith(f"stage_{name}_") for other in programs)
            inputs = tuple(_shape(aval.shape, aval.dtype) for aval in equation.params["jaxpr"].in_avals)
            function = jaxpr_as_fun(equation.params["jaxpr"])
            programs[f"stage_{name}" + (f"_{again + 1}" if again else "")] = DeviceProgram(function, inputs)
        return programs


def _shape(dimensions: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(dimensions, dtype)  # type: ignore[no-untyped-call]
