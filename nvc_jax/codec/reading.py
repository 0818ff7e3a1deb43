"""Symbols of the decoder: read from a payload, as the stages tell their tables."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.codec import stages
from nvc_jax.codec.loop import LoadedNetwork, batched, code
from nvc_jax.codec.resync import Flip, resync
from nvc_jax.codec.stages import CodingStep
from nvc_jax.codec.transfer import to_host
from nvc_jax.entropy.coder import PacketDecoder
from nvc_jax.errors import BitstreamError
from nvc_jax.models.network import State
from nvc_jax.models.params import dtype
from nvc_jax.models.state import SideInformation, Synthesis
from nvc_jax.spec import HYPER_STRIDE, PICTURE_STRIDE


class Read:
    """A `SymbolSource`.

    Attributes:
        steps: the coding steps as far as they were read.
        flips: table indexes to be taken otherwise than they were computed.
    """

    def __init__(
        self,
        loaded: LoadedNetwork,
        payload: PacketDecoder,
        qps: tuple[float, ...],
        size: tuple[int, int],
        flips: tuple[Flip, ...] = (),
    ) -> None:
        """Read side information and z: a payload too short for its size (width, height) never meets the network."""
        self._network, self._payload, config = loaded.network, payload, loaded.network.config
        self.flips, self.steps = flips, list[CodingStep]()
        width, height = size
        self._side = None
        if config.side is not None:
            self._side = payload.side(math.ceil(height / PICTURE_STRIDE), math.ceil(width / PICTURE_STRIDE))[None]
        hyper_size = math.ceil(height / HYPER_STRIDE), math.ceil(width / HYPER_STRIDE)
        self._z = jax.device_put(payload.z(round(qps[-1]), (config.hyper, *hyper_size))[None])

    def side(self, state: State) -> tuple[State, SideInformation | None]:
        """See `SymbolSource`."""
        return (state, None) if self._side is None else self._network.apply_side(state, self._side)

    def z(self, context: Callable[[], Array | None]) -> Array:
        """See `SymbolSource`."""
        return self._z

    def y(self, step: int, gain: Any, coding: CodingStep) -> Array:
        """See `SymbolSource`. Waits for the device; the end of the payload is checked after the last step.

        Raises:
            BitstreamError: the payload is damaged or cut.
        """
        self.steps.append(coding)
        indexes = to_host(coding.indexes)[0]
        mine = [flip for flip in self.flips if flip.step == step]
        if mine:
            indexes = indexes.copy()
            indexes.flat[[flip.position for flip in mine]] = [flip.other for flip in mine]
        symbols = self._payload.plane(indexes)
        if step == self._network.config.steps - 1:
            self._payload.finish()
        return jax.device_put(symbols[None])


def decode(
    loaded: LoadedNetwork,
    open_payload: Callable[[], PacketDecoder],
    state: State,
    qps: tuple[float, ...],
    size: tuple[int, int],
) -> tuple[Synthesis, int]:
    """A payload to what the pictures are made of.

    Args:
        loaded: the network.
        open_payload: starts on the payload, from its beginning at every call.
        state: of the packet.
        qps: of all pictures that the network codes.
        size: (width, height) in pixels, before padding.

    Returns:
        The synthesis, and how many table indexes had to be taken otherwise than computed (`resync`).

    Raises:
        BitstreamError: the payload is damaged or cut.
    """
    latent_size = tuple(math.ceil(side / PICTURE_STRIDE) for side in reversed(size))
    first = Read(loaded, open_payload(), qps, size)
    try:
        return code(loaded, state, batched(qps), latent_size, first), 0
    except BitstreamError:
        if dtype(loaded.params) != jnp.float32:  # int16 is exact; in bfloat16, hundreds of indexes may differ
            raise
        replay = _Replay(**vars(loaded))

        def attempt(flips: tuple[Flip, ...]) -> tuple[list[CodingStep], Synthesis | None]:
            again = Read(loaded, open_payload(), qps, size, flips)
            try:
                return again.steps, code(replay, state, batched(qps), latent_size, again)
            except BitstreamError:
                return again.steps, None

        found = resync(first.steps, attempt, float(loaded.skip_threshold))
        if found is None:
            raise
        return found


@dataclasses.dataclass(frozen=True)
class _Replay(LoadedNetwork):
    """Runs the stages before the first symbol of y once, for any number of attempts at one packet."""

    done: dict[Any, Any] = dataclasses.field(default_factory=dict)

    def run(self, stage: Callable[..., Any], *inputs: Any) -> Any:
        """See `LoadedNetwork`."""
        if stage not in (stages.features, stages.context, stages.prior):
            return super().run(stage, *inputs)
        if stage not in self.done:
            self.done[stage] = super().run(stage, *inputs)
        return self.done[stage]
