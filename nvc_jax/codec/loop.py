"""The coding loop (DESIGN, "A packet's way"): one function for encoder, decoder, training and estimates.

They run the same stages in the same order and differ in the source of symbols: the encoder quantises (`Quantise`), the
decoder reads (`codec/reading.py`), training relaxes (`training/forward.py`), measurements know them (`Given`). Its two
parts are what precedes the latent, and the latent; an encoder that looks again runs the second one twice.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import numpy as np
from jax import Array

from nvc_jax.codec import stages
from nvc_jax.codec.stages import CodingStep
from nvc_jax.codec.transfer import to_host
from nvc_jax.models.network import Network, State
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Prior, SideInformation, Synthesis
from nvc_jax.ops.motion import SKIP_BITS
from nvc_jax.spec import PICTURE_STRIDE

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class LoadedNetwork:
    """A network ready to code.

    Attributes:
        network: its methods.
        params: its parameters, on the device.
        skip_threshold: scalar float32, or int32 in 1/512 for int16; symbols with a scale not above it are not coded
            (-1: code all).
        zero_below: [256] float32, or int32 in 1/256: for each table index, residuals of smaller magnitude are coded as
            zero (entropy/rdoq.py). None rounds to the nearest.
        skip_bits: the encoder leaves out blocks whose error of prediction is worth fewer bits, where the network can.
        looks_again: the encoder codes a packet twice, and leaves out blocks that were not worth their bits at first.
    """

    network: Network
    params: ParamTree
    skip_threshold: Array
    zero_below: Array | None = None
    skip_bits: float = SKIP_BITS
    looks_again: bool = False

    def run(self, stage: Callable[..., Any], *inputs: Any) -> Any:
        """Run one of `stages`."""
        return stage(self.network, self.params, *inputs)

    def reconstruct(self, synthesis: Synthesis, qps: Array) -> Array:
        """The pictures [B, T, H', W', 3] of a packet."""
        return self.run(stages.reconstruct, synthesis, qps)


class SymbolSource(Protocol):
    """The source of a packet's symbols. Values are int8 in the coder's order, or relaxed to float32."""

    def side(self, state: State) -> tuple[State, SideInformation | None]:
        """The side information, and the state that it leads to."""

    def z(self, context: Callable[[], Array | None]) -> Array:
        """Symbols of z."""

    def y(self, step: int, gain: Any, coding: CodingStep) -> Array:
        """Symbols of a coding step of y; gain: `Prior.gain_in`."""


class Conditions(NamedTuple):
    """Knowledge of both sides before y.

    Attributes:
        side: the side information, None without.
        context: gives that of encoder and decoder, None of an intra network.
        prior: of y.
        coding: the first coding step.
    """

    side: SideInformation | None
    context: Callable[[], Array | None]
    prior: Prior
    coding: CodingStep


def code(
    loaded: LoadedNetwork, state: State, qps: Array, latent_size: tuple[int, ...], symbols: SymbolSource
) -> Synthesis:
    """Code one packet: THE loop. Pure on the device, so that larger programs may hold it.

    Args:
        loaded: the network.
        state: from `Network.blank`, `start` or `advance`.
        qps: [B, T] float32.
        latent_size: (H'/16, W'/16).
        symbols: where they come from.
    """
    return _code_latent(loaded, _conditions(loaded, state, qps, latent_size, symbols), qps, symbols)


def _conditions(
    loaded: LoadedNetwork, state: State, qps: Array, latent_size: tuple[int, ...], symbols: SymbolSource
) -> Conditions:
    network, run, threshold = loaded.network, loaded.run, loaded.skip_threshold
    state, side = symbols.side(state)
    features, temporal = run(stages.features, state, qps) if network.predicts else (None, None)
    context = functools.cache(lambda: run(stages.context, features) if network.predicts else None)
    prior, coding = run(stages.prior, symbols.z(context), temporal, threshold, latent_size, side)
    context()  # where the decoder has not asked for it: on the device while the host decodes symbols
    return Conditions(side, context, prior, coding)


def _code_latent(loaded: LoadedNetwork, known: Conditions, qps: Array, symbols: SymbolSource) -> Synthesis:
    network, run, threshold = loaded.network, loaded.run, loaded.skip_threshold
    side, context, prior, coding = known
    y_hat, values = None, symbols.y(0, prior.gain_in, coding)
    for step in range(1, network.config.steps):
        y_hat, coding = run(stages.refine, step, prior.shared, y_hat, coding, values, threshold, side)
        values = symbols.y(step, prior.gain_in, coding)
    return Synthesis(run(stages.synthesise, prior.gain_out, y_hat, coding, values, context(), qps), side)


class Quantise:
    """Symbols of the encoder: quantised latents of pictures."""

    def __init__(self, loaded: LoadedNetwork, pictures: Array, qps: Array) -> None:
        """Prepare for pictures [B, T, H', W', 3]."""
        self._loaded, self._pictures, self._qps = loaded, pictures, qps
        self._parts: list[Array] = []
        self._y: Any = None

    def side(self, state: State) -> tuple[State, SideInformation | None]:
        """Choose it."""
        state, side = self._loaded.network.search(self._pictures, state, self._qps, self._loaded.skip_bits)
        self._side = side
        return state, side

    def z(self, context: Callable[[], Array | None]) -> Array:
        """Analyse the pictures."""
        self._y, self._z = self._loaded.run(stages.analyse, self._pictures, context(), self._qps, self._side)
        return self._z

    def y(self, step: int, gain: Any, coding: CodingStep) -> Array:
        """Quantise."""
        steps = self._loaded.network.config.steps
        symbols = stages.quantise(self._y, gain, coding, steps, step, self._loaded.zero_below)
        self._parts += [symbols, coding.indexes]
        return symbols

    def reconsider(self, synthesis: Synthesis) -> SideInformation:
        """Forget the symbols of y, and choose better side information by what they led to."""
        assert self._side is not None
        pictures, bits = self._loaded.reconstruct(synthesis, self._qps), stages.bits_of_positions(self.coded.y)
        self._side = self._loaded.network.reconsider(self._pictures, pictures, bits, self._side, self._qps)
        self._parts = []
        return self._side

    @property
    def coded(self) -> "CodedSymbols":
        """All of them, after the loop."""
        side = None if self._side is None else self._side.symbols
        return CodedSymbols(side, self._z, list(zip(self._parts[::2], self._parts[1::2], strict=True)))


class Given:
    """Known symbols of a batch of packets: all of decoding but the entropy coder.

    Attributes:
        indexes: table indexes of the coding steps so far; those of the symbols are not read.
    """

    def __init__(self, network: Network, symbols: "CodedSymbols", fetch: Callable[[Array], Any] = lambda x: x) -> None:
        """Prepare; fetch: called with the table indexes before each step, as a decoder copies them to the host."""
        self._network, self._symbols, self._fetch = network, symbols, fetch
        self.indexes: list[Any] = []

    def side(self, state: State) -> tuple[State, SideInformation | None]:
        """Apply it."""
        side = self._symbols.side
        return (state, None) if side is None else self._network.apply_side(state, side)

    def z(self, context: Callable[[], Array | None]) -> Any:
        """Give them."""
        return self._symbols.z

    def y(self, step: int, gain: Any, coding: CodingStep) -> Any:
        """Give them."""
        self.indexes.append(self._fetch(coding.indexes))
        return self._symbols.y[step][0]


class CodedSymbols(NamedTuple):
    """Symbols and table indexes of a batch of packets: all that the entropy coder needs.

    Attributes:
        side: [B, h, w, n] int8 of the side information, None without.
        z: [B, C, h, w] int8.
        y: (symbols, table indexes) of each coding step, [B, C/steps, h, w].
    """

    side: Any
    z: Any
    y: list[tuple[Any, Any]]

    def pack(self) -> "PackedSymbols":
        """All in one buffer; starts to copy it to the host."""
        arrays, tree = jax.tree.flatten(self)
        packed = stages.pack(arrays)
        packed.copy_to_host_async()
        return PackedSymbols(packed, tree, [(x.shape[1:], np.dtype(x.dtype)) for x in arrays])


@dataclasses.dataclass(frozen=True)
class PackedSymbols:
    """The symbols of one packet, on their way to the host.

    Attributes:
        packed: [1, bytes] uint8, the parts one after the other.
        tree: structure of the parts.
        parts: shape and type of each.
    """

    packed: Array
    tree: Any
    parts: list[tuple[tuple[int, ...], np.dtype[Any]]]

    def to_host(self) -> CodedSymbols:
        """The arrays without batch, as `EntropyCoder.encode` takes them. Waits: the one copy of a packet."""
        ends = np.cumsum([math.prod(shape) for shape, _ in self.parts])
        flat = np.split(to_host(self.packed)[0], ends[:-1])
        parts = [x.view(dtype).reshape(shape) for x, (shape, dtype) in zip(flat, self.parts, strict=True)]
        result: CodedSymbols = jax.tree.unflatten(self.tree, parts)
        return result


def encode(loaded: LoadedNetwork, pictures: Array, state: State, qps: Array) -> tuple[CodedSymbols, Synthesis]:
    """Code pictures [B, T, H', W', 3]: symbols, and what the decoded pictures are made of. Nothing waits."""
    symbols = Quantise(loaded, pictures, qps)
    latent_size = tuple(side // PICTURE_STRIDE for side in pictures.shape[2:4])
    known = _conditions(loaded, state, qps, latent_size, symbols)
    synthesis = _code_latent(loaded, known, qps, symbols)
    if loaded.looks_again:
        side = symbols.reconsider(synthesis)
        known = known._replace(side=side, coding=stages.leave_out(loaded.network, known.coding, side))
        synthesis = _code_latent(loaded, known, qps, symbols)
    return symbols.coded, synthesis


def filled(members: Sequence[Item], pictures: int) -> tuple[Item, ...]:
    """The pictures or qps of a packet, the last one repeated up to the number that the network codes."""
    return *members, *[members[-1]] * (pictures - len(members))


@functools.lru_cache(maxsize=1024)
def batched(qps: tuple[float, ...]) -> Array:
    """The qps of one packet as stages take them, [1, T] float32: traced, so that another quality never compiles anew.

    Kept on the device, where every stage of a packet would have it copied otherwise.
    """
    with jax.ensure_compile_time_eval():  # a tracer must not be kept
        return jax.device_put(np.array([qps], np.float32))
