"""Code a packet from known symbols: all of decoding but the entropy coder."""

from collections.abc import Callable
from typing import Any

from jax import Array

from nvc_jax.codec.loop import CodedSymbols
from nvc_jax.codec.stages import CodingStep
from nvc_jax.models.network import Network, State
from nvc_jax.models.state import SideInformation


class Given:
    """A `SymbolSource` of known symbols.

    Attributes:
        indexes: table indexes of the coding steps so far.
    """

    def __init__(self, network: Network, symbols: CodedSymbols, fetch: Callable[[Array], Any] = lambda x: x) -> None:
        """Prepare for one packet.

        Args:
            network: of the packet.
            symbols: of a batch of packets; their table indexes are not read.
            fetch: called with the table indexes before each step, as a decoder copies them to the host.
        """
        self._network, self._symbols, self._fetch = network, symbols, fetch
        self.indexes: list[Any] = []

    def side(self, state: State) -> tuple[State, SideInformation | None]:
        """See `SymbolSource`."""
        side = self._symbols.side
        return (state, None) if side is None else self._network.apply_side(state, side)

    def z(self, context: Callable[[], Array | None]) -> Any:
        """See `SymbolSource`."""
        return self._symbols.z

    def y(self, step: int, gain: Any, coding: CodingStep) -> Any:
        """See `SymbolSource`."""
        self.indexes.append(self._fetch(coding.indexes))
        return self._symbols.y[step][0]
