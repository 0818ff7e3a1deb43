"""Vectors to symbols and back."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nvc_jax.entropy.coder import EntropyCoder
from nvc_jax.entropy.tables import CdfArrays, symbol_bits
from nvc_jax.entropy.vectors import decode_vectors, encode_vectors, vector_bits, vector_tables
from nvc_jax.errors import BitstreamError, DesyncError
from nvc_jax.spec import DIALECTS, NOT_CODED

# Of the cumulative frequencies as int32, least significant byte first.
HASH = "ea9c2eaf94e2fab09c4ac0d44b5359dd2240fa3c37a2091c09377c5514e7c968"
sides = st.integers(1, 20)
fields = st.tuples(sides, sides).flatmap(lambda shape: hnp.arrays(np.int8, (*shape, 2)))


def bits(vectors):
    table = symbol_bits(vector_tables())
    return sum(table[rows, symbols.astype(int) + 128].sum() for symbols, rows in encode_vectors(vectors))


@given(fields)
def test_round_trip(vectors):
    coded = iter(encode_vectors(vectors))

    def read(rows):
        symbols, written = next(coded)
        np.testing.assert_array_equal(rows, written)
        return symbols

    np.testing.assert_array_equal(decode_vectors(*vectors.shape[:2], read), vectors)
    assert not list(coded)


def test_bits_of_a_batch():
    """In NumPy and in JAX, and as the coder's lists say."""
    vectors = np.random.default_rng(0).integers(-3, 4, (2, 5, 9, 2)).astype(np.int8)
    expected = [bits(field) for field in vectors]
    np.testing.assert_allclose(vector_bits(vectors, np), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda v: vector_bits(v, jnp))(vectors), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (18, 22), (68, 120)])
def test_every_block_is_coded_once(shape):
    assert sum(symbols.size for symbols, _ in encode_vectors(np.zeros((*shape, 2), np.int8))) == 2 * shape[0] * shape[1]


def test_what_vectors_take():
    """Next to nothing where all stand still, little where all move alike, and never much more than their eight bits."""
    still = np.zeros((18, 22, 2), np.int8)
    assert bits(still) < 0.15 * 18 * 22
    assert bits(still + np.int8(37)) < 1.0 * 18 * 22
    noise = np.random.default_rng(0).integers(-127, 128, still.shape).astype(np.int8)
    assert 8 * noise.size < bits(noise) < 10 * noise.size


def test_tables_are_fixed():
    """Streams depend on them: these numbers never change."""
    tables = vector_tables()
    assert tables.cdf.shape == (16, 257)
    assert set(tables.offset) == {-127}
    assert hashlib.sha256(tables.cdf.astype("<i4").tobytes()).hexdigest() == HASH


@pytest.fixture(scope="module")
def tables():
    cdf = np.tile(np.array([0, 30000, 60000, 65536], np.int32), (4, 1))
    return CdfArrays(cdf, np.full(4, 4, np.int32), np.full(4, -1, np.int32))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_vectors_come_before_the_latents(tables, dialect):
    rng = np.random.default_rng(1)
    vectors = rng.integers(-128, 128, (5, 7, 2)).astype(np.int8)
    z = rng.integers(-1, 2, (4, 2, 2)).astype(np.int8)
    plane, rows = rng.integers(-3, 4, (8, 5, 7)).astype(np.int8), rng.integers(40, 128, (8, 5, 7)).astype(np.uint8)
    rows[0], plane[0] = NOT_CODED, 0
    coder = EntropyCoder(tables, dialect)
    payload, check = coder.encode(0, z, [(plane, rows)], vectors)
    decoder = coder.decoder(payload, check)
    np.testing.assert_array_equal(decoder.vectors(5, 7), vectors)
    np.testing.assert_array_equal(decoder.z(0, z.shape), z)
    np.testing.assert_array_equal(decoder.plane(rows), plane)
    decoder.finish()

    wrong = coder.decoder(payload, check ^ 1)
    wrong.vectors(5, 7), wrong.z(0, z.shape), wrong.plane(rows)
    with pytest.raises(DesyncError):
        wrong.finish()
    for cut in range(0, len(payload) - 8, 3):
        with pytest.raises(BitstreamError):  # noqa: PT012  (which call finds out depends on the cut)
            cut_decoder = coder.decoder(payload[:cut], check)
            cut_decoder.vectors(5, 7), cut_decoder.z(0, z.shape), cut_decoder.plane(rows)
            cut_decoder.finish()
