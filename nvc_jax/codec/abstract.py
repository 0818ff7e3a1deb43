"""Programs of a packet as functions and the shapes of their inputs, to be counted or compiled without arrays."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from nvc_jax.codec import loop, stages
from nvc_jax.codec.loop import CodedSymbols, Given, LoadedNetwork
from nvc_jax.models.network import State
from nvc_jax.models.params import ParamTree, dtype
from nvc_jax.models.state import Synthesis
from nvc_jax.spec import PICTURE_STRIDE

Program = tuple[Callable[..., Any], tuple[Any, ...]]  # pure, and trees of `jax.ShapeDtypeStruct`


@dataclasses.dataclass(frozen=True)
class AbstractPackets:
    """Packets of one network and picture size.

    Attributes:
        loaded: the network; only the shapes and types of its parameters matter.
        size: (width, height) before padding.
        goes_on: packets go on a sequence, else they start one.
        batch: packets coded together.
    """

    loaded: LoadedNetwork
    size: tuple[int, int]
    goes_on: bool
    batch: int = 1

    def encode(self) -> Program:
        """Pictures and state to packed symbols, and to what the decoded pictures are made of."""

        def encode(*inputs: Any) -> Any:
            symbols, synthesis = self._encode(*inputs)
            return stages.pack(jax.tree.leaves(symbols)), synthesis

        return encode, self._inputs

    def decode(self) -> Program:
        """The same from symbols; gives their table indexes."""

        def decode(params: ParamTree, symbols: CodedSymbols, state: State, qps: Array) -> Any:
            given = Given(self.loaded.network, symbols)
            synthesis = loop.code(self._with(params), state, qps, self._latent_size, given)
            return given.indexes, synthesis

        symbols = self._encoded[0]
        symbols = symbols._replace(y=[(values, None) for values, _ in symbols.y])
        return decode, (self._params, symbols, self._state, self._qps)

    def picture(self) -> Program:
        """The decoder feature to 8-bit planes."""
        width, height = self.size

        def picture(params: ParamTree, synthesis: Synthesis, qps: Array) -> Any:
            pictures = self._with(params).reconstruct(synthesis, qps)
            return stages.planes_from_pictures(pictures, width=width, height=height)

        return picture, (self._params, self._encoded[1], self._qps)

    @property
    def _params(self) -> Any:
        return jax.tree.map(lambda leaf: abstract(leaf.shape, leaf.dtype), self.loaded.params)

    @property
    def _latent_size(self) -> tuple[int, ...]:
        return tuple(math.ceil(side / PICTURE_STRIDE) for side in reversed(self.size))

    @property
    def _pictures(self) -> Any:
        sides = (PICTURE_STRIDE * side for side in self._latent_size)
        return abstract((self.batch, self.loaded.network.config.pictures, *sides, 3))

    @property
    def _qps(self) -> Any:
        return abstract((self.batch, self.loaded.network.config.pictures))

    @functools.cached_property
    def _state(self) -> State:
        """Left by a packet of the network, or the blank one."""
        network = self.loaded.network
        if not self.goes_on:
            return jax.eval_shape(lambda: network.blank(self._pictures.shape))

        def advanced(params: ParamTree, pictures: Array, state: State, qps: Array) -> State:
            _, synthesis = self._encode(params, pictures, state, qps)
            return network.advance(state, synthesis.feature, lambda: self._with(params).reconstruct(synthesis, qps))

        decoded = abstract(self._pictures.shape, network.picture_type(dtype(self._params)))
        start = jax.eval_shape(network.start, decoded)
        return jax.eval_shape(advanced, self._params, self._pictures, start, self._qps)

    @property
    def _inputs(self) -> tuple[Any, ...]:
        return self._params, self._pictures, self._state, self._qps

    def _with(self, params: ParamTree) -> LoadedNetwork:
        return dataclasses.replace(self.loaded, params=params)

    def _encode(self, params: ParamTree, pictures: Array, state: State, qps: Array) -> tuple[CodedSymbols, Synthesis]:
        return loop.encode(self._with(params), pictures, state, qps)

    @functools.cached_property
    def _encoded(self) -> tuple[CodedSymbols, Synthesis]:
        return jax.eval_shape(self._encode, *self._inputs)


def abstract(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """Stands in for an array."""
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def program_of(traced: ClosedJaxpr) -> Program:
    """A traced function by itself."""
    return jaxpr_as_fun(traced), tuple(abstract(aval.shape, aval.dtype) for aval in traced.in_avals)
