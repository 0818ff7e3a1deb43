"""A clip through a codec, differentiable, with estimated rates (D8): the coding loop with relaxed symbols."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.codec import stages
from nvc_jax.codec.floats import XLA
from nvc_jax.codec.loop import LoadedNetwork, code
from nvc_jax.codec.stages import CodingStep
from nvc_jax.entropy.coder import SIDE_INFORMATION
from nvc_jax.models.network import Network, State
from nvc_jax.models.params import ParamTree, flatten, is_first_of_block, unflatten
from nvc_jax.models.state import SideInformation
from nvc_jax.ops import native
from nvc_jax.ops.block import TrainedKernel
from nvc_jax.ops.latents import fold, from_coder_order, to_coder_order
from nvc_jax.ops.motion import skip_bits
from nvc_jax.spec import PICTURE_STRIDE
from nvc_jax.training.surrogates import add_uniform_noise, gaussian_bits, likelihood_bits, round_ste

Carried = TypeVar("Carried")
Kept = TypeVar("Kept")


@flax.struct.dataclass
class Coded:
    """One coded packet.

    Attributes:
        pictures: [B, T, H, W, 3] float32, not rounded.
        feature: decoder feature [B, H/8, W/8, C].
        bits_y: [B] estimated bits of y.
        bits_z: [B] estimated bits of z.
        bits_side: [B] bits of the side information, 0 without.
        features: by the names in `Teacher.features`; None unless they are asked for.
    """

    pictures: Array
    feature: Array
    bits_y: Array
    bits_z: Array
    bits_side: Array
    features: dict[str, Array] | None = None

    @property
    def bits(self) -> Array:
        """Sum of all parts, [B]."""
        return self.bits_y + self.bits_z + self.bits_side


@flax.struct.dataclass
class PacketInput:
    """Input of a packet; several packets have one more axis in front.

    Attributes:
        pictures: [B, T, H, W, 3] YCbCr in 0..1, float32.
        qps: [B, T] float32, offsets included.
        keys: [B] for the noise; None: the rate is that of the rounded symbols.
        aux: for the caller, passed through.
    """

    pictures: Array
    qps: Array
    keys: Array | None
    aux: Any = None


class Relax:
    """Relaxed symbols: straight-through rounding towards the picture, uniform noise towards the rate (`SymbolSource`).

    Latents and likelihoods are float32 in any precision.
    """

    def __init__(self, loaded: LoadedNetwork, packet: PacketInput) -> None:
        self._loaded, self._packet = loaded, packet
        self._steps = loaded.network.config.steps
        self._noisy: list[Callable[[Array], Array]] = [jnp.round] * (1 + self._steps)
        if packet.keys is not None:
            keys = jax.vmap(lambda key: jax.random.split(key, 1 + self._steps), out_axes=1)(packet.keys)
            self._noisy = [functools.partial(jax.vmap(add_uniform_noise), key=step_keys) for step_keys in keys]
        self.bits_y = self.bits_side = jnp.zeros(len(packet.qps))
        self._uncoded: Array | None = None
        self._side: SideInformation | None = None

    def side(self, state: State) -> tuple[State, SideInformation | None]:
        """See `SymbolSource`."""
        network, packet = self._loaded.network, self._packet
        state, side = network.search(packet.pictures, state, packet.qps, self._loaded.skip_bits)
        kind = network.config.side
        if side is not None and kind is not None:
            self._uncoded = network.uncoded(side)
            self.bits_side = SIDE_INFORMATION[kind].bits(side.symbols, jnp)
        self._side = side
        return state, side

    def z(self, context: Callable[[], Any]) -> Array:
        """See `SymbolSource`."""
        qps, run = self._packet.qps, self._loaded.run
        self.context = context()
        self._y, z = run(stages.latents, self._packet.pictures, self.context, qps, self._side)
        noisy = self._noisy[0](z)
        likelihood = run(stages.z_cdf, noisy + 0.5, qps) - run(stages.z_cdf, noisy - 0.5, qps)
        self.bits_z = likelihood_bits(likelihood).sum(axis=(1, 2, 3))
        return to_coder_order(round_ste(z))

    def y(self, step: int, gain: Any, coding: CodingStep) -> Array:
        """See `SymbolSource`."""
        residual = fold(self._y * gain, self._steps, step) - coding.mean
        bits = gaussian_bits(self._noisy[1 + step](residual), from_coder_order(coding.scale))
        if self._uncoded is not None:
            residual, bits = (jnp.where(self._uncoded[..., None], 0.0, x) for x in (residual, bits))
        self.bits_y = self.bits_y + bits.sum(axis=(1, 2, 3))
        return to_coder_order(round_ste(residual))


def code_packet(
    network: Network,
    params: ParamTree,
    packet: PacketInput,
    state: State,
    precision: str = "float32",
    strategy: str = XLA,
    skip_blocks: bool = False,
    observe: bool = False,
) -> Coded:
    """Code one packet.

    Args:
        network: what codes it.
        params: its parameters, float32, so that the gradients of the packets of a clip add up in float32.
        packet: pictures and qps.
        state: from `Network.blank`, `start` or `advance`.
        precision: that the network computes in.
        strategy: see `training_strategy`.
        skip_blocks: leave out blocks as the encoder does, where the network can.
        observe: also give the features that distillation compares.
    """
    limit = skip_bits(skip_blocks)
    loaded = LoadedNetwork(network, prepared(params, precision, strategy), jnp.float32(-1.0), skip_bits=limit)
    symbols = Relax(loaded, packet)
    latent_size = tuple(side // PICTURE_STRIDE for side in packet.pictures.shape[2:4])
    with jax.default_matmul_precision("default"):  # coding is exact to the last bit at a price
        synthesis = code(loaded, state, packet.qps, latent_size, symbols)
        features = None
        if observe:
            pictures, patches = loaded.run(stages.reconstruct_with_patches, synthesis, packet.qps)
            features = {"context": symbols.context, "feature": synthesis.feature, "patches": patches}
        else:
            pictures = loaded.reconstruct(synthesis, packet.qps)
    return Coded(pictures, synthesis.feature, symbols.bits_y, symbols.bits_z, symbols.bits_side, features)


def code_packets(
    network: Network,
    packets: PacketInput,
    first: Array,
    code_one: Callable[[Carried, State, PacketInput], tuple[Carried, Coded, Kept]],
    carried: Carried,
    refresh: int = 0,
    precision: str = "float32",
) -> tuple[Carried, Kept]:
    """Code the packets of a clip after the first, as the encoder would: a scan with the state as carry.

    All packets are coded by one program, those that start from pictures too, which halves the time to compile it.

    Args:
        network: what codes them.
        packets: n packets, every array with n in front.
        first: pictures [B, T, H, W, 3] that the first of them is predicted from.
        code_one: codes a packet; what it carries goes from packet to packet.
        carried: its initial value.
        refresh: see `Stage`.
        precision: of features.

    Returns:
        The last carried value, and what was kept of all packets, with n in front.
    """

    def step(carry: tuple[Carried, State, Array], inputs: tuple[PacketInput, Array]) -> tuple[Any, Kept]:
        (carried, state, start), (packet, next_starts) = carry, inputs
        carried, coded, kept = code_one(carried, state, packet)
        start = coded.pictures if refresh or network.goes_on_from_pictures else start
        return (carried, network.either(next_starts, start, coded.feature, precision), start), kept

    numbers = 1 + jnp.arange(len(packets.qps))
    next_starts = numbers % refresh == 0 if refresh else numbers < 0
    state = network.either(jnp.bool_(True), first, None, precision)
    (carried, _, _), kept = jax.lax.scan(step, (carried, state, first), (packets, next_starts))
    return carried, kept


def training_strategy(precision: str) -> str:
    """The fastest kernel backend of this machine for DC blocks and their gradients."""
    return next(iter(native.with_gradients(precision)), XLA)


def prepared(params: ParamTree, precision: str, strategy: str) -> ParamTree:
    """Parameters as the networks compute with them, differentiably; the prior of z stays in float32."""

    def convert(name: str, leaf: Array) -> Any:
        leaf = leaf if name.split("/")[0] == "z_prior" else leaf.astype(precision)
        return leaf if strategy == XLA or not is_first_of_block(name) else TrainedKernel(leaf, strategy)

    return unflatten({name: convert(name, leaf) for name, leaf in flatten(params).items()})
