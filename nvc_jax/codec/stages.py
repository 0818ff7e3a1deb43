"""The stages of a frame, compiled (D2).

Everything that feeds the entropy coder or the reference buffer is one of these functions, and encoder and decoder call
the same ones: two different XLA programs may differ in the last bit, and one flipped bit loses a stream. Only
`estimate`, `skip`, `analyse` and `quantise` are the encoder's own, and nothing but integers leaves them.

All are batched; symbols and table indexes are in the coder's order, [B, C, h, w] with h and w at 1/16 (z: 1/64).
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.models.inter import InterModel
from nvc_jax.models.intra import IntraModel
from nvc_jax.models.params import ParamTree, modules_of
from nvc_jax.models.state import Prior, Reference, Synthesis
from nvc_jax.ops import colour
from nvc_jax.ops import motion as block_motion
from nvc_jax.ops.arithmetic import arithmetic, to_precision
from nvc_jax.ops.latents import fold, from_coder_order, to_coder_order, unfold
from nvc_jax.ops.pixels import pad_to_multiple
from nvc_jax.spec import NOT_CODED, PICTURE_STRIDE

Model = IntraModel | InterModel


@flax.struct.dataclass
class CodingStep:
    """What both sides know before the symbols of a coding step.

    Attributes:
        mean: [B, h, w, C/steps] float32 (int16 in the int16 arithmetic), folded.
        scale: [B, C/steps, h, w] of the same type, what the indexes were made of; 0 in skipped blocks.
        indexes: [B, C/steps, h, w] uint8 rows of the Gaussian table; NOT_CODED symbols are zero.
    """

    mean: Array
    scale: Array
    indexes: Array


def precision(params: ParamTree) -> Any:
    """The dtype of the parameters is that of the computation; the banks tell, kernels may be prepared."""
    return params["q_encoder"]["vectors"].dtype


def _network_stage(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function of a model and its parameters; it is given those of the modules that it runs.

    Passing a tree costs the host about 1 us for each of its arrays, at every call: 0.3 ms for a whole network.
    """

    def compile_it(function: Callable[..., Any]) -> Any:
        compiled = jax.jit(function, **options)

        @functools.wraps(function)
        def call(model: Model, params: ParamTree, *inputs: Any, **named: Any) -> Any:
            return compiled(
                model, modules_of(params, (*model.modules[function.__name__], "q_encoder")), *inputs, **named
            )

        call.compiled = compiled  # type: ignore[attr-defined]
        return call

    return compile_it


def run(model: Model, params: ParamTree, method: str | Callable[..., Any], *inputs: object) -> Any:
    """Call a method of the model, or a function of it. Products of float32 parameters are not shortened to TF32."""
    with jax.default_matmul_precision("highest" if precision(params) == jnp.float32 else "default"):
        return model.apply({"params": params}, *inputs, method=method)


@jax.jit
def picture_from_planes(y: Array, u: Array, v: Array) -> Array:
    """8-bit 4:2:0 planes [B, H, W], [B, H/2, W/2] to a picture [B, H', W', 3], padded to a multiple of 16."""
    return pad_to_multiple(colour.planes_to_picture(y, u, v), PICTURE_STRIDE)


@jax.jit
def picture_from_rgb(rgb: Array) -> Array:
    """8-bit RGB [B, H, W, 3] to a picture [B, H', W', 3], padded to a multiple of 16."""
    return pad_to_multiple(colour.rgb_to_ycbcr(rgb.astype(jnp.float32) / 255.0), PICTURE_STRIDE)


@functools.partial(jax.jit, static_argnames=("width", "height"))
def planes_from_picture(picture: Array, width: int, height: int) -> tuple[Array, Array, Array]:
    """A picture, cropped, as 8-bit planes."""
    return colour.picture_to_planes(picture[:, :height, :width])


@functools.partial(jax.jit, static_argnames=("width", "height"))
def rgb_from_picture(picture: Array, width: int, height: int) -> Array:
    """A picture, cropped, as 8-bit RGB [B, H, W, 3]."""
    return colour.picture_to_rgb(picture[:, :height, :width])


@jax.jit
def estimate(picture: Array, reference: Array, qp: Array) -> Array:
    """Encoder only. How the blocks of the reference picture move, [B, H'/16, W'/16, 2] int8."""
    return block_motion.estimate(picture, reference, qp)


@jax.jit
def compensate(reference: Array, vectors: Array) -> Array:
    """The reference picture with its blocks moved."""
    return block_motion.compensate(reference, vectors)


@functools.partial(jax.jit, static_argnames="allowed")
def skip(picture: Array, prediction: Array, vectors: Array, qp: Array, allowed: bool) -> Array:
    """Encoder only. The motion of blocks [B, H'/16, W'/16, 3] int8: vectors, and which blocks are not worth coding."""
    skipped = block_motion.skippable(picture, prediction, qp) & allowed
    return jnp.concatenate([vectors, skipped[..., None].astype(jnp.int8)], axis=-1)


@_network_stage(static_argnames="model")
def temporal(model: Model, params: ParamTree, reference: Reference, qp: Array) -> tuple[Array, Array]:
    """First part of feature extraction: features for `context`, and what `prior` reads."""
    reference = Reference(to_precision(reference.value, precision(params)), reference.kind)
    return run(model, params, "temporal", reference, qp)


@_network_stage(static_argnames="model")
def context(model: Model, params: ParamTree, features: Array) -> Array:
    """Second part of feature extraction, [B, H/8, W/8, C]; the decoder runs it while the host decodes symbols."""
    return run(model, params, "context", features)


@_network_stage(static_argnames="model")
def analyse(model: Model, params: ParamTree, picture: Array, context: Array | None, qp: Array) -> tuple[Array, Array]:
    """Encoder only. Picture to y [B, H/16, W/16, C] float32 (or int16) and the symbols of z."""
    y, z = run(model, params, "analyse", to_precision(picture, precision(params)), context, qp)
    ops = arithmetic(z)
    return ops.widen(y), to_coder_order(ops.to_symbols(z, jnp.zeros_like(z)))


@_network_stage(static_argnames=("model", "latent_size"))
def prior(
    model: Model,
    params: ParamTree,
    z: Array,
    temporal: Array | None,
    skip_threshold: Array,
    latent_size: tuple[int, ...],
    motion: Array | None = None,
) -> tuple[Prior, CodingStep]:
    """Symbols of z to the prior of y and the first coding step.

    latent_size: (H/16, W/16); motion: of blocks [B, H/16, W/16, 3], nothing of y is coded where they are skipped.
    """
    dtype = precision(params)
    nothing = jnp.zeros((), dtype)
    z_hat = arithmetic(nothing).from_symbols(from_coder_order(z), nothing)
    result: Prior = run(model, params, "prior", z_hat.astype(dtype), temporal, latent_size)
    steps = model.config.steps
    return result, _coding_step(result.scale, result.mean, steps, 0, skip_threshold, motion)


@functools.partial(jax.jit, static_argnames=("steps", "step"))
def quantise(y: Array, gain: Any, coding: CodingStep, steps: int, step: int, zero_below: Array | None = None) -> Array:
    """Encoder only. The symbols of a coding step; zero_below: see `FrameCodec`."""
    ops = arithmetic(y)
    scaled = fold(ops.multiply(y, gain), steps, step)
    symbols = to_coder_order(ops.to_symbols(scaled, coding.mean))
    if zero_below is not None:
        distance = jnp.abs(to_coder_order(scaled.astype(zero_below.dtype) - coding.mean))
        symbols = jnp.where(distance < zero_below[coding.indexes], jnp.int8(0), symbols)
    return jnp.where(coding.indexes == NOT_CODED, jnp.int8(0), symbols)


@_network_stage(static_argnames=("model", "step"))
def refine(
    model: Model,
    params: ParamTree,
    step: int,
    shared: Array,
    y_hat: Array | None,
    coding: CodingStep,
    symbols: Array,
    skip_threshold: Array,
    motion: Array | None = None,
) -> tuple[Array, CodingStep]:
    """The symbols of step - 1 to what is known of y after it, and to coding step `step`; motion: see `prior`."""
    steps = model.config.steps
    y_hat = _add_step(y_hat, coding, symbols, steps, step - 1)
    scale, mean = run(model, params, "refine", step, shared, y_hat.astype(precision(params)))
    return y_hat, _coding_step(scale, mean, steps, step, skip_threshold, motion)


@_network_stage(static_argnames="model")
def synthesise(
    model: Model,
    params: ParamTree,
    gain: Array,
    y_hat: Array | None,
    coding: CodingStep,
    symbols: Array,
    context: Array | None,
    qp: Array,
) -> Array:
    """The symbols of the last step to the decoder feature [B, H/8, W/8, C]."""
    steps = model.config.steps
    y_hat = _add_step(y_hat, coding, symbols, steps, steps - 1)
    y_hat = arithmetic(y_hat).multiply(y_hat, gain)
    return run(model, params, "synthesise", y_hat.astype(precision(params)), context, qp)


@_network_stage(static_argnames="model")
def reconstruct(model: Model, params: ParamTree, synthesis: Synthesis, qp: Array) -> Array:
    """Decoder feature, or prediction where blocks are skipped, to picture [B, H', W', 3] float32 in 0..1 (or int16)."""
    picture = run(model, params, "reconstruct", synthesis.feature, qp)
    picture = arithmetic(picture).widen(picture)
    if synthesis.moved is None:
        return picture
    return block_motion.replace_skipped(picture, synthesis.moved.prediction, synthesis.moved.motion[..., 2] != 0)


@jax.jit
def pack(arrays: list[Array]) -> Array:
    """All symbols and indexes of a batch of frames in one buffer [B, bytes] uint8: one copy to the host."""
    return jnp.concatenate([jax.lax.bitcast_convert_type(x, jnp.uint8).reshape(len(x), -1) for x in arrays], axis=1)


def _coding_step(
    scale: Array, mean: Array, steps: int, step: int, skip_threshold: Array, motion: Array | None
) -> CodingStep:
    scale = to_coder_order(fold(scale, steps, step))
    indexes = arithmetic(scale).table_indexes(scale, skip_threshold)
    if motion is not None:
        skipped = motion[:, None, :, :, 2] != 0
        scale, indexes = jnp.where(skipped, 0, scale), jnp.where(skipped, jnp.uint8(NOT_CODED), indexes)
    return CodingStep(mean=fold(mean, steps, step), scale=scale, indexes=indexes)


def _add_step(y_hat: Array | None, coding: CodingStep, symbols: Array, steps: int, step: int) -> Array:
    """y_hat is zero where this step decodes, so their sum needs no saturation."""
    values = arithmetic(coding.mean).from_symbols(from_coder_order(symbols), coding.mean)
    decoded = unfold(values, steps, step)
    return decoded if y_hat is None else y_hat + decoded
