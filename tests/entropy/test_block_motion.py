"""The motion of blocks to symbols and back."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nvc_jax.entropy import motion as coding
from nvc_jax.entropy.coder import EntropyCoder
from nvc_jax.entropy.tables import CdfArrays, symbol_bits
from nvc_jax.errors import BitstreamError, DesyncError
from nvc_jax.spec import DIALECTS, NOT_CODED

# SHA-256 of the cumulative frequencies as int32, least significant byte first.
HASH = "68e504b3335bbd5620593f519b95d131afa1d11cd87aaf29e6150d244fbe4394"
sides = st.integers(1, 20)
fields = st.tuples(sides, sides).flatmap(lambda shape: hnp.arrays(np.int8, (*shape, 3)))


def bits(motion):
    table = symbol_bits(coding.tables())
    return sum(table[rows, symbols.astype(int) + 128].sum() for symbols, rows in coding.encode(motion))


@given(fields)
def test_round_trip(motion):
    coded = iter(coding.encode(motion))

    def read(rows):
        symbols, written = next(coded)
        np.testing.assert_array_equal(rows, written)
        return symbols

    np.testing.assert_array_equal(coding.decode(*motion.shape[:2], read), motion)
    assert not list(coded)


def test_bits_of_a_batch():
    """In NumPy and in JAX, and as the coder's lists say."""
    motion = np.random.default_rng(0).integers(-3, 4, (2, 5, 9, 3)).astype(np.int8)
    expected = [bits(field) for field in motion]
    np.testing.assert_allclose(coding.bits(motion, np), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda v: coding.bits(v, jnp))(motion), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (18, 22), (68, 120)])
def test_every_block_is_coded_once(shape):
    assert sum(symbols.size for symbols, _ in coding.encode(np.zeros((*shape, 3), np.int8))) == 3 * shape[0] * shape[1]


def test_what_motion_takes():
    """Next to nothing where all stand still and are skipped, little where all have one vector, and all for noise."""
    blocks = 18 * 22
    still = np.zeros((18, 22, 3), np.int8)
    assert bits(still) < 0.25 * blocks
    assert bits(still + np.array([0, 0, 1], np.int8)) < 0.25 * blocks
    assert bits(still + np.array([37, 37, 0], np.int8)) < 1.25 * blocks
    noise = np.random.default_rng(0).integers(-127, 128, still.shape).astype(np.int8)
    noise[..., 2] &= 1
    assert 17 * blocks < bits(noise) < 22 * blocks


def test_tables_are_fixed():
    """Streams depend on them: these numbers never change."""
    tables = coding.tables()
    assert tables.cdf.shape == (26, 257)
    assert tables.offset.tolist() == [-127] * 16 + [0] * 10
    assert hashlib.sha256(tables.cdf.astype("<i4").tobytes()).hexdigest() == HASH


@pytest.fixture(scope="module")
def tables():
    cdf = np.tile(np.array([0, 30000, 60000, 65536], np.int32), (4, 1))
    return CdfArrays(cdf, np.full(4, 4, np.int32), np.full(4, -1, np.int32))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_motion_comes_before_the_latents(tables, dialect):
    rng = np.random.default_rng(1)
    motion = rng.integers(-128, 128, (5, 7, 3)).astype(np.int8)
    z = rng.integers(-1, 2, (4, 2, 2)).astype(np.int8)
    plane, rows = rng.integers(-3, 4, (8, 5, 7)).astype(np.int8), rng.integers(40, 128, (8, 5, 7)).astype(np.uint8)
    rows[0], plane[0] = NOT_CODED, 0
    coder = EntropyCoder(tables, dialect, "motion")
    payload, check = coder.encode(0, z, [(plane, rows)], motion)
    decoder = coder.decoder(payload, check)
    np.testing.assert_array_equal(decoder.side(5, 7), motion)
    np.testing.assert_array_equal(decoder.z(0, z.shape), z)
    np.testing.assert_array_equal(decoder.plane(rows), plane)
    decoder.finish()

    wrong = coder.decoder(payload, check ^ 1)
    wrong.side(5, 7), wrong.z(0, z.shape), wrong.plane(rows)
    with pytest.raises(DesyncError):
        wrong.finish()
    for cut in range(0, len(payload) - 8, 3):
        with pytest.raises(BitstreamError):  # noqa: PT012  (which call finds out depends on the cut)
            cut_decoder = coder.decoder(payload[:cut], check)
            cut_decoder.side(5, 7), cut_decoder.z(0, z.shape), cut_decoder.plane(rows)
            cut_decoder.finish()
