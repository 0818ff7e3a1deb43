"""A clip through both codecs, differentiable, with estimated rates (D8)."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.entropy.motion import motion_bits
from nvc_jax.models.inter import InterModel
from nvc_jax.models.intra import IntraModel
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Reference, reference_after
from nvc_jax.ops import motion
from nvc_jax.ops.latents import fold, unfold
from nvc_jax.training.surrogates import add_uniform_noise, gaussian_bits, likelihood_bits, round_ste

Kept = TypeVar("Kept")


@flax.struct.dataclass
class Coded:
    """One coded frame.

    Attributes:
        picture: [B, H, W, 3] float32, not rounded.
        feature: decoder feature [B, H/8, W/8, C].
        bits_y: [B] estimated bits of y.
        bits_z: [B] estimated bits of z.
        bits_motion: [B] bits of the motion of blocks, 0 without motion.
    """

    picture: Array
    feature: Array
    bits_y: Array
    bits_z: Array
    bits_motion: Array

    @property
    def bits(self) -> Array:
        """All of them, [B]."""
        return self.bits_y + self.bits_z + self.bits_motion


@flax.struct.dataclass
class FrameInput:
    """What a frame is coded with; several frames have one more axis in front.

    Attributes:
        picture: [B, H, W, 3] YCbCr in 0..1, float32.
        qp: [B] float32, offset included.
        keys: [B] for the noise; None: the rate is that of the rounded symbols.
        aux: whatever `keep` of `code_frames` needs to know about the frame.
    """

    picture: Array
    qp: Array
    keys: Array | None
    aux: Any = None


def code_frame(
    model: IntraModel | InterModel,
    params: ParamTree,
    frame: FrameInput,
    reference: Reference | None,
    precision: str = "float32",
    skip: bool = False,
) -> Coded:
    """Code one frame: straight-through rounding towards the picture, uniform noise towards the rate.

    Latents, likelihoods and pictures are float32 in any case.

    Args:
        model: intra or inter network.
        params: its parameters, float32, so that the gradients of the frames of a clip add up in float32.
        frame: what to code.
        reference: None for intra.
        precision: that the networks compute in.
        skip: with motion, leave out blocks as the encoder does.
    """
    params, dtype = cast(params, precision), jnp.dtype(precision)
    qp = frame.qp

    def apply(method: str, *args: object) -> Any:
        return model.apply({"params": params}, *args, method=method)

    features, temporal, context = None, None, None
    prediction, skipped, bits_motion = None, None, jnp.zeros(len(qp))
    if reference is not None:
        if model.config.motion:
            prediction, skipped, bits_motion = motion_compensated(reference.value, frame, skip)
            reference = Reference(prediction, "picture")
        reference = Reference(reference.value.astype(dtype), reference.kind)
        features, temporal = apply("temporal", reference, qp)
        context = apply("context", features)
    y, z = (latent.astype(jnp.float32) for latent in apply("analyse", frame.picture.astype(dtype), context, qp))

    steps = model.config.steps
    noisy: list[Callable[[Array], Array]] = [jnp.round] * (1 + steps)
    if frame.keys is not None:
        keys = jax.vmap(lambda key: jax.random.split(key, 1 + steps), out_axes=1)(frame.keys)
        noisy = [functools.partial(jax.vmap(add_uniform_noise), key=step_keys) for step_keys in keys]
    z_noisy = noisy[0](z)
    z_likelihood = apply("z_cdf", z_noisy + 0.5, qp) - apply("z_cdf", z_noisy - 0.5, qp)
    prior = apply("prior", round_ste(z).astype(dtype), temporal, y.shape[1:3])

    y = y * prior.gain_in
    y_hat = jnp.zeros_like(y)
    bits_y = jnp.zeros(y.shape[0])
    scale, mean = prior.scale, prior.mean
    for step in range(steps):
        if step > 0:
            scale, mean = apply("refine", step, prior.shared, y_hat.astype(dtype))
        active_mean = fold(mean, steps, step)
        residual = fold(y, steps, step) - active_mean
        bits = gaussian_bits(noisy[1 + step](residual), fold(scale, steps, step))
        if skipped is not None:
            residual, bits = (jnp.where(skipped[..., None], 0.0, x) for x in (residual, bits))
        bits_y = bits_y + bits.sum(axis=(1, 2, 3))
        y_hat = y_hat + unfold(round_ste(residual) + active_mean, steps, step)

    feature = apply("synthesise", (y_hat * prior.gain_out).astype(dtype), context, qp)
    picture = apply("reconstruct", feature, qp).astype(jnp.float32)
    if prediction is not None and skipped is not None:
        picture = motion.replace_skipped(picture, prediction, skipped)
    return Coded(
        picture=picture,
        feature=feature,
        bits_y=bits_y,
        bits_z=likelihood_bits(z_likelihood).sum(axis=(1, 2, 3)),
        bits_motion=bits_motion,
    )


def code_inter_frames(
    model: InterModel,
    params: ParamTree,
    frames: FrameInput,
    first: Array,
    keep: Callable[[Coded, FrameInput], Kept],
    refresh: int = 0,
    remat: bool = False,
    precision: str = "float32",
    skip: bool = False,
) -> Kept:
    """Code the inter frames of a clip, as the encoder would: a scan with the reference buffer as carry.

    Args:
        model: inter network.
        params: its parameters, float32.
        frames: T frames, every array with T in front.
        first: [B, H, W, 3], the picture that the first one is predicted from.
        keep: what of a coded frame is kept.
        refresh: see `Stage`.
        remat: compute activations again on the way back.
        precision: that the network computes in.
        skip: with motion, leave out blocks as the encoder does.

    Returns:
        What is kept, of all frames, with T in front.
    """

    def code(reference: Reference, frame: FrameInput) -> tuple[Coded, Kept]:
        coded = code_frame(model, params, frame, reference, precision, skip)
        return coded, keep(coded, frame)

    def step(carry: tuple[Array, Array], frame: FrameInput) -> tuple[tuple[Array, Array], Kept]:
        coded, kept = code(reference_after(model.config, *carry), frame)
        return (coded.feature, coded.picture if refresh else carry[1]), kept

    def step_from_picture(picture: Array, frame: FrameInput) -> tuple[Array, Kept]:
        coded, kept = code(Reference(picture, "picture"), frame)
        return coded.picture, kept

    if remat:
        code = jax.checkpoint(code)  # type: ignore[assignment]
    if model.config.motion:  # every frame starts from a picture: one program for all
        return jax.lax.scan(step_from_picture, first, frames)[1]
    kept_of_runs = []
    for run in runs(frames, refresh):
        # The first frame of a run goes through another adaptor: no matter of data but of the network.
        coded, kept_first = code(Reference(first, "picture"), jax.tree.map(lambda x: x[0], run))
        carry = (coded.feature, coded.picture)
        kept_of_runs.append(jax.tree.map(lambda x: x[None], kept_first))
        if len(run.qp) > 1:
            carry, kept_rest = jax.lax.scan(step, carry, jax.tree.map(lambda x: x[1:], run))
            kept_of_runs.append(kept_rest)
        first = carry[1]
    return joined(kept_of_runs)


def motion_compensated(picture: Array, frame: FrameInput, skip: bool) -> tuple[Array, Array | None, Array]:
    """The picture before a frame, moved to be like it. No gradient goes through the encoder's choices.

    Returns:
        The prediction [B, H, W, 3], which blocks are skipped [B, H/16, W/16], if any may be, and the bits of the motion
        of blocks [B].
    """
    vectors = motion.estimate(frame.picture, jax.lax.stop_gradient(picture), frame.qp)
    prediction = motion.compensate(picture, vectors)
    if not skip:
        return prediction, None, motion_bits(jnp.pad(vectors, ((0, 0), (0, 0), (0, 0), (0, 1))), jnp)
    skipped = motion.skippable(frame.picture, jax.lax.stop_gradient(prediction), frame.qp)
    blocks = jnp.concatenate([vectors, skipped[..., None].astype(jnp.int8)], axis=-1)
    return prediction, skipped, motion_bits(blocks, jnp)


def joined(parts: Sequence[Kept]) -> Kept:
    """Trees of arrays, one after the other along the first axis."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def runs(frames: FrameInput, refresh: int) -> Sequence[FrameInput]:
    """The frames cut before every one that starts from a picture."""
    count = len(frames.qp)
    length = refresh or count
    return [jax.tree.map(lambda x, i=i: x[i : i + length], frames) for i in range(0, count, length)]


def cast(params: ParamTree, dtype: Any) -> ParamTree:
    """Parameters as the networks compute with them; the prior of z stays in float32."""
    return {
        name: leaf if name == "z_prior" else jax.tree.map(lambda x: x.astype(dtype), leaf)
        for name, leaf in params.items()
    }
