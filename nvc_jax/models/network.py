"""The protocol of a network: all that the coding loop, training and evaluation ask of one (D11).

A network codes packets of `config.pictures` pictures. Its methods are pure functions, stages of a packet's way; the
loop (`codec/loop.py`) calls them in this order:

    predict -> features -> context, analyse (encoder only) -> prior -> refine, for each later step -> synthesise

`reconstruct` gives the pictures, and `start` or `advance` the state of the next packet.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array
from jax.typing import DTypeLike

from nvc_jax.models.config import NetworkConfig
from nvc_jax.models.state import Prior, SideInformation
from nvc_jax.models.units import UnitFollower

State = Any  # an opaque pytree; its structure selects the executable


class Network(nn.Module):
    """Pictures are [B, T, H, W, 3] YCbCr 4:4:4 in 0..1, H and W multiples of 16; qps are [B, T] float32.

    Methods that raise NotImplementedError are abstract: every network has its own, `features` and `context` where it
    predicts, `reconsider` and `apply_side` where it has side information. A test holds the registered networks to that;
    all others have a default here that does nothing.

    Attributes:
        config: the architecture.
        modules: the modules that each method runs.
        bank: a module with a quality bank, whose type is the precision of the computation.
        predicts: whether packets are predicted from a state; without, `features` and `context` are not called.
        goes_on_from_pictures: whether `advance` starts from pictures, too, so that all states have one structure.
    """

    config: NetworkConfig

    modules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    bank: ClassVar[str] = "q_encoder"
    predicts: ClassVar[bool] = True
    goes_on_from_pictures: ClassVar[bool] = False

    def __call__(self, pictures: Array, qps: Array) -> Array:
        """Every method once, without quantisation: creates the parameters."""
        temporal = context = None
        if self.predicts:
            features, temporal = self.features(self.start(pictures), qps)
            context = self.context(features)
        y, z = self.analyse(pictures, context, qps)
        prior = self.prior(z, temporal, y.shape[1:3])
        for step in range(1, self.config.steps):
            self.refine(step, prior.shared, y)
        feature = self.synthesise(y, context, qps)
        if self.predicts:
            self.features(self.advance(self.start(pictures), feature, lambda: pictures), qps)
        self.z_cdf(z, qps)
        return self.reconstruct(feature, None, qps)

    def fixed_units(self, follow: UnitFollower) -> None:
        """Declare the units of the activations in the int16 arithmetic, layer by layer (docs/INT16.md, section 2)."""
        raise NotImplementedError

    @nn.nowrap
    def blank(self, shape: tuple[int, ...]) -> State:
        """State of a start packet; shape: [B, T, H, W, 3] of its pictures."""
        return None

    @nn.nowrap
    def start(self, pictures: Array) -> State:
        """State after a packet of another network, and at a refresh, from the decoded pictures of the packet before."""
        return None

    @nn.nowrap
    def advance(self, state: State, feature: Array, pictures: Callable[[], Array]) -> State:
        """State after a packet of this network, from its state, decoder feature and decoded pictures."""
        return None

    @nn.nowrap
    def either(self, starts: Array, pictures: Array, feature: Array | None, dtype: DTypeLike) -> State:
        """State for programs that code any packet (training): `start` where `starts` is true, `advance` elsewhere.

        Args:
            starts: bool scalar.
            pictures: that it starts from; those of the packet before if `goes_on_from_pictures`.
            feature: of the packet before, None if there is none.
            dtype: of features.
        """
        return None

    @nn.nowrap
    def search(
        self, pictures: Array, state: State, qps: Array, skip_bits: float
    ) -> tuple[State, SideInformation | None]:
        """Encoder only. Choose the side information of a packet: the state as `features` reads it, and the choice."""
        return state, None

    @nn.nowrap
    def reconsider(
        self, pictures: Array, decoded: Array, bits: Array, side: SideInformation, qps: Array
    ) -> SideInformation:
        """Encoder only. Choose again, once the packet has been coded.

        Args:
            pictures: as for `search`.
            decoded: what came out.
            bits: [B, H/16, W/16] int32 that the positions of y took, in 1/256.
            side: the first choice; what `features` reads stays as it is.
            qps: [B, T].
        """
        raise NotImplementedError

    @nn.nowrap
    def apply_side(self, state: State, symbols: npt.NDArray[np.int8]) -> tuple[State, SideInformation]:
        """Decoder's counterpart of `search`; symbols: [1, H/16, W/16, n]."""
        raise NotImplementedError

    @nn.nowrap
    def picture_type(self, dtype: DTypeLike) -> DTypeLike:
        """The type of decoded pictures, by that of activations."""
        if dtype != jnp.int16:
            return jnp.float32
        return jnp.uint16 if self.config.fine else jnp.int16

    @nn.nowrap
    def source(self, pictures: Array, side: SideInformation | None) -> Array:
        """Encoder only. The input of `analyse`, from pictures of `picture_type`; see `arithmetic.as_read`."""
        return pictures

    @nn.nowrap
    def uncoded(self, side: SideInformation | None) -> Array | None:
        """Mask [B, H/16, W/16] of the positions of y that side information leaves out, None if all are coded."""
        return None

    def features(self, state: State, qps: Array) -> tuple[Array, Array]:
        """First part of feature extraction: features for `context`, and the temporal input of `prior`."""
        raise NotImplementedError

    def context(self, features: Array) -> Array:
        """Second part of feature extraction: the context of encoder and decoder, [B, H/8, W/8, C]."""
        raise NotImplementedError

    def analyse(self, pictures: Array, context: Any, qps: Array) -> tuple[Array, Array]:
        """`source` to latents y [B, H/16, W/16, Cy] and z [B, ceil(H/64), ceil(W/64), Cz], not rounded."""
        raise NotImplementedError

    def prior(self, z_hat: Array, temporal: Any, latent_size: tuple[int, ...]) -> Prior:
        """Hyper decoding and prior fusion; latent_size: (H/16, W/16)."""
        raise NotImplementedError

    def refine(self, step: int, shared: Array, y_hat: Array) -> tuple[Array, Array]:
        """Scale and mean for a later coding step from y as decoded so far (before the gain), zero elsewhere."""
        raise NotImplementedError

    def synthesise(self, y_hat: Array, context: Any, qps: Array) -> Array:
        """Decoded latent (after the gain) to the decoder feature [B, H/8, W/8, C]."""
        raise NotImplementedError

    def reconstruct(self, feature: Array, side: SideInformation | None, qps: Array) -> Array:
        """Decoder feature to pictures, clamped to 0..1."""
        raise NotImplementedError

    def z_cdf(self, x: Array, qps: Array) -> Array:
        """Cumulative probability of z at x, for estimating rates."""
        return self.z_prior(x, qps[:, -1])
