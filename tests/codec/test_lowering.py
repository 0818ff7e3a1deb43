"""Every coding stage lowers for cpu, cuda and tpu, whatever machine the tests run on; nothing is compiled or run.

In int16 the strategies differ in products only, so one kind of frame shows all of them.
"""

import functools

import jax
import jax.numpy as jnp
import pytest
import synthetic
from recording import MOTION_STAGES, PLATFORMS, SECOND_LOOK_STAGES, STAGES, compiled, lowered, recorded_stages

from nvc_jax.codec import stages
from nvc_jax.codec.floats import XLA
from nvc_jax.codec.integers import strategies_of
from nvc_jax.codec.loop import encode
from nvc_jax.codec.model import PRECISIONS, Codec
from nvc_jax.models.config import PATCH
from nvc_jax.models.state import Feature, Pictures

HEIGHT, WIDTH = 1088, 1920  # lowering takes as long at any size, and large pictures have code of their own
STRATEGIES = sorted({strategy for platform in PLATFORMS for strategy in strategies_of(platform)})
KINDS = ("I", "P with motion", "P from a picture", "P from a feature")
CASES = [
    pytest.param(kind, precision, XLA, marks=() if precision == "float32" else pytest.mark.slow)
    for kind in KINDS
    for precision in PRECISIONS
    if precision != "int16"
]
CASES += [
    pytest.param(kind, "int16", strategies_of("tpu")[-1], marks=() if kind == KINDS[1] else pytest.mark.slow)
    for kind in KINDS[:3]
]
CASES += [pytest.param(KINDS[-1], "int16", strategy, marks=pytest.mark.slow) for strategy in STRATEGIES]


@functools.cache
def make_codec(motion, precision, strategy):
    return Codec(synthetic.tiny_model(motion), precision, strategy)


def lower(function, *inputs, **options):
    """Lower a compiled function for all platforms; gives what it returns, as shapes."""
    return lowered(function, *inputs, **options).out_avals


def shape(dimensions, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dimensions, dtype)


def shapes_of(inputs):
    """Inputs of a stage as shapes; what is static stays."""
    return {
        name: value if isinstance(value, int | float | tuple) or name == "network" else jax.tree.map(jax.typeof, value)
        for name, value in inputs.items()
    }


@pytest.mark.parametrize(("kind", "precision", "strategy"), CASES)
def test_every_stage_of_a_frame(kind, precision, strategy):
    codec = make_codec(kind == "P with motion", precision, strategy)
    loaded = codec.networks(0.12, rdoq=0.06)["intra" if kind == "I" else "inter"]
    dtype = PRECISIONS[precision]
    wide = jnp.int16 if precision == "int16" else jnp.float32
    state = None
    if kind in ("P from a picture", "P with motion"):
        state = Pictures(shape((1, 1, HEIGHT, WIDTH, 3), wide))
    elif kind == "P from a feature":
        features = (1, HEIGHT // PATCH, WIDTH // PATCH, loaded.network.config.width)
        state = Feature(shape(features, dtype))

    def frame(pictures, state, qps):
        _, synthesis = encode(loaded, pictures, state, qps)
        return loaded.reconstruct(synthesis, qps)

    with recorded_stages() as calls:
        jax.eval_shape(frame, shape((1, 1, HEIGHT, WIDTH, 3)), state, shape((1, 1)))
        for call in calls:
            call.inputs.update(shapes_of(call.inputs))  # while their tracers live
    expected = set(STAGES) - ({"features", "context"} if state is None else set())
    expected |= set(MOTION_STAGES + SECOND_LOOK_STAGES if kind == "P with motion" else ())
    assert {call.stage for call in calls} == expected
    for call in calls:
        lower(compiled(call.stage), **call.inputs)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int16])
def test_pictures_in_and_out(dtype):
    luma, chroma = shape((1, 1080, 1920), jnp.uint8), shape((1, 540, 960), jnp.uint8)
    rgb, pictures = shape((1, 1080, 1920, 3), jnp.uint8), shape((1, 1, HEIGHT, WIDTH, 3), dtype)
    for function, inputs in ((stages.pictures_from_planes, (luma, chroma, chroma)), (stages.pictures_from_rgb, (rgb,))):
        assert [out.shape for out in lower(function, *inputs)] == [pictures.shape]
    planes = lower(stages.planes_from_pictures, pictures, width=1920, height=1080)
    assert [out.shape for out in planes] == [luma.shape, chroma.shape, chroma.shape]
    assert [out.shape for out in lower(stages.rgb_from_pictures, pictures, width=1920, height=1080)] == [rgb.shape]


def test_packed_symbols():
    parts = [shape((1, 8, 17, 30), jnp.int8), shape((1, 8, 68, 120), jnp.int8), shape((1, 8, 68, 120), jnp.uint8)]
    assert [out.shape for out in lower(stages.pack, parts)] == [(1, 8 * (17 * 30 + 2 * 68 * 120))]
