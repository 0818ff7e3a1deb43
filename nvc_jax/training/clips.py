"""A batch as the networks see it: packets, qps, weights and references, drawn by the number of each clip."""

import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.ops.colour import planes_to_picture, rgb_to_ycbcr
from nvc_jax.spec import QP_LEVELS
from nvc_jax.training.config import Stage, TrainConfig
from nvc_jax.training.data import Batch
from nvc_jax.training.forward import PacketInput
from nvc_jax.training.losses import rate_weight


@flax.struct.dataclass
class Clips:
    """A batch as the networks see it.

    Attributes:
        first: the first packet of every clip; None if none is coded before the rest.
        reference: [B, T, H, W, 3] that the rest is predicted from then.
        rest: the n others, with n in front; None if there are none.
        qp: [B] base qp.
    """

    first: PacketInput | None
    reference: Array
    rest: PacketInput | None
    qp: Array


@flax.struct.dataclass
class Weighting:
    """Weights in the loss of a packet, all [B, T].

    Attributes:
        lambda_: of the distortion at this qp.
        weight: of the picture's place in the hierarchy.
        lesson: `distillation.compared` of the teacher; None without one.
    """

    lambda_: Array
    weight: Array
    lesson: dict[str, Array] | None = None


def pictures(planes: tuple[Any, ...]) -> Array:
    """uint8 planes [B, T, ...] to YCbCr pictures [T, B, H, W, 3] in 0..1."""
    in_order = [plane.swapaxes(0, 1) for plane in planes]
    if len(in_order) == 1:
        return rgb_to_ycbcr(in_order[0].astype(jnp.float32) / 255.0)
    return jax.vmap(planes_to_picture)(*in_order)


def prepare(config: TrainConfig, stage: Stage, batch: Batch, key: Array) -> Clips:
    """Draw qps, places in the hierarchy, references and keys of the noise, each for a clip by its number in the run."""
    loss, codec = config.loss, config.codec
    clip = pictures(batch.planes)
    begin, length = config.begin, codec[codec.rest].pictures
    alone = codec.first != codec.rest  # the first picture has a network of its own
    packets = (len(clip) - begin) // length
    keys = jax.vmap(lambda sample: jax.random.split(jax.random.fold_in(key, sample), 3))(batch.sample)
    qp = jax.vmap(lambda k: jax.random.randint(k, (), 0, QP_LEVELS))(keys[:, 0]).astype(jnp.float32)
    start_qp = jnp.minimum(qp + loss.intra_qp_offset, QP_LEVELS - 1.0)
    place = jnp.ones(len(qp), jnp.int32)
    if loss.random_position:
        count = len(loss.qp_offsets) // length
        place = (not alone) + length * jax.vmap(lambda k: jax.random.randint(k, (), 0, count))(keys[:, 1])
    noise = jax.vmap(lambda k: jax.random.split(k, 1 + packets), out_axes=1)(keys[:, 2])
    offsets = jnp.array(loss.qp_offsets, jnp.float32)
    weights = jnp.array([dict(loss.frame_weights)[offset] for offset in loss.qp_offsets])

    reference, starts = jnp.moveaxis(clip[:begin], 0, 1), jnp.bool_(alone)
    if not alone:
        reference, starts = hybrid_reference(stage, reference, jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys[:, 1]))

    def packet(members: Array, first: int, keys: Array) -> PacketInput:
        """Pictures [T, B, ...] of one packet, or [n, T, B, ...]; first: number of the first, from 0."""
        shape = members.shape[:-4]
        number = first + jnp.arange(math.prod(shape)).reshape(shape)
        places = (place + number[..., None] - 1) % len(offsets)
        starting = (number == 0)[..., None] & starts
        start_lambda = rate_weight(start_qp, *(loss.intra_lambda if alone else loss.inter_lambda))
        lambdas = jnp.where(starting, start_lambda, rate_weight(qp, *loss.inter_lambda))
        values = (
            members,
            jnp.where(starting, start_qp, qp + offsets[places]),
            lambdas,
            jnp.where(starting & alone, 1.0, weights[places]),
        )
        members, qps, lambdas, weight = (jnp.moveaxis(x, len(shape) - 1, len(shape)) for x in values)
        return PacketInput(members, qps, keys, Weighting(lambdas, weight))

    coded = alone and stage.first_reference == "coded"
    first = packet(clip[:begin], 0, noise[0]) if coded else None
    if not packets:
        return Clips(first, reference, None, qp)
    rest = clip[begin:].reshape(packets, length, *clip.shape[1:])
    return Clips(first, reference, packet(rest, begin if alone else 0, noise[1:]), qp)


def hybrid_reference(stage: Stage, pictures: Array, keys: Array) -> tuple[Array, Array]:
    """The references of clips that begin without an intra picture: blank, true or noisy (spec ui2c, section 2).

    Args:
        stage: its `references` and `reference_noise`.
        pictures: [B, 1, H, W, 3] before the first packet.
        keys: [B].

    Returns:
        References like `pictures`, and which of them [B] are blank: of clips that start a run.
    """
    limits = jnp.cumsum(jnp.array(stage.references)) / sum(stage.references)

    def draw(picture: Array, key: Array) -> tuple[Array, Array]:
        which, strength, grain = jax.random.split(key, 3)
        position = jax.random.uniform(which)
        noise = jax.random.uniform(strength, maxval=stage.reference_noise) * jax.random.normal(grain, picture.shape)
        blank = position < limits[0]
        return jnp.where(blank, 0.0, picture + jnp.where(position < limits[1], 0.0, noise)), blank

    return jax.vmap(draw)(pictures, keys)
