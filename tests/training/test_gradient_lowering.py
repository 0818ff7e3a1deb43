"""Loss and gradient of a clip lower for cpu, cuda and tpu, whatever machine the tests run on."""

import jax
import jax.numpy as jnp

from nvc_jax.models.config import tiny
from nvc_jax.models.params import parameter_shapes, unflatten
from nvc_jax.training.forward import code_clip
from nvc_jax.training.losses import distortion, rate_weight

PLATFORMS = ("cpu", "cuda", "tpu")
FRAMES, BATCH, SIDE = 3, 2, 576  # large pictures have code of their own


def loss(params, clip, qp, first, key):
    """Lambda * distortion + bits per pixel, over an intra frame and two inter frames."""
    coded = code_clip(tiny, params, clip, qp, first, key)
    errors = sum(distortion(frame.picture, picture) for frame, picture in zip(coded, clip, strict=True))
    bits = sum(frame.bits_y + frame.bits_z for frame in coded)
    return jnp.mean(rate_weight(qp, 1.0, 768.0) * errors + bits / SIDE**2)


def test_value_and_gradient_of_a_clip():
    params = unflatten({n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in parameter_shapes(tiny).items()})
    inputs = (
        params,
        jax.ShapeDtypeStruct((FRAMES, BATCH, SIDE, SIDE, 3), jnp.float32),
        jax.ShapeDtypeStruct((BATCH,), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.int32),
        jax.eval_shape(jax.random.key, 0),
    )
    exported = jax.export.export(jax.jit(jax.value_and_grad(loss)), platforms=PLATFORMS)(*inputs)
    assert exported.platforms == PLATFORMS
    assert [out.shape for out in exported.out_avals] == [(), *(leaf.shape for leaf in jax.tree.leaves(params))]
