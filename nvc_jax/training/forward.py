"""A clip through both codecs, differentiable, with estimated rates."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.models.config import CodecConfig
from nvc_jax.models.inter import InterModel
from nvc_jax.models.intra import IntraModel
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Reference
from nvc_jax.ops.latents import fold, unfold
from nvc_jax.spec import QP_OFFSETS
from nvc_jax.training.surrogates import add_uniform_noise, gaussian_bits, likelihood_bits, round_ste


@flax.struct.dataclass
class Coded:
    """One coded frame.

    Attributes:
        picture: [B, H, W, 3], not rounded.
        feature: decoder feature [B, H/8, W/8, C].
        bits_y: [B] estimated bits of y.
        bits_z: [B] estimated bits of z.
    """

    picture: Array
    feature: Array
    bits_y: Array
    bits_z: Array


def code_frame(
    model: IntraModel | InterModel,
    params: ParamTree,
    picture: Array,
    reference: Reference | None,
    qp: Array,
    key: Array,
) -> Coded:
    """Code one frame: straight-through rounding towards the picture, uniform noise towards the rate.

    Args:
        model: intra or inter network.
        params: its parameters.
        picture: [B, H, W, 3] YCbCr in 0..1.
        reference: None for intra.
        qp: [B] float32, offset included.
        key: for the noise.
    """

    def apply(method: str, *args: object) -> Any:
        return model.apply({"params": params}, *args, method=method)

    features, temporal = apply("temporal", reference, qp) if reference is not None else (None, None)
    context = apply("context", features) if reference is not None else None
    y, z = apply("analyse", picture, context, qp)

    steps = model.config.steps
    key_z, *keys = jax.random.split(key, 1 + steps)
    z_noisy = add_uniform_noise(z, key_z)
    z_likelihood = apply("z_cdf", z_noisy + 0.5, qp) - apply("z_cdf", z_noisy - 0.5, qp)
    prior = apply("prior", round_ste(z), temporal, y.shape[1:3])

    y = y * prior.gain_in
    y_hat = jnp.zeros_like(y)
    bits_y = jnp.zeros(y.shape[0])
    scale, mean = prior.scale, prior.mean
    for step in range(steps):
        if step > 0:
            scale, mean = apply("refine", step, prior.shared, y_hat)
        active_mean = fold(mean, steps, step)
        residual = fold(y, steps, step) - active_mean
        bits = gaussian_bits(add_uniform_noise(residual, keys[step]), fold(scale, steps, step))
        bits_y = bits_y + bits.sum(axis=(1, 2, 3))
        y_hat = y_hat + unfold(round_ste(residual) + active_mean, steps, step)

    feature = apply("synthesise", y_hat * prior.gain_out, context, qp)
    return Coded(
        picture=apply("reconstruct", feature, qp),
        feature=feature,
        bits_y=bits_y,
        bits_z=likelihood_bits(z_likelihood).sum(axis=(1, 2, 3)),
    )


def code_clip(config: CodecConfig, params: ParamTree, clip: Array, qp: Array, first: Array, key: Array) -> list[Coded]:
    """Code an intra frame and the inter frames after it, as the encoder would.

    Args:
        config: architecture.
        params: {"intra": tree, "inter": tree}.
        clip: [T, B, H, W, 3].
        qp: [B] base qp.
        first: scalar, number in the sequence (mod 8) of the first inter frame; it sets the hierarchical offsets.
        key: for the noise.
    """
    intra, inter = IntraModel(config.intra), InterModel(config.inter)
    keys = jax.random.split(key, len(clip))
    coded = [code_frame(intra, params["intra"], clip[0], None, qp, keys[0])]
    # The picture codec is trained by its own loss alone, as with the official frozen image model.
    reference = Reference(jax.lax.stop_gradient(coded[0].picture), "picture")
    offsets = jnp.array(QP_OFFSETS, jnp.float32)
    for number in range(1, len(clip)):
        frame_qp = qp + offsets[(first + number - 1) % len(QP_OFFSETS)]
        coded.append(code_frame(inter, params["inter"], clip[number], reference, frame_qp, keys[number]))
        reference = Reference(coded[-1].feature, "feature")
    return coded
