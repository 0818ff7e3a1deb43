"""A clip through a codec without entropy coding, for research."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.codec.history import History
from nvc_jax.codec.loop import LoadedNetwork, code, filled
from nvc_jax.codec.schedule import PacketPlan, Schedule
from nvc_jax.codec.stages import CodingStep
from nvc_jax.errors import ConfigError, VideoError
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.network import Network, State
from nvc_jax.models.networks import networks
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Synthesis
from nvc_jax.ops.colour import rgb_to_ycbcr, ycbcr_to_rgb
from nvc_jax.ops.latents import from_coder_order, unfold
from nvc_jax.ops.motion import skip_bits
from nvc_jax.ops.pixels import pad_to_multiple
from nvc_jax.spec import PICTURE_STRIDE, QP_LEVELS
from nvc_jax.training.forward import PacketInput, Relax
from nvc_jax.training.surrogates import round_ste


@flax.struct.dataclass
class Bits:
    """Estimated bits of every packet, [P] each, or [B, P].

    Attributes:
        y: of the latents.
        z: of the hyper-latents.
        side: of motion, 0 of networks without.
    """

    y: Array
    z: Array
    side: Array

    @property
    def total(self) -> Array:
        """Their sum."""
        return self.y + self.z + self.side


@flax.struct.dataclass
class Latents:
    """Latents of a packet, in quantisation steps; all [h, w, C], or [B, h, w, C].

    Attributes:
        y: at 1/16 of the size, before quantisation.
        y_hat: the same as decoded.
        mean: of the distribution that codes y.
        scale: its standard deviation.
        z_hat: hyper-latent at 1/64 of the size, as decoded.
    """

    y: Array
    y_hat: Array
    mean: Array
    scale: Array
    z_hat: Array


@flax.struct.dataclass
class Forward:
    """A coded clip.

    Attributes:
        pictures: decoded RGB [T, H, W, 3] float32, neither rounded nor clipped to 0..1; or [B, T, H, W, 3].
        bits: estimates for every packet.
        latents: those of every packet, in order.
    """

    pictures: Array
    bits: Bits
    latents: tuple[Latents, ...]


def forward(
    config: CodecConfig,
    params: ParamTree,
    clip: Array,
    qp: Array | float,
    key: Array | None,
    schedule: Schedule,
    skip_blocks: bool = True,
) -> Forward:
    """Code a clip; see `Codec.forward`.

    Args:
        config: the architecture.
        params: trees of float32 arrays by network.
        clip: RGB [T, H, W, 3] or [B, T, H, W, 3].
        qp: a number, or [B].
        key: for noise, or None.
        schedule: for a base qp of 0, with the offsets of the model.
        skip_blocks: see `Encoder`.
    """
    pictures, qp = _checked(clip), _checked_qp(qp)
    if pictures.ndim == 4:
        clips: Forward = forward(config, params, pictures[None], qp, key, schedule, skip_blocks)
        first: Forward = _first(clips)
        return first
    count, height, width = pictures.shape[1:4]
    pictures, base = _prepared(pictures, qp)
    models = networks(config)
    history = History({name: _loaded(network, params[name], skip_blocks) for name, network in models.items()})
    decoded, parts = [], []
    for plan in plans(schedule, config, count):
        name = config.network_of(plan.start)
        members = filled(range(plan.index, plan.index + len(plan.qps)), config[name].pictures)
        packet = _packet(pictures, base, key, members, filled(plan.qps, config[name].pictures), plan.start)
        state = history.state(name, plan.start, plan.refresh, packet.pictures.shape)
        synthesis, bits, latents = _code(models[name], params[name], packet, state, skip_blocks)
        history.keep(name, state, synthesis, packet.qps)
        decoded.append(history.pictures[:, : len(plan.qps)])
        parts.append((bits, latents))
    bits, latents = zip(*parts, strict=True)
    return Forward(_to_rgb(decoded, height, width), _stacked(bits), latents)


@functools.partial(jax.jit, static_argnames=("network", "skip_blocks"))
def _code(
    network: Network, params: ParamTree, packet: PacketInput, state: State, skip_blocks: bool
) -> tuple[Synthesis, Bits, Latents]:
    """One packet; a program of its own for each network and structure of the state."""
    symbols = _Observed(_loaded(network, params, skip_blocks), packet)
    latent_size = tuple(side // PICTURE_STRIDE for side in packet.pictures.shape[2:4])
    synthesis = code(_loaded(network, params, skip_blocks), state, packet.qps, latent_size, symbols)
    return synthesis, Bits(symbols.bits_y, symbols.bits_z, symbols.bits_side), symbols.latents


def _loaded(network: Network, params: ParamTree, skip_blocks: bool) -> LoadedNetwork:
    all_symbols = jnp.float32(-1.0)
    return LoadedNetwork(network, params, all_symbols, skip_bits=skip_bits(skip_blocks))


@jax.jit
def _prepared(clips: Array, qp: Array) -> tuple[Array, Array]:
    """Clips [B, T, H, W, 3] to YCbCr, padded to a multiple of 16, and the base qp of each, [B]."""
    pictures = rgb_to_ycbcr(clips.astype(jnp.float32) / (255.0 if clips.dtype == jnp.uint8 else 1.0))
    flat = pad_to_multiple(pictures.reshape(-1, *clips.shape[2:]), PICTURE_STRIDE)
    return flat.reshape(*clips.shape[:2], *flat.shape[1:]), jnp.broadcast_to(qp, clips.shape[:1])


@functools.partial(jax.jit, static_argnames="start")
def _packet(
    pictures: Array, base: Array, key: Array | None, members: tuple[int, ...], offsets: tuple[float, ...], start: bool
) -> PacketInput:
    """The input of a packet, by the numbers of its pictures and what is added to their qps."""
    qps = base[:, None] + jnp.stack(offsets).astype(jnp.float32)
    keys = None if key is None else jax.random.split(jax.random.fold_in(key, members[0]), len(base))
    return PacketInput(pictures[:, jnp.stack(members)], jnp.minimum(qps, QP_LEVELS - 1) if start else qps, keys)


@functools.partial(jax.jit, static_argnames=("height", "width"))
def _to_rgb(pictures: list[Array], height: int, width: int) -> Array:
    """The pictures of all packets, cropped."""
    return ycbcr_to_rgb(jnp.concatenate(pictures, axis=1)[:, :, :height, :width])


@jax.jit
def _stacked(bits: tuple[Bits, ...]) -> Bits:
    """Those of all packets, [B, P]."""
    return Bits(*(jnp.stack([getattr(packet, part) for packet in bits], axis=1) for part in ("y", "z", "side")))


@jax.jit
def _first(coded: Any) -> Any:
    """Without the axis of clips."""
    return jax.tree.map(lambda x: x[0], coded)


def plans(schedule: Schedule, config: CodecConfig, count: int) -> Iterator[PacketPlan]:
    """The packets that an encoder makes of so many pictures."""
    index = 0
    while index < count:
        pictures = config[config.network_of(schedule.starts(index))].pictures
        plan = schedule.packet(index, min(schedule.room(index, pictures), count - index))
        yield plan
        index += len(plan.qps)


class _Observed(Relax):
    """Relaxed symbols that are kept, with what was known about them. Without noise the rate has a gradient, too."""

    def __init__(self, loaded: LoadedNetwork, packet: PacketInput) -> None:
        super().__init__(loaded, packet)
        if packet.keys is None:
            self._noisy = [round_ste] * len(self._noisy)
        self._kept: list[tuple[Array, ...]] = []

    def z(self, context: Callable[[], Any]) -> Array:
        """See `SymbolSource`."""
        symbols = super().z(context)
        self._z_hat = from_coder_order(symbols)
        return symbols

    def y(self, step: int, gain: Any, coding: CodingStep) -> Array:
        """See `SymbolSource`."""
        symbols = super().y(step, gain, coding)
        self._scaled = self._y * gain
        known = from_coder_order(symbols) + coding.mean, coding.mean, from_coder_order(coding.scale)
        self._kept.append(tuple(unfold(x, self._steps, step) for x in known))
        return symbols

    @property
    def latents(self) -> Latents:
        """All of them, after the loop; steps fill different positions."""
        y_hat, mean, scale = (functools.reduce(jnp.add, steps) for steps in zip(*self._kept, strict=True))
        return Latents(self._scaled, y_hat, mean, scale, self._z_hat)


def _checked(clip: Array) -> Array:
    shape, dtype = getattr(clip, "shape", None), getattr(clip, "dtype", None)
    if shape is None or dtype is None:
        raise VideoError(f"the clip is of type {type(clip).__name__}; give an array, RGB [T, H, W, 3] in 0..1.")
    known = jnp.issubdtype(dtype, jnp.floating) or dtype == jnp.uint8
    if len(shape) not in (4, 5) or shape[-1] != 3 or 0 in shape or not known:
        raise VideoError(
            f"the clip is {dtype}{list(shape)}; give RGB [T, H, W, 3] or [B, T, H, W, 3], uint8 or real in 0..1."
        )
    return jnp.asarray(clip)


def _checked_qp(qp: Array | float) -> Array:
    values = jnp.asarray(qp, jnp.float32)
    if not isinstance(values, jax.core.Tracer):
        outside = [float(value) for value in values.ravel() if not 0 <= value <= QP_LEVELS - 1]
        if outside:
            raise ConfigError(f"qp is {outside[0]:g}; it must be from 0 to {QP_LEVELS - 1}.")
    return values
