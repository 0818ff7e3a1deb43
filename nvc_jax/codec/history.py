"""The state of a sequence between packets; the same rules on both sides (spec 9)."""

from collections.abc import Mapping

from jax import Array

from nvc_jax.codec.loop import LoadedNetwork
from nvc_jax.models.network import State
from nvc_jax.models.state import Synthesis


class History:
    """Holds the last packet, and with it the state that the next one is predicted from."""

    def __init__(self, networks: Mapping[str, LoadedNetwork]) -> None:
        self._networks = networks
        self._name = ""  # of the network of the last packet
        self._state: State = None  # that it left
        self._synthesis: Synthesis | None = None
        self._qps: Array | None = None
        self._pictures: Array | None = None

    @property
    def empty(self) -> bool:
        """True before the first packet."""
        return not self._name

    @property
    def pictures(self) -> Array:
        """Decoded pictures [1, T, H', W', 3] of the last packet, reconstructed when they are first asked for."""
        if self._pictures is None:
            assert self._synthesis is not None
            assert self._qps is not None
            self._pictures = self._networks[self._name].reconstruct(self._synthesis, self._qps)
            self._synthesis = None  # its arrays are not needed any more
        return self._pictures

    def state(self, name: str, start: bool, refresh: bool, shape: tuple[int, ...]) -> State:
        """The state of the next packet.

        Args:
            name: of its network.
            start: it decodes without the packets before it.
            refresh: its state is to be made of pictures, not of the last state.
            shape: [1, T, H', W', 3] of its pictures.
        """
        network = self._networks[name].network
        if start:
            return network.blank(shape)
        if refresh or name != self._name:
            return network.start(self.pictures)
        return self._state

    def keep(self, name: str, state: State, synthesis: Synthesis, qps: Array) -> None:
        """Go on after a packet of network `name` that was coded from `state`."""
        self._name, self._synthesis, self._qps, self._pictures = name, synthesis, qps, None
        self._state = self._networks[name].network.advance(state, synthesis.feature, lambda: self.pictures)
