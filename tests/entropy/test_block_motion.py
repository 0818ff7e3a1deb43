"""The motion of blocks to symbols and back."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_motion
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nvc_jax.entropy import merged_motion, motion
from nvc_jax.entropy.coder import SIDE_INFORMATION, EntropyCoder
from nvc_jax.entropy.tables import CdfArrays, symbol_bits
from nvc_jax.errors import BitstreamError, DesyncError
from nvc_jax.ops.motion_order import ANOTHER, Context
from nvc_jax.spec import DIALECTS, NOT_CODED

# SHA-256 of the cumulative frequencies as int32, least significant byte first.
HASHES = {
    motion: "68e504b3335bbd5620593f519b95d131afa1d11cd87aaf29e6150d244fbe4394",
    merged_motion: "86767d5483a0f254c9168384eba1a0191d8a9adecce10f1feb6a0e81262c7352",
}
CODINGS = pytest.mark.parametrize("coding", HASHES, ids=lambda coding: coding.__name__.rsplit(".", 1)[1])
sides = st.integers(1, 20)
fields = st.tuples(sides, sides).flatmap(lambda shape: hnp.arrays(np.int8, (*shape, 3)))


def bits(coding, field):
    table = symbol_bits(coding.tables())
    return sum(table[rows, symbols.astype(int) + 128].sum() for symbols, rows in coding.encode(field))


def decoded(decode, shape, coded):
    """The field that `decode` makes of lists of (symbols, rows), all of which it must ask for."""
    coded = iter(coded)

    def read(rows):
        symbols, written = next(coded)
        np.testing.assert_array_equal(np.reshape(rows, written.shape), written)
        return symbols if isinstance(rows, np.ndarray) else symbols.ravel().tolist()

    field = decode(*shape, read)
    assert next(coded, None) is None
    return field


@CODINGS
@given(field=fields)
def test_round_trip(coding, field):
    np.testing.assert_array_equal(decoded(coding.decode, field.shape[:2], coding.encode(field)), field)


def decode_any_symbols(shape, rng, limit):
    """Motion that damage may give, and its lists."""
    coded = []

    def read(rows):
        coded.append((rng.integers(-limit, limit, rows.shape).astype(np.int8), rows))
        return coded[-1][0]

    return merged_motion.decode(*shape, read), coded


@given(st.tuples(sides, sides), st.integers(0, 2**32 - 1), st.sampled_from([3, 8, 128]))
def test_any_symbols_give_some_motion(shape, seed, limit):
    """Damage may read as choices that no encoder writes: they stand for another vector."""
    field, _ = decode_any_symbols(shape, np.random.default_rng(seed), limit)
    assert (field.shape, field.dtype) == ((*shape, 3), np.int8)
    np.testing.assert_array_equal(decoded(merged_motion.decode, shape, merged_motion.encode(field)), field)


def test_tables_of_merged_motion_are_those_of_the_document():
    tables = merged_motion.tables()
    rows = zip(tables.cdf.tolist(), tables.length.tolist(), tables.offset.tolist(), strict=True)
    assert [(cdf[:length], offset) for cdf, length, offset in rows] == reference_motion.table()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (5, 7), (18, 22)])
def test_merged_motion_equals_the_reference_written_from_the_document(shape):
    rng = np.random.default_rng(0)
    for limit in (1, 2, 8, 128):  # the more, the fewer neighbours have a block's vector
        field = rng.integers(-limit, limit, (*shape, 3)).astype(np.int8)
        coded = merged_motion.encode(field)
        np.testing.assert_array_equal(decoded(reference_motion.decode, shape, coded), field)
        field, coded = decode_any_symbols(shape, rng, limit)
        np.testing.assert_array_equal(decoded(reference_motion.decode, shape, coded), field)


@CODINGS
def test_bits_of_a_batch(coding):
    """In NumPy and in JAX, and as the coder's lists say."""
    field = np.random.default_rng(0).integers(-3, 4, (2, 5, 9, 3)).astype(np.int8)
    expected = [bits(coding, one) for one in field]
    np.testing.assert_allclose(coding.bits(field, np), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda v: coding.bits(v, jnp))(field), expected, rtol=1e-5)


@CODINGS
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (18, 22), (68, 120)])
def test_every_block_is_coded_once(coding, shape):
    symbols_of_a_block = 3 if coding is motion else 2  # a choice stands for both components
    count = sum(symbols.size for symbols, _ in coding.encode(np.zeros((*shape, 3), np.int8)))
    assert count == symbols_of_a_block * shape[0] * shape[1]


@CODINGS
def test_what_motion_takes(coding):
    """Next to nothing where all stand still and are skipped, little where all have one vector, and all for noise."""
    blocks = 18 * 22
    still = np.zeros((18, 22, 3), np.int8)
    assert bits(coding, still) < 0.25 * blocks
    assert bits(coding, still + np.array([0, 0, 1], np.int8)) < 0.25 * blocks
    assert bits(coding, still + np.array([37, 37, 0], np.int8)) < 1.25 * blocks
    noise = np.random.default_rng(0).integers(-127, 128, still.shape).astype(np.int8)
    noise[..., 2] &= 1
    assert 17 * blocks < bits(coding, noise) < 25 * blocks


def test_a_vector_of_a_neighbour_takes_little():
    """Two halves that move apart: `motion` expects their mean between them, where no vector is."""
    field = np.zeros((16, 16, 3), np.int8)
    field[:, :7, 1], field[:, 7:, 1] = -40, 44
    assert bits(merged_motion, field) < 0.6 * bits(motion, field)


@CODINGS
def test_tables_are_fixed(coding):
    """Streams depend on them: these numbers never change."""
    tables = coding.tables()
    if coding is motion:
        assert tables.cdf.shape == (26, 257)
        assert tables.offset.tolist() == [-127] * 16 + [0] * 10
    else:
        assert tables.cdf.shape == (190, 257)
        assert tables.offset.tolist() == [0] * 160 + [-127] * 20 + [0] * 10
    assert hashlib.sha256(tables.cdf.astype("<i4").tobytes()).hexdigest() == HASHES[coding]


def test_expected_vectors_are_no_other_choice():
    """The choice of a vector is the first that stands for it."""
    neighbours = np.array([[4, 8], [4, 8], [0, 2], [6, 0]], np.int8)[:, None]
    here = Context.of(neighbours, False, np)
    np.testing.assert_array_equal(here.expected, [[4, 5]])
    vectors = np.array([[4, 5], [4, 8], [0, 2], [6, 0], [4, 9]])[:, None]
    assert [here.choice(vector, np).tolist() for vector in vectors] == [[0], [1], [3], [4], [ANOTHER]]
    for vector, choice in zip(vectors[:-1], (0, 1, 3, 4), strict=True):
        np.testing.assert_array_equal(here.chosen(np.array([choice])), vector)


@pytest.fixture(scope="module")
def tables():
    cdf = np.tile(np.array([0, 30000, 60000, 65536], np.int32), (4, 1))
    return CdfArrays(cdf, np.full(4, 4, np.int32), np.full(4, -1, np.int32))


@pytest.mark.parametrize("side", SIDE_INFORMATION)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_motion_comes_before_the_latents(tables, dialect, side):
    rng = np.random.default_rng(1)
    field = rng.integers(-128, 128, (5, 7, 3)).astype(np.int8)
    z = rng.integers(-1, 2, (4, 2, 2)).astype(np.int8)
    plane, rows = rng.integers(-3, 4, (8, 5, 7)).astype(np.int8), rng.integers(40, 128, (8, 5, 7)).astype(np.uint8)
    rows[0], plane[0] = NOT_CODED, 0
    coder = EntropyCoder(tables, dialect, side)
    payload, check = coder.encode(0, z, [(plane, rows)], field)
    decoder = coder.decoder(payload, check)
    np.testing.assert_array_equal(decoder.side(5, 7), field)
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
