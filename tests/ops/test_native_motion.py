"""Block motion in C++ equals XLA's on CPU, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from native_coder import motion_functions  # noqa: TID251
from nvc_jax.ops import motion, motion_refinement, native, native_motion

pytestmark = pytest.mark.skipif(not motion_functions(), reason="this processor has no AVX2")

SHAPES = (2, 48, 80), (1, 16, 16), (3, 112, 32)


def test_xla_takes_the_functions():
    assert native.available("motion") == tuple(motion_functions())


@pytest.fixture(scope="module")
def plain():
    """`estimate`, `compensate` and `refine` of XLA."""

    def of_xla(function):
        def traced(*operands):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(native_motion, "usable", lambda *_: False)
                return function(*operands)

        return jax.jit(traced)

    return {function: of_xla(function) for function in (motion.estimate, motion.compensate, motion_refinement.refine)}


def whole(real):
    return np.round(512 * real).astype(np.int16)


def fine(real):
    return np.round(4096 * real).astype(np.uint16)


def noise(name, shape):
    return synthetic.uniform(name, (*shape, 3), 0, 1).astype(np.float32)


def moving(shape, step):
    """Pictures of a sequence, with a rest of noise."""
    b, h, w = shape
    luma = [frame.y / np.float32(255) for frame in synthetic.moving_picture(w, h, 1 + step)[::step]][:2]
    pair = [np.repeat(np.broadcast_to(y[None, :, :, None], (b, h, w, 1)), 3, axis=-1) for y in luma]
    return [np.clip(x + (noise(f"rest {i}", shape) - 0.5) / 40, 0, 1).astype(np.float32) for i, x in enumerate(pair)]


def pairs(shape):
    """(name, picture, reference), in 0..1."""
    h = shape[1]
    one, other = noise("one", shape), noise("other", shape)
    coarse = np.kron(one[:, ::16, ::16], np.ones((1, 16, 16, 1), np.float32))
    half = one.copy()
    half[:, h // 2 :] = np.roll(one, (5, -9), (1, 2))[:, h // 2 :]
    yield "noise", one, other
    yield "black and white", np.round(one), np.round(other)
    yield "black, white", np.zeros_like(one), np.ones_like(one)
    yield "flat", np.full_like(one, 0.3), np.full_like(one, 0.3)
    yield "moved", np.roll(one, (5, -9), (1, 2)), one
    yield "half of it moved", half, one
    yield "flat blocks", np.roll(coarse, (3, 7), (1, 2)), coarse
    yield "faint", 0.5 + (one - 0.5) / 64, 0.5 + (other - 0.5) / 64
    for step in (1, 3):
        yield f"natural {step}", *moving(shape, step)


@pytest.mark.parametrize("shape", [SHAPES[0], *(pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES[1:])])
def test_vectors_agree(shape, plain):
    """In both precisions and, as the int16 encoder has them, one in each; fine pictures are requantised."""
    found = jax.jit(lambda *operands: motion.estimate(*operands))
    kinds = set()
    for name, picture, reference in pairs(shape):
        for qp in (0.0, 33.4, 71.0):
            qps = jnp.full(shape[0], qp) + jnp.arange(shape[0]) / 3
            right = np.asarray(plain[motion.estimate](whole(picture), whole(reference), qps))
            for here, there in ((whole, whole), (np.array, whole), (np.array, np.array)):
                vectors = found(here(picture), there(reference), qps)
                assert vectors.dtype == np.int8
                np.testing.assert_array_equal(vectors, right, err_msg=f"{name} {qp}")
            np.testing.assert_array_equal(found(whole(picture), 8 * whole(reference).astype(np.uint16), qps), right)
            kinds |= set(map(tuple, right.reshape(-1, 2)))
    assert len(kinds) > (1 if shape == (1, 16, 16) else 50)
    real = [plain[motion.estimate](picture, reference, qps) for _, picture, reference in list(pairs(shape))[:2]]
    for expected, (_, picture, reference) in zip(real, pairs(shape), strict=False):
        np.testing.assert_array_equal(found(picture, reference, qps), expected)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_moved_blocks_have_the_same_bits(shape, dtype, plain):
    b, h, w = shape
    for i in range(8):
        reference = noise(f"reference {i}", shape)
        reference = {np.int16: whole, np.uint16: fine, np.float32: np.array}[dtype](reference)
        vectors = synthetic.uniform(f"vectors {i}", (b, h // 16, w // 16, 2), -128, 128).astype(np.int8)
        if i >= 4:  # phases of one direction, and none
            vectors[..., i % 2] &= -4
            vectors[..., (i + 1) % 2] &= -4 if i >= 6 else -1
        found = motion.compensate(reference, vectors)
        assert found.dtype == dtype
        assert np.asarray(found).tobytes() == np.asarray(plain[motion.compensate](reference, vectors)).tobytes()


def test_the_gradient_is_that_of_xla(plain):
    shape = 1, 48, 80
    vectors = synthetic.uniform("vectors", (1, 3, 5, 2), -60, 60).astype(np.int8)
    reference, weights = noise("reference", shape), noise("weights", shape)

    def gradient(function):
        return jax.jit(jax.grad(lambda x: (function(x, vectors) * weights).sum()))(reference)

    np.testing.assert_allclose(gradient(motion.compensate), gradient(plain[motion.compensate]), rtol=1e-6, atol=1e-6)


def test_training_searches_within_scan_and_pmap(plain):
    """As a step does: the search of a network, below `jax.grad`, in a scan over pictures, on every device."""
    devices = jax.local_device_count()
    pictures = np.stack([noise(f"picture {i}", (devices, 1, 1, 32, 48)) for i in range(2)], axis=1)
    qps = jnp.full((1, 1), 20.0)

    def loss(gain, pictures):
        def step(reference, picture):
            vectors = motion.estimate(jax.lax.stop_gradient(picture[:, 0]), jax.lax.stop_gradient(reference), qps[:, 0])
            moved = motion.compensate(reference, vectors) * gain
            return moved, (jnp.square(moved - picture[:, 0]).mean(), vectors)

        _, (losses, vectors) = jax.lax.scan(step, pictures[0, :, 0] * gain, pictures)
        return losses.sum(), vectors

    gradients, vectors = jax.pmap(jax.grad(loss, has_aux=True), in_axes=(None, 0))(jnp.float32(0.9), pictures)
    assert np.isfinite(gradients).all()
    for device in range(devices):
        right = plain[motion.estimate](
            pictures[device, 0, :, 0], pictures[device, 0, :, 0] * np.float32(0.9), qps[:, 0]
        )
        np.testing.assert_array_equal(vectors[device, 0], right)


@pytest.mark.parametrize(
    ("shape", "kinds"),
    [
        ((2, 48, 80), (whole, whole)),
        pytest.param((2, 48, 80), (np.array, np.array), marks=pytest.mark.slow),
        ((1, 16, 112), (np.array, whole)),
        ((1, 16, 16), (whole, whole)),  # the only block has no neighbours
    ],
)
def test_refined_vectors_agree(shape, kinds, plain):
    """From vectors nearly alike, as the search finds them, and from any."""
    b, h, w = shape
    fields = b, h // 16, w // 16, 2
    rough = np.round(synthetic.uniform("rough", fields, -2, 2) + np.array([-20, 36])).astype(np.int8)
    fields = rough, synthetic.uniform("any", fields, -128, 128).astype(np.int8)
    found = jax.jit(lambda *operands: motion_refinement.refine(*operands))
    results = set()
    one, other = noise("one", shape), noise("other", shape)
    moved = np.clip(np.roll(one, (5, -9), (1, 2)) + (other - 0.5) / 20, 0, 1)
    for name, *pair in (("noise", one, other), ("moved", moved, one), ("faint", 0.5 + moved / 64, 0.5 + one / 64)):
        picture, reference = (kind(x) for kind, x in zip(kinds, pair, strict=True))
        for vectors in fields:
            for qp in (0.0, 33.4, 71.0):
                qps = jnp.full(b, qp) - jnp.arange(b) * qp / 3
                right = np.asarray(plain[motion_refinement.refine](picture, reference, vectors, qps))
                refined = found(picture, reference, vectors, qps)
                assert refined.dtype == np.int8
                np.testing.assert_array_equal(refined, right, err_msg=f"{name} {qp}")
                results |= set((right == vectors).all(axis=-1).ravel())
    assert results == ({True} if shape == (1, 16, 16) else {True, False})


@pytest.mark.parametrize("function", [motion.estimate, motion.compensate, motion_refinement.refine])
def test_programs_for_other_devices_have_no_call_of_ours(function):
    picture, vectors = jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 2, 2, 2), jnp.int8)
    operands = {
        motion.estimate: (picture, jnp.zeros(1)),
        motion.compensate: (vectors,),
        motion_refinement.refine: (picture, vectors, jnp.zeros(1)),
    }[function]
    traced = jax.jit(lambda *x: function(*x)).trace(picture, *operands)
    calls = [
        f"nvc_motion_{function.__name__}" in traced.lower(lowering_platforms=(p,)).as_text()
        for p in ("cpu", "cuda", "tpu")
    ]
    assert calls == [True, False, False]


@pytest.mark.parametrize("dtype", [pytest.param(jnp.bfloat16, marks=pytest.mark.slow), jnp.float16])
def test_other_precisions_are_left_to_xla(dtype):
    picture = jnp.asarray(noise("picture", (1, 16, 32)), dtype)
    assert not native_motion.usable(picture)
    assert jax.jit(lambda *x: motion.compensate(*x))(picture, jnp.zeros((1, 1, 2, 2), jnp.int8)).dtype == dtype
    assert jax.jit(lambda *x: motion.estimate(*x))(picture, picture, jnp.zeros(1)).dtype == jnp.int8


def test_other_shapes_are_refused():
    picture = jnp.zeros((1, 24, 32, 3))
    with pytest.raises(jax.errors.JaxRuntimeError, match="sides are multiples of 16"):
        native_motion.compensate(picture, jnp.zeros((1, 1, 2, 2), jnp.int8))
    blocks, bits = jnp.zeros((1, 32, 32, 3)), np.zeros(255, np.int32)
    with pytest.raises(jax.errors.JaxRuntimeError, match="sides are multiples of 16"):
        native_motion.compensate(blocks, jnp.zeros((1, 1, 2, 2), jnp.int8))
    with pytest.raises(jax.errors.JaxRuntimeError, match="sides are multiples of 16"):
        native_motion.estimate(blocks, blocks, jnp.zeros(2, jnp.int32), bits, 0, 0)
    costs = {"choices": np.zeros((160, 6), np.int32), "differences": np.zeros((20, 256), np.int32)}
    visits, ends = np.zeros((3, 6), np.int32), np.array([1, 3], np.int32)
    operands = blocks, blocks, jnp.zeros((1, 2, 2, 2), jnp.int8), jnp.zeros(1)
    with pytest.raises(jax.errors.JaxRuntimeError, match="sides are multiples of 16"):  # four blocks, not three
        native_motion.refine(*operands, **costs, visits=visits, ends=ends)
