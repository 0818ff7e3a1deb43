"""The stages of a packet, compiled (D2).

Everything that feeds the entropy coder or the state is one of these functions, and encoder and decoder call the same
ones: two different XLA programs may differ in the last bit, and one flipped bit loses a stream. Those marked "Encoder
only" give it integers, or take away from what the shared ones gave; `latents` is training's.

All are batched: pictures [B, T, H', W', 3], qps [B, T]. Symbols and table indexes are in the coder's order,
[B, C, h, w] with h and w at 1/16 (z: 1/64).
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.entropy.tables import gaussian_bits
from nvc_jax.models.config import PATCH
from nvc_jax.models.network import Network, State
from nvc_jax.models.params import ParamTree, dtype, modules_of
from nvc_jax.models.state import Prior, SideInformation, Synthesis
from nvc_jax.ops import colour
from nvc_jax.ops.arithmetic import arithmetic, as_read, to_precision
from nvc_jax.ops.latents import fold, from_coder_order, to_coder_order, unfold
from nvc_jax.ops.pixels import pad_to_multiple, to_patches
from nvc_jax.spec import NOT_CODED, PICTURE_STRIDE


@flax.struct.dataclass
class CodingStep:
    """Knowledge of both sides before the symbols of a coding step.

    Attributes:
        mean: [B, h, w, C/steps] float32 (int16 in the int16 arithmetic), folded.
        scale: [B, C/steps, h, w] of the same type; 0 where nothing is coded.
        indexes: [B, C/steps, h, w] uint8 rows of the Gaussian table; NOT_CODED symbols are zero.
    """

    mean: Array
    scale: Array
    indexes: Array


def _network_stage(*static: str, method: str = "") -> Callable[[Callable[..., Any]], Any]:
    """Compile a function of a network and its parameters; it is given those of the modules that its method runs.

    Passing a tree costs the host about 1 us for each of its arrays, at every call: 0.3 ms for a whole network.
    """

    def compile_it(function: Callable[..., Any]) -> Any:
        compiled = jax.jit(function, static_argnames=("network", *static))

        @functools.wraps(function)
        def call(network: Network, params: ParamTree, *inputs: Any) -> Any:
            modules = network.modules[method or function.__name__]
            return compiled(network, modules_of(params, (*modules, network.bank)), *inputs)

        call.compiled = compiled  # type: ignore[attr-defined]
        call.traced = function  # type: ignore[attr-defined]
        return call

    return compile_it


def run(network: Network, params: ParamTree, method: str | Callable[..., Any], *inputs: object) -> Any:
    """Call a method of the network, or a function of it. Float32 products are not shortened to TF32 by default."""
    chosen = getattr(jax.config, "jax_default_matmul_precision", None)  # by training
    exact = dtype(params) == jnp.float32 and chosen is None
    with jax.default_matmul_precision("highest") if exact else contextlib.nullcontext():
        return network.apply({"params": params}, *inputs, method=method)


@jax.jit
def pictures_from_planes(y: Array, u: Array, v: Array) -> Array:
    """8-bit 4:2:0 planes [T, H, W], [T, H/2, W/2] to pictures [1, T, H', W', 3], padded to a multiple of 16."""
    return pad_to_multiple(colour.planes_to_picture(y, u, v), PICTURE_STRIDE)[None]


@jax.jit
def pictures_from_rgb(rgb: Array) -> Array:
    """8-bit RGB [T, H, W, 3] to pictures [1, T, H', W', 3], padded to a multiple of 16."""
    return pad_to_multiple(colour.rgb_to_ycbcr(rgb.astype(jnp.float32) / 255.0), PICTURE_STRIDE)[None]


@functools.partial(jax.jit, static_argnames=("width", "height"))
def planes_from_pictures(pictures: Array, width: int, height: int) -> tuple[Array, Array, Array]:
    """Pictures [1, T, ...], cropped, as 8-bit planes [T, ...]."""
    return colour.picture_to_planes(pictures[0, :, :height, :width])


@functools.partial(jax.jit, static_argnames=("width", "height"))
def rgb_from_pictures(pictures: Array, width: int, height: int) -> Array:
    """Pictures [1, T, ...], cropped, as 8-bit RGB [T, H, W, 3]."""
    return colour.picture_to_rgb(pictures[0, :, :height, :width])


@_network_stage()
def features(network: Network, params: ParamTree, state: State, qps: Array) -> tuple[Array, Array]:
    """First part of feature extraction: features for `context`, and the temporal input of `prior`."""
    state = jax.tree.map(lambda x: x if x.dtype == bool else as_read(x, dtype(params)), state)
    return run(network, params, "features", state, qps)


@_network_stage()
def context(network: Network, params: ParamTree, features: Array) -> Array:
    """Second part of feature extraction, [B, H/8, W/8, C]; the decoder runs it while the host decodes symbols."""
    return run(network, params, "context", features)


@_network_stage(method="analyse")
def latents(
    network: Network,
    params: ParamTree,
    pictures: Array,
    context: Array | None,
    qps: Array,
    side: SideInformation | None = None,
) -> tuple[Array, Array]:
    """Pictures to y [B, H/16, W/16, C] and z [B, H/64, W/64, C], float32 (or int16), not rounded."""
    pictures = to_precision(pictures, network.picture_type(dtype(params)))
    source = as_read(network.source(pictures, side), dtype(params))
    y, z = run(network, params, "analyse", source, context, qps)
    ops = arithmetic(z)
    return ops.widen(y), ops.widen(z)


@_network_stage()
def analyse(
    network: Network,
    params: ParamTree,
    pictures: Array,
    context: Array | None,
    qps: Array,
    side: SideInformation | None = None,
) -> tuple[Array, Array]:
    """Encoder only. Pictures to y and the symbols of z."""
    y, z = latents.traced(network, params, pictures, context, qps, side)
    return y, to_coder_order(arithmetic(z).to_symbols(z, jnp.zeros_like(z)))


@_network_stage("latent_size")
def prior(
    network: Network,
    params: ParamTree,
    z: Array,
    temporal: Array | None,
    skip_threshold: Array,
    latent_size: tuple[int, ...],
    side: SideInformation | None = None,
) -> tuple[Prior, CodingStep]:
    """Symbols of z to the prior of y and the first coding step; latent_size: (H/16, W/16)."""
    nothing = jnp.zeros((), dtype(params))
    z_hat = arithmetic(nothing).from_symbols(from_coder_order(z), nothing)
    result: Prior = run(network, params, "prior", z_hat.astype(nothing.dtype), temporal, latent_size)
    return result, _coding_step(network, 0, result.scale, result.mean, skip_threshold, side)


@functools.partial(jax.jit, static_argnames="network")
def leave_out(network: Network, coding: CodingStep, side: SideInformation) -> CodingStep:
    """Encoder only. A coding step, now without the positions that `side` leaves out as well."""
    return CodingStep(coding.mean, *_without(network, coding.scale, coding.indexes, side))


@functools.partial(jax.jit, static_argnames=("steps", "step"))
def quantise(y: Array, gain: Any, coding: CodingStep, steps: int, step: int, zero_below: Array | None = None) -> Array:
    """Encoder only. The symbols of a coding step; zero_below: see `LoadedNetwork`."""
    ops = arithmetic(y)
    scaled = fold(ops.multiply(y, gain), steps, step)
    symbols = to_coder_order(ops.to_symbols(scaled, coding.mean))
    if zero_below is not None:
        distance = jnp.abs(to_coder_order(scaled.astype(zero_below.dtype) - coding.mean))
        symbols = jnp.where(distance < zero_below[coding.indexes], jnp.int8(0), symbols)
    return jnp.where(coding.indexes == NOT_CODED, jnp.int8(0), symbols)


@_network_stage("step")
def refine(
    network: Network,
    params: ParamTree,
    step: int,
    shared: Array,
    y_hat: Array | None,
    coding: CodingStep,
    symbols: Array,
    skip_threshold: Array,
    side: SideInformation | None = None,
) -> tuple[Array, CodingStep]:
    """The symbols of step - 1 to y as known after it, and to coding step `step`."""
    y_hat = _add_step(network, step - 1, y_hat, coding, symbols)
    scale, mean = run(network, params, "refine", step, shared, y_hat.astype(dtype(params)))
    return y_hat, _coding_step(network, step, scale, mean, skip_threshold, side)


@_network_stage()
def synthesise(
    network: Network,
    params: ParamTree,
    gain: Array,
    y_hat: Array | None,
    coding: CodingStep,
    symbols: Array,
    context: Array | None,
    qps: Array,
) -> Array:
    """The symbols of the last step to the decoder feature [B, H/8, W/8, C]."""
    y_hat = _add_step(network, network.config.steps - 1, y_hat, coding, symbols)
    y_hat = arithmetic(y_hat).multiply(y_hat, gain)
    return run(network, params, "synthesise", y_hat.astype(dtype(params)), context, qps)


@_network_stage()
def reconstruct(network: Network, params: ParamTree, synthesis: Synthesis, qps: Array) -> Array:
    """Decoder feature to pictures [B, T, H', W', 3] float32 in 0..1 (or int16, or uint16)."""
    return run(network, params, "reconstruct", synthesis.feature, synthesis.side, qps)


@_network_stage(method="reconstruct")
def reconstruct_with_patches(
    network: Network, params: ParamTree, synthesis: Synthesis, qps: Array
) -> tuple[Array, Array]:
    """Training only, of `Inter`. See `reconstruct`; also patches [B, H'/8, W'/8, T*192] of the unclamped pictures."""

    def both(network: Any) -> tuple[Array, Array]:
        pictures = network.unclamped(synthesis.feature, synthesis.side, qps)
        return network.finish(pictures, synthesis.side, qps), to_patches(pictures, PATCH)

    pictures, patches = run(network, params, both)
    return pictures, patches


@_network_stage()
def z_cdf(network: Network, params: ParamTree, x: Array, qps: Array) -> Array:
    """Training only. Cumulative probability of z at x."""
    return run(network, params, "z_cdf", x, qps)


@jax.jit
def bits_of_positions(steps: list[tuple[Array, Array]]) -> Array:
    """Encoder only. Bits of the positions of y, [B, h, w] int32 in 1/256, from the symbols and indexes of its steps."""
    symbols, indexes = (jnp.concatenate(parts, axis=1) for parts in zip(*steps, strict=True))
    return jnp.asarray(gaussian_bits())[indexes, symbols.astype(jnp.int32) + 128].sum(axis=1)


@jax.jit
def pack(arrays: list[Array]) -> Array:
    """All symbols and indexes of a batch of packets in one buffer [B, bytes] uint8: one copy to the host."""
    return jnp.concatenate([jax.lax.bitcast_convert_type(x, jnp.uint8).reshape(len(x), -1) for x in arrays], axis=1)


def _coding_step(
    network: Network, step: int, scale: Array, mean: Array, skip_threshold: Array, side: SideInformation | None
) -> CodingStep:
    steps = network.config.steps
    scale = to_coder_order(fold(scale, steps, step))
    indexes = arithmetic(scale).table_indexes(scale, skip_threshold)
    return CodingStep(fold(mean, steps, step), *_without(network, scale, indexes, side))


def _without(network: Network, scale: Array, indexes: Array, side: SideInformation | None) -> tuple[Array, Array]:
    """Scales and indexes without the positions that side information leaves out."""
    uncoded = network.uncoded(side)
    if uncoded is None:
        return scale, indexes
    return jnp.where(uncoded[:, None], 0, scale), jnp.where(uncoded[:, None], jnp.uint8(NOT_CODED), indexes)


def _add_step(network: Network, step: int, y_hat: Array | None, coding: CodingStep, symbols: Array) -> Array:
    """y_hat is zero where this step decodes, so their sum needs no saturation."""
    values = arithmetic(coding.mean).from_symbols(from_coder_order(symbols), coding.mean)
    decoded = unfold(values, network.config.steps, step)
    return decoded if y_hat is None else y_hat + decoded
