"""Block motion: moving blocks, and finding how they moved."""

import integer_codec
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from nvc_jax.ops.motion import (
    LONGEST,
    SKIP_BITS,
    block_errors,
    compensate,
    errors_of_moved,
    estimate,
    replace_skipped,
    skippable,
)

HEIGHT, WIDTH = 48, 64


def picture(name="picture"):
    return synthetic.uniform(name, (1, HEIGHT, WIDTH, 3), 0, 1).astype(np.float32)


def field(*vector):
    return np.broadcast_to(np.array(vector, np.int8), (1, HEIGHT // 16, WIDTH // 16, 2))


def smooth(width=WIDTH, height=HEIGHT, count=1):
    """Pictures in which every place looks unlike the others."""
    frames = synthetic.moving_picture(width, height, count)
    return [np.repeat(frame.y[None, :, :, None] / np.float32(255), 3, axis=-1) for frame in frames]


def test_no_motion_is_the_picture():
    np.testing.assert_array_equal(compensate(picture(), field(0, 0)), picture())


@pytest.mark.parametrize(("dy", "dx"), [(1, 0), (0, -3), (5, 7), (-31, 31)])
def test_whole_pixels_are_copied(dy, dx):
    rows, columns = np.clip(np.arange(HEIGHT) + dy, 0, HEIGHT - 1), np.clip(np.arange(WIDTH) + dx, 0, WIDTH - 1)
    expected = picture()[:, rows][:, :, columns]
    np.testing.assert_array_equal(compensate(picture(), field(4 * dy, 4 * dx)), expected)


def test_blocks_move_by_themselves():
    vectors = field(0, 0).copy()
    vectors[0, 1, 2] = -16, -32  # 4 up, 8 left
    moved = np.array(compensate(picture(), vectors))
    np.testing.assert_array_equal(moved[:, 16:32, 32:48], picture()[:, 12:28, 24:40])
    moved[:, 16:32, 32:48] = picture()[:, 16:32, 32:48]
    np.testing.assert_array_equal(moved, picture())


def test_between_pixels():
    """A wave whose value between pixels is known."""
    x = np.arange(WIDTH)

    def wave(shift):
        row = 0.5 + 0.4 * np.sin((x + shift) * 2 * np.pi / 16)
        return np.broadcast_to(row[None, None, :, None], (1, HEIGHT, WIDTH, 3)).astype(np.float32)

    inside = np.s_[:, :, 4:-4]
    for quarter in (1, 2, 3):
        np.testing.assert_allclose(
            np.asarray(compensate(wave(0), field(0, quarter)))[inside], wave(quarter / 4)[inside], atol=4e-3
        )


@pytest.mark.parametrize(("white", "dtype"), [(512, np.int16), (4096, np.uint16)])
@pytest.mark.parametrize("seed", range(3))
def test_integers_are_the_document(seed, white, dtype):
    whole = synthetic.uniform(f"int16 {seed}", (1, 32, 32, 3), 0, white + 1).astype(dtype)
    vectors = synthetic.uniform(f"vectors {seed}", (1, 2, 2, 2), -128, 128).astype(np.int8)
    moved = compensate(whole, vectors)
    assert moved.dtype == dtype
    np.testing.assert_array_equal(moved, integer_codec.compensate(whole, vectors[0], white))
    real = compensate(whole / np.float32(white), vectors)
    np.testing.assert_allclose(real, moved / np.float32(white), atol=0.5001 / white)


def test_gradient_goes_where_pixels_came_from():
    gradient = jax.grad(lambda x: compensate(x, field(16, 0))[:, :16].sum())(picture())
    np.testing.assert_allclose(gradient[:, 4:20], 1)
    np.testing.assert_allclose(gradient[:, 20:], 0)


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (0, 4), (-8, 12), (36, -52), (2, -6), (-3, 9)])
def test_motion_is_found(dy, dx):
    """A part of a larger picture, moved: blocks away from the border have one vector."""
    (large,) = smooth(WIDTH + 64, HEIGHT + 64)
    here = large[:, 32 : 32 + HEIGHT, 32 : 32 + WIDTH]
    blocks = np.broadcast_to(np.array([dy, dx], np.int8), (1, large.shape[1] // 16, large.shape[2] // 16, 2))
    there = np.asarray(compensate(large, blocks))[:, 32 : 32 + HEIGHT, 32 : 32 + WIDTH]
    found = np.asarray(estimate(there, here, jnp.array([40.0])))
    assert found.dtype == np.int8
    if max(abs(dy), abs(dx)) <= 16:  # else there is a border within reach of every block
        np.testing.assert_allclose(found[0, 1, 1:3], np.broadcast_to([dy, dx], (2, 2)), atol=1)
    error = np.abs(np.asarray(compensate(here, found)) - there)[:, 16:32, 16:48].mean()
    still = np.abs(here - there)[:, 16:32, 16:48].mean()
    assert error <= 0.25 * still


def test_noise_does_not_move():
    """Where nothing can be won, vectors are zero: they cost bits."""
    (still,) = smooth()
    noise = synthetic.uniform("noise", still.shape, -0.01, 0.01).astype(np.float32)
    assert not np.asarray(estimate(still + noise, still, jnp.array([20.0]))).any()


def test_every_picture_of_a_batch_has_its_own_vectors():
    before, after = smooth(count=2)
    batch = estimate(np.concatenate([before, after]), np.concatenate([after, before]), jnp.array([10.0, 60.0]))
    for number, (a, b, qp) in enumerate([(before, after, 10.0), (after, before, 60.0)]):
        np.testing.assert_array_equal(batch[number], estimate(a, b, jnp.array([qp]))[0])


@pytest.mark.slow
def test_whole_numbers_give_the_same_vectors_in_any_program():
    """float32 pictures of 1/512 and int16 pictures, compiled and operation by operation."""
    before, after = (np.round(512 * x).astype(np.int16) for x in smooth(32, 32, 2))
    qp = jnp.array([30.0])
    compiled = jax.jit(estimate)(after, before, qp)
    with jax.disable_jit():
        np.testing.assert_array_equal(estimate(after, before, qp), compiled)
    np.testing.assert_array_equal(estimate(after / np.float32(512), before / np.float32(512), qp), compiled)


def test_vectors_stay_within_their_range():
    rng = np.random.default_rng(0)
    for _ in range(3):
        noise = rng.random((2, 1, HEIGHT, WIDTH, 3), np.float32)
        assert np.abs(np.asarray(estimate(noise[0], noise[1], jnp.array([71.0]))).astype(int)).max() <= LONGEST


def skipped(picture, prediction, *qps):
    return np.asarray(skippable(picture, prediction, jnp.array(qps, jnp.float32), SKIP_BITS))


@pytest.mark.parametrize("qp", [0.0, 30.0])
@pytest.mark.parametrize(("component", "weight"), [(0, 6), (1, 1), (2, 1)])
def test_a_block_is_skipped_below_its_limit(qp, component, weight):
    """64 bits at a worth of lambda = 4 * 2^(qp / 7) each: of an error that is weighted 6:1:1."""
    limit = np.sqrt(8 * 64.0 / (4 * 2 ** (qp / 7)) / (weight * 256))
    still = np.full((1, 32, 16, 3), 0.05, np.float32)
    moved = still.copy()
    moved[:, :16, :, component] += 0.98 * limit
    moved[:, 16:, :, component] += 1.02 * limit
    np.testing.assert_array_equal(skipped(moved, still, qp)[0, :, 0], [True, False])


def test_the_largest_error_is_not_skipped():
    nothing = np.zeros((1, 16, 16, 3), np.int16)
    assert not skipped(nothing, nothing + np.int16(512), 0.0).any()
    assert skipped(nothing, nothing, 71.0).all()


def test_skipping_of_a_batch_and_in_int16():
    before, after = smooth(32, 32, 2)
    batch = skipped(np.concatenate([before, before]), np.concatenate([after, after]), 0.0, 60.0)
    assert batch[0].all()
    assert not batch[1].any()
    whole = [np.round(512 * x).astype(np.int16) for x in (before, after)]
    np.testing.assert_array_equal(skipped(*whole, 20.0), skipped(*(x / np.float32(512) for x in whole), 20.0))


@pytest.mark.parametrize(
    "to_samples", [lambda x: x, lambda x: np.round(512 * x).astype(np.int16)], ids=["float32", "int16"]
)
def test_errors_of_some_blocks_are_those_of_the_moved_picture(to_samples):
    here, reference = (to_samples(np.concatenate([picture(f"{name} {n}") for n in range(2)])) for name in ("a", "b"))
    vectors = synthetic.uniform("vectors", (2, HEIGHT // 16, WIDTH // 16, 2), -128, 128).astype(np.int8)
    places = np.array([7, 0, 11, 2, 5])

    @jax.jit
    def both(here, reference):
        of_some = errors_of_moved(here, reference)(places, vectors.reshape(2, -1, 2)[:, places])
        return of_some, block_errors(here, compensate(reference, vectors)).reshape(2, -1)[:, places]

    found, expected = both(here, reference)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, expected)


def test_skipped_blocks_are_replaced():
    blocks = np.zeros((1, HEIGHT // 16, WIDTH // 16), bool)
    blocks[0, 2, 1] = True
    replaced = np.array(replace_skipped(picture(), picture("other"), blocks))
    np.testing.assert_array_equal(replaced[:, 32:48, 16:32], picture("other")[:, 32:48, 16:32])
    replaced[:, 32:48, 16:32] = picture()[:, 32:48, 16:32]
    np.testing.assert_array_equal(replaced, picture())


def test_candidates_side_by_side_give_the_same_vectors(monkeypatch):
    """The way of GPUs and TPUs, on this machine."""
    reference, picture = smooth(count=2)
    qps = np.array([20.0], np.float32)
    expected = jax.jit(estimate)(picture, reference, qps)
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *operands, cpu, default: default(*operands))
    found = jax.jit(lambda *inputs: estimate(*inputs))(picture, reference, qps)
    np.testing.assert_array_equal(found, expected)
    assert np.asarray(found).any()
