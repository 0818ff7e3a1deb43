"""The interleaved dialect: round trips, the same bytes with all kernels, limits of size, and refusals."""

import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference_coder as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tables import random_rows

from native_coder import (  # noqa: TID251
    CdfTable,
    CorruptError,
    DcvcEncoder,
    InterleavedDecoder,
    InterleavedEncoder,
    TruncatedError,
    kernels,
)
from nvc_jax.entropy.tables import gaussian_tables
from nvc_jax.errors import BitstreamError
from nvc_jax.spec import SCALE_LEVELS, SCALE_MAX, SCALE_MIN

SKIP = {np.uint8: 255, np.uint16: 65535}
OPTIONS = [{"threads": threads, "kernels": name} for threads in (1, 2, 4) for name in kernels()]
ONE_THREAD = [options for options in OPTIONS if options["threads"] == 1]
relaxed = settings(max_examples=80, deadline=None)


def native(arrays):
    return CdfTable(arrays.cdf, arrays.length, arrays.offset)


@pytest.fixture(scope="module")
def gauss():
    return native(gaussian_tables())


def encode(segments, **options):
    return InterleavedEncoder(**options).encode(segments)


def decode(payload, segments, **options):
    decoder = InterleavedDecoder(payload, **options)
    result = [decoder.decode(table, indexes, first_row) for table, _, indexes, first_row in segments]
    decoder.finish()
    return result


def check(segments, all_options=OPTIONS):
    """All kernels write the same bytes and read them back; returns the bytes."""
    payloads = {encode(segments, **options) for options in all_options}
    assert len(payloads) == 1
    (payload,) = payloads
    for options in all_options:
        for got, (_, symbols, indexes, _) in zip(decode(payload, segments, **options), segments, strict=True):
            np.testing.assert_array_equal(got, np.where(indexes == SKIP[indexes.dtype.type], 0, symbols))
    return payload


def within_limits(segments, payload):
    coded = sum(int((indexes != SKIP[indexes.dtype.type]).sum()) for _, _, indexes, _ in segments)
    dcvc = len(DcvcEncoder(1).encode(segments))
    return len(payload) <= dcvc + (0.0015 * dcvc + 64 if coded > 20_000 else 0.005 * dcvc + 4)


def gaussian_list(rng, size, mean_row, skipped):
    """Symbols and rows as in a frame: gamma-distributed scales, some positions not coded."""
    indexes = np.clip(rng.gamma(1.2, mean_row / 1.2, size), 0, SCALE_LEVELS - 1).astype(np.uint8)
    sigma = np.exp(np.linspace(np.log(SCALE_MIN), np.log(SCALE_MAX), SCALE_LEVELS))
    symbols = np.clip(np.rint(rng.standard_normal(size) * sigma[indexes]), -128, 127).astype(np.int8)
    indexes[rng.random(size) < skipped] = 255
    return symbols, indexes


@st.composite
def frames(draw):
    """Segments of tables of all kinds that kernels tell apart, of few and many rows, with skips and escapes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widths = draw(st.sampled_from([[2, 3, 5, 8], [2, 3, 9, 18, 31], [2, 18, 32, 256]]))
    arrays = random_rows(rng, draw(st.sampled_from([1, 5, 200])), widths)
    table = native(arrays)
    segments = []
    for _ in range(draw(st.integers(0, 3))):
        dtype = draw(st.sampled_from([np.uint8, np.uint16]))
        size = draw(st.integers(0, 70) | st.sampled_from([600, 4095, 4096, 4097, 20_000]))
        first_row = draw(st.integers(0, arrays.rows - 1))
        indexes = rng.integers(0, min(arrays.rows - first_row, 255), size).astype(dtype)
        indexes[rng.random(size) < draw(st.sampled_from([0.0, 0.3, 0.99, 1.0]))] = SKIP[dtype]
        spread = draw(st.sampled_from([2, 128]))
        symbols = rng.integers(-spread, spread, size).astype(np.int8)
        segments.append((table, symbols, indexes, first_row))
    return segments


@relaxed
@given(frames())
def test_all_kernels_give_the_same_bytes_and_symbols(segments):
    assert within_limits(segments, check(segments))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 33, 4096, 4097, 20_000, 20_001, 100_000, 1_000_000])
@pytest.mark.parametrize(("mean_row", "skipped"), [(17, 0.0), (17, 0.75), (64, 0.0), (110, 0.5), (1, 0.9)])
def test_gaussian_lists_of_all_sizes(gauss, size, mean_row, skipped):
    rng = np.random.default_rng(size + mean_row)
    symbols, indexes = gaussian_list(rng, size, mean_row, skipped)
    half = size // 3
    segments = [(gauss, symbols[:half], indexes[:half], 0), (gauss, symbols[half:], indexes[half:], 0)]
    assert within_limits(segments, check(segments, OPTIONS if size < 1_000_000 else ONE_THREAD))


def test_large_frames_have_parts_and_small_ones_one_lane(gauss):
    rng = np.random.default_rng(0)
    firsts = []
    for size, mean_row in ((100, 17), (5_000, 60), (30_000, 17), (100_000, 60), (1_000_000, 60)):
        symbols, indexes = gaussian_list(rng, size, mean_row, 0.0)
        firsts.append(encode([(gauss, symbols, indexes, 0)])[0])
    lanes = [1 << (first & 7) for first in firsts]
    parts = [1 << (first >> 4) for first in firsts]
    assert lanes[0] == 1
    assert lanes == sorted(lanes)
    assert lanes[-1] == 32
    assert parts[:3] == [1, 1, 1]
    assert parts[-1] >= 4


def test_the_size_of_periodic_lists(gauss):
    """Estimating it from some symbols of a large frame must not miss a column of the latent, nor take it for all."""
    rng = np.random.default_rng(5)
    sigma = np.exp(np.linspace(np.log(SCALE_MIN), np.log(SCALE_MAX), SCALE_LEVELS))
    for period in (16, 17, 34, 64):
        for column, others in ((127, 0), (0, 127)):
            indexes = np.where(np.arange(200_000) % period == 0, column, others).astype(np.uint8)
            symbols = np.rint(rng.standard_normal(indexes.size) * sigma[indexes]).astype(np.int8)
            segments = [(gauss, symbols, indexes, 0)]
            assert within_limits(segments, encode(segments)), (period, column)


def test_the_size_of_large_sparse_frames(gauss):
    rng = np.random.default_rng(6)
    for every in (4096, 400, 100):
        indexes = np.where(np.arange(1_000_000) % every == 0, 20, 255).astype(np.uint8)
        symbols = rng.integers(-2, 3, indexes.size).astype(np.int8)
        segments = [(gauss, symbols, indexes, 0)]
        assert within_limits(segments, encode(segments)), every


# Number of symbols -> (lanes, parts, bytes, SHA-256) of the payload of `fixed_segments`.
GOLDEN = {
    100: (1, 1, 56, "33e3bd8d4eafcfe54313cec83879baad39a10a7275c96ee9fb46309d0a3ea435"),
    8_000: (4, 1, 4061, "b88e49a02d91412248847861c9c908cb9f304888ee7f5d8ff41c535b2f78f6f2"),
    20_000: (8, 1, 10160, "df33ee1b846c05c62acb5c72d33aec5a7d8ad2d4de151c6e05e61944505521c6"),
    100_000: (32, 1, 50880, "b3368baa72e1e865c8b0b30b34ecbd6a88f4df237d0d37a8cdea660f1e4977be"),
    250_000: (32, 2, 127121, "413f94314ecf57e8933f19d028181a0b5070e0736c78a16a584808d6c37859d3"),
}


def fixed_segments(table, size):
    """Lists that depend on no random generator: all table rows, all symbols, some positions not coded."""
    i = np.arange(size)
    noise = (i * 2654435761 % 2**32 >> 8).astype(np.int64)
    indexes = (noise % 128).astype(np.uint8)
    reach = 1 + indexes // 24
    symbols = (noise // 128 % (2 * reach + 1) - reach).astype(np.int8)
    symbols[::97] = (i[::97] % 256 - 128).astype(np.int8)
    indexes[noise // 4096 % 5 == 0] = 255
    half = size // 3
    return [(table, symbols[:half], indexes[:half], 0), (table, symbols[half:], indexes[half:], 0)]


@pytest.mark.parametrize(("size", "expected"), GOLDEN.items())
def test_golden_payloads(gauss, size, expected):
    payload = check(fixed_segments(gauss, size), ONE_THREAD)
    layout = 1 << (payload[0] & 7), 1 << (payload[0] >> 4)
    assert (*layout, len(payload), hashlib.sha256(payload).hexdigest()) == expected


@pytest.mark.parametrize("size", [0, 1, *GOLDEN])
def test_a_reader_made_from_the_document(gauss, size):
    segments = fixed_segments(gauss, size)
    rows = reference.table_rows(gaussian_tables())
    lists = [[None if i == 255 else rows[i] for i in indexes] for _, _, indexes, _ in segments]
    for got, (_, symbols, indexes, _) in zip(
        reference.decode_interleaved(encode(segments), lists), segments, strict=True
    ):
        np.testing.assert_array_equal(got, np.where(indexes == 255, 0, symbols))


@pytest.mark.parametrize("size", [300, 8000])
def test_damage_is_refused_or_decoded_as_the_document_says(gauss, size):
    segments = fixed_segments(gauss, size)
    rows = reference.table_rows(gaussian_tables())
    lists = [[None if i == 255 else rows[i] for i in indexes] for _, _, indexes, _ in segments]
    payload = encode(segments)
    assert size == 300 or payload[0] & 7
    for at in [*range(12), *range(12, len(payload), len(payload) // 30), len(payload) - 1]:
        damaged = bytearray(payload)
        damaged[at] ^= 1 << at % 8
        try:
            twin = reference.decode_interleaved(bytes(damaged), lists)
        except BitstreamError:
            with pytest.raises(CorruptError):
                decode(damaged, segments)
        else:
            assert [got.tolist() for got in decode(damaged, segments)] == twin, at


def test_no_symbols_take_no_bytes(gauss):
    nothing = (gauss, np.zeros(3, np.int8), np.full(3, 255, np.uint8), 0)
    assert check([]) == check([nothing, nothing]) == b""
    for payload in (b"\0", b"\5", b"\0\0"):
        with pytest.raises(CorruptError, match="does not end"):
            decode(payload, [nothing])


def test_escapes_of_all_values(gauss):
    symbols = np.repeat(np.arange(-128, 128, dtype=np.int8), 300)
    for row in (0, 127):
        check([(gauss, symbols, np.full(symbols.size, row, np.uint8), 0)])


def test_z_rows_of_a_large_table():
    # 72 qps of 128 channels, as uint16 indexes: rows far from 0, modes that are not symbol 0.
    rng = np.random.default_rng(1)
    table = native(random_rows(rng, 72 * 128, [5, 9, 18]))
    indexes = np.repeat(np.arange(128, dtype=np.uint16), 510)
    symbols = rng.integers(-9, 9, indexes.size).astype(np.int8)
    check([(table, symbols, indexes, 71 * 128)])
    check([(table, symbols, np.ascontiguousarray(indexes * 72), 0)])


@pytest.mark.parametrize(("size", "lanes"), [(15_000, 16), (200_000, 32)])
def test_rows_that_are_almost_sure_to_be_0(gauss, size, lanes):
    """Behind symbols that earn the lanes; up to 64 such rows from the first on have a shortcut."""
    rng = np.random.default_rng(7)
    cdf = np.zeros((110, 5), np.int32)  # symbols -1, 0, 1 and the tail
    before = 1 + 13 * np.arange(110)
    cdf[:, 1], cdf[:, 2], cdf[:, 3], cdf[:, 4] = before, before + 64_000, before + 64_050, 65_536
    cdf[105:, 2] -= 1  # not quite as sure
    calm = CdfTable(cdf, np.full(110, 5, np.int32), np.full(110, -1, np.int32))
    symbols, indexes = gaussian_list(rng, size, 1000, 0.0)
    for first_row, rows in ((20, 64), (20, 90), (43, 64), (60, 50)):
        sure = rng.integers(0, rows, 4999).astype(np.uint8)
        seldom = np.where(rng.random(sure.size) < 0.01, rng.integers(-5, 6, sure.size), 0).astype(np.int8)
        assert 1 << (check([(gauss, symbols, indexes, 0), (calm, seldom, sure, first_row)])[0] & 7) == lanes


def test_objects_can_be_used_again(gauss):
    rng = np.random.default_rng(2)
    encoder, decoder = InterleavedEncoder(2), InterleavedDecoder(b"", 2)
    for size in (70_000, 10, 0, 300_000, 5_000):
        symbols, indexes = gaussian_list(rng, size, 40, 0.3)
        payload = encoder.encode([(gauss, symbols, indexes, 0)])
        assert payload == encode([(gauss, symbols, indexes, 0)])
        decoder.reset(payload)
        np.testing.assert_array_equal(decoder.decode(gauss, indexes), np.where(indexes == 255, 0, symbols))
        decoder.finish()
        decoder.reset(b"\xff")
        with pytest.raises(CorruptError):
            decoder.finish()


def test_an_encoder_serves_several_threads(gauss):
    rng = np.random.default_rng(3)
    jobs = []
    for _ in range(8):
        symbols, indexes = gaussian_list(rng, 30_000, 60, 0.2)
        jobs.append([(gauss, symbols, indexes, 0)])
    encoder = InterleavedEncoder(2)
    with ThreadPoolExecutor(4) as pool:
        payloads = list(pool.map(encoder.encode, jobs))
    assert payloads == [encode(job) for job in jobs]


def outcome(payload, segments, **options):
    try:
        return [got.tobytes() for got in decode(payload, segments, **options)]
    except CorruptError as error:
        return str(error)


@relaxed
@given(frames(), st.data())
def test_damage_is_refused_or_decoded_alike_by_all_kernels(segments, data):
    payload = bytearray(encode(segments))
    damage = data.draw(st.sampled_from(["flip", "cut", "append", "layout", "random"]))
    if damage == "flip" and payload:
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "cut":
        del payload[data.draw(st.integers(0, len(payload))) :]
    elif damage == "append":
        payload += data.draw(st.binary(min_size=1, max_size=4))
    elif damage == "layout" and payload:
        payload[0] = data.draw(st.integers(0, 255))
        payload[1:1] = data.draw(st.sampled_from([b"", b"\xff" * 4, bytes(60)]))
    else:
        payload = bytearray(data.draw(st.binary(max_size=60)))
    outcomes = [outcome(payload, segments, **options) for options in OPTIONS]
    assert all(other == outcomes[0] for other in outcomes)


def test_flipped_bits_show(gauss):
    # Not all: the bits of an escape are only checked for what is impossible.
    rng = np.random.default_rng(4)
    symbols, indexes = gaussian_list(rng, 400, 17, 0.0)
    segments = [(gauss, symbols, indexes, 0)]
    payload = encode(segments)
    missed = 0
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(CorruptError):
            decode(damaged, segments)
            missed += 1
    assert missed <= 0.03 * 8 * len(payload)


def test_refusals(gauss):
    indexes = np.full(300, 100, np.uint8)
    segments = [(gauss, np.zeros(300, np.int8), indexes, 0)]
    payload = encode(segments)
    with pytest.raises(TruncatedError, match="ends before its last symbol"):
        decode(payload[: len(payload) // 2], segments)
    with pytest.raises(CorruptError, match="does not end after"):
        decode(payload + b"\0", segments)
    with pytest.raises(CorruptError, match="impossible symbol"):
        decode(b"\0" + bytes(8), segments)
    for first in (6, 7, 8, 0x50, 0xF0):
        with pytest.raises(CorruptError, match="impossible byte"):
            decode(bytes([first]) + payload[1:], segments)
    for lengths in (b"", b"\xff\xff\xff\xff", b"\0\0\0"):
        with pytest.raises(TruncatedError):
            decode(b"\x10" + lengths, segments)
    decoder = InterleavedDecoder(payload[:20])
    for _ in range(2):  # a fault is final
        with pytest.raises(CorruptError):
            decoder.decode(gauss, indexes)
    with pytest.raises(IndexError, match="rows of the table"):
        InterleavedDecoder(payload).decode(gauss, np.full(1, 200, np.uint8))
    with pytest.raises(IndexError, match="row 128, the table has 128 rows"):
        encode([(gauss, np.zeros(4, np.int8), np.array([0, 128, 0, 0], np.uint8), 0)])
    for threads in (0, 65):
        with pytest.raises(ValueError, match=f"threads is {threads}, not in 1..64"):
            InterleavedEncoder(threads)
        with pytest.raises(ValueError, match=f"threads is {threads}, not in 1..64"):
            InterleavedDecoder(b"", threads)
    with pytest.raises(ValueError, match="no kernels 'mmx'"):
        InterleavedEncoder(kernels="mmx")


def test_an_escape_beyond_int8_is_refused():
    def row(offset):
        return CdfTable(*(np.array(values, np.int32) for values in ([[0, 1, 65536]], [3], [offset])))

    indexes = np.zeros(1, np.uint8)
    payload = encode([(row(-128), np.array([100], np.int8), indexes, 0)])
    with pytest.raises(CorruptError, match="impossible"):
        InterleavedDecoder(payload).decode(row(0), indexes)
