"""Vectors that are cheaper to code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from nvc_jax.entropy import merged_motion as coder
from nvc_jax.ops import motion, motion_order, motion_refinement
from nvc_jax.ops.motion_refinement import refine

HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module")
def refined():
    return jax.jit(refine)


def bits_of(vectors):
    skipped = np.zeros((*vectors.shape[:-1], 1), np.int8)
    return coder.bits(np.concatenate([np.asarray(vectors), skipped], axis=-1), np)


def cost(picture, reference, vectors, qp):
    """Bits of the vectors and of the errors that they leave."""
    errors = motion.block_errors(picture, motion.compensate(reference, vectors))
    inherited = motion_refinement._INHERITED
    return bits_of(vectors)[0] + inherited * motion.ERROR_BITS[qp] * float(np.asarray(errors, np.float64).sum())


def pictures(seed, count=2):
    frames = synthetic.moving_picture(WIDTH, HEIGHT, count, seed=seed)
    luma = [jnp.asarray(frame.y, jnp.float32)[None, ..., None] / 255 for frame in frames]
    return [jnp.repeat(x, 3, axis=-1) for x in luma]


@pytest.mark.parametrize("qp", [5, 30])
def test_less_is_paid_for_vectors_and_errors_together(refined, qp):
    reference, picture = pictures(seed=2)
    rng = np.random.default_rng(0)
    found = motion.estimate(picture, reference, jnp.array([float(qp)]))
    noisy = jnp.asarray(np.asarray(found) + rng.integers(-1, 2, found.shape), jnp.int8)
    for vectors in (found, noisy):
        better = refined(picture, reference, vectors, jnp.array([float(qp)]))
        assert better.dtype == jnp.int8
        assert bits_of(better)[0] <= bits_of(vectors)[0]
        assert cost(picture, reference, better, qp) <= cost(picture, reference, vectors, qp)
    assert cost(picture, reference, better, qp) < 0.95 * cost(picture, reference, noisy, qp)


def test_where_errors_are_the_same_vectors_are_those_expected(refined):
    flat = jnp.full((1, HEIGHT, WIDTH, 3), 0.5)
    vectors = jnp.asarray(np.random.default_rng(1).integers(-40, 41, (1, HEIGHT // 16, WIDTH // 16, 2)), jnp.int8)
    found = np.asarray(refined(flat, flat, vectors, jnp.array([50.0])))
    assert (found == np.asarray(vectors)[:, :1, :1]).all()  # the first has no neighbours, all others follow it


def test_an_error_is_worth_more_at_a_larger_qp(refined):
    """A shift that its neighbours do not share is kept where an error is worth more than its bits."""
    rng = np.random.default_rng(3)
    reference = jnp.asarray(rng.uniform(0.48, 0.52, (1, HEIGHT, WIDTH, 3)), jnp.float32)
    vectors = np.zeros((1, HEIGHT // 16, WIDTH // 16, 2), np.int8)
    vectors[0, 2, 3] = (8, -12)
    picture = motion.compensate(reference, jnp.asarray(vectors))
    low, high = (np.asarray(refined(picture, reference, jnp.asarray(vectors), jnp.array([qp]))) for qp in (0.0, 63.0))
    assert not low.any()
    np.testing.assert_array_equal(high, vectors)


def test_pictures_of_a_batch_are_by_themselves(refined):
    pairs = [pictures(seed) for seed in (4, 5)]
    reference, picture = (jnp.concatenate(both) for both in zip(*pairs, strict=True))
    vectors = motion.estimate(picture, reference, jnp.array([10.0, 40.0]))
    together = refined(picture, reference, vectors, jnp.array([10.0, 40.0]))
    for number, qp in enumerate((10.0, 40.0)):
        alone = refined(
            picture[number : number + 1],
            reference[number : number + 1],
            vectors[number : number + 1],
            jnp.array([qp]),
        )
        np.testing.assert_array_equal(together[number], alone[0])


def test_prices_are_those_of_the_coder():
    costs, tables = motion_refinement._costs(), coder.tables()
    priced = [*costs.choices, *costs.differences[:, 1:]]
    for row, bits in enumerate(priced):
        counts = np.diff(tables.cdf[row][: tables.length[row]])[:-1]
        np.testing.assert_allclose(
            bits / motion_refinement._UNIT, -np.log2(counts / 65536), atol=0.5 / motion_refinement._UNIT
        )
    assert len(priced) == motion_order.CHOICE_ROWS + motion_order.DIFFERENCE_ROWS


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 6), (9, 3)])
def test_blocks_follow_their_neighbours(shape):
    order = motion_order.Order.of(*shape)
    step = order.step
    assert (step[order.around] < step).all(axis=0)[step > 0].all()
    assert (step == 0).sum() == 1
