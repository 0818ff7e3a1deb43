"""The filter of block edges, against its definition in docs/INT16.md, section 7."""

import integer_codec
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from nvc_jax.ops import deblocking
from nvc_jax.ops.deblocking import deblock, weak_edges

STRENGTH = 38
HEIGHT, WIDTH = 48, 32

run = jax.jit(deblock, static_argnums=2)


@pytest.fixture(scope="module")
def blocky():
    """Two pictures with noise and a level of its own for every block of 16x16 pixels, int16."""
    blocks = synthetic.uniform("blocks", (2, HEIGHT // 16, WIDTH // 16, 3), -60, 60)
    noise = synthetic.uniform("noise", (2, HEIGHT, WIDTH, 3), 0, 1) ** 4 * 30
    return np.clip(256 + blocks.repeat(16, 1).repeat(16, 2) + noise, 0, 512).astype(np.int16)


def symbols(skipped=0):
    """Side information of two pictures; skipped: [rows, columns]."""
    result = np.zeros((2, HEIGHT // 16, WIDTH // 16, 3), np.int8)
    result[..., 2] = skipped
    return result


def filtered(picture, *qps, side=None):
    """One program for all tests of a precision."""
    return np.asarray(
        run(picture, np.float32(qps * (2 // len(qps))), STRENGTH, weak_edges(symbols() if side is None else side))
    )


@pytest.mark.parametrize("white", [512, 4096])
@pytest.mark.parametrize("qp", [0, 21])
def test_integers_are_as_defined(blocky, qp, white):
    side = symbols([[1, 1], [1, 0], [1, 0]])
    blocky = blocky if white == 512 else (8 * blocky.astype(np.uint16) + np.arange(WIDTH)[:, None] % 5).clip(0, white)
    found = filtered(blocky.astype(np.int16 if white == 512 else np.uint16), qp, side=side)
    for number in range(2):
        expected = integer_codec.deblock(blocky[number, None], qp, STRENGTH, side[number], white)
        np.testing.assert_array_equal(found[number], expected[0])
    assert len(np.unique(found - blocky)) > 20  # it did something


def test_weak_are_edges_between_skipped_blocks_that_move_together():
    side = symbols([[1, 1], [1, 1], [1, 0]])
    side[:, 1, 0, :2] = 4, 4
    rows, columns = (mask[0].tolist() for mask in weak_edges(side))
    assert rows == [[False, True], [False, False]]
    assert columns == [[True], [False], [False]]


def test_sizes_are_known_without_doubt():
    """Far enough from a tie for the powers of any machine."""
    exact = 4096 * 2.0 ** (-np.arange(128) / 22)
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 3e-4
    assert deblocking._SIZES[[0, 22, 127]].tolist() == [4096, 2048, 75]


def test_float32_does_the_same_without_rounding(blocky):
    """But where four lines are so near a bound that rounding makes their class."""
    difference = np.abs(filtered((blocky / 512).astype(np.float32), 10) * 512 - filtered(blocky, 10))
    assert difference.mean() < 0.3
    assert np.mean(difference > 2) < 0.01


def test_qps_are_of_each_picture(blocky):
    both = filtered(blocky, 5, 50)
    for number, qp in enumerate((5, 50)):
        np.testing.assert_array_equal(both[number], filtered(blocky, qp)[number])
    assert (both[0] != filtered(blocky, 50)[0]).any()


@pytest.mark.parametrize("one", [np.int16(512), np.float32(1)])
def test_flat_pictures_stay_and_slopes_nearly(one):
    flat = np.full((2, HEIGHT, WIDTH, 3), one, one.dtype)
    np.testing.assert_array_equal(filtered(flat, 0), flat)
    slope = (flat * (np.arange(WIDTH) * 8)[:, None] / 512).astype(one.dtype)
    moved = np.abs(filtered(slope, 0).astype(float) - slope) * 512 / one
    assert moved.max() < 4.5  # half of a step between neighbours


def test_steps_of_coding_go_and_edges_of_objects_stay():
    for step, kept in ((12, 0), (240, 240)):
        picture = np.full((2, HEIGHT, WIDTH, 3), 200, np.int16)
        picture[:, :, 16:] += step
        found = np.diff(filtered(picture, 32).astype(int), axis=2)[:, :, 15]
        assert (abs(found - kept) <= 1).all()


def test_a_block_alone_stays():
    picture = np.arange(768, dtype=np.int16).reshape(1, 16, 16, 3) % 500
    np.testing.assert_array_equal(deblock(picture, np.zeros(1), STRENGTH), picture)


def test_gradients_pass(blocky):
    """A sample at an edge follows those across it, and levels are kept."""
    picture = jnp.asarray(256 + (blocky - 256) // 16, jnp.float32) / 512
    gradient = np.asarray(jax.grad(lambda x: run(x, np.zeros(2, np.float32), STRENGTH)[0, 15, 8, 0])(picture))[
        0, :, :, 0
    ]
    assert gradient[16, 8] > 0.2
    np.testing.assert_allclose(gradient.sum(), 1.0, atol=1e-5)
