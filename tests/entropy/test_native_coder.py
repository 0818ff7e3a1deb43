"""The native coder: exact bytes of the official implementation, refusals, and limits."""

import hashlib
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import reference_coder as reference

from native_coder import CdfTable, CorruptError, DcvcDecoder, DcvcEncoder, TruncatedError  # noqa: TID251
from nvc_jax.entropy.tables import CdfArrays, gaussian_tables

DATA = Path(__file__).parents[1] / "data"
STREAMS = {"one": 1, "two": 2}


def native(arrays):
    return CdfTable(arrays.cdf, arrays.length, arrays.offset)


@pytest.fixture(scope="module")
def gauss():
    return native(gaussian_tables())


@pytest.fixture(scope="module")
def small():
    """Part of the golden entropy.npz, with the z tables of the one qp that it uses."""
    with np.load(DATA / "entropy_small.npz") as arrays:
        return dict(arrays)


def encode(segments, streams):
    return DcvcEncoder(streams).encode(segments)


def decode(payload, segments, streams):
    decoder = DcvcDecoder(payload, streams)
    result = [decoder.decode(table, indexes, first_row) for table, _, indexes, first_row in segments]
    decoder.finish()
    return result


def case_segments(arrays, case, y_table, z_table, z_base):
    segments = []
    for i, kind in enumerate(str(arrays[f"coder/{case}/kinds"])):
        symbols = arrays[f"coder/{case}/{i}/sym"]
        if kind == "z":
            channels = np.arange(128, dtype=np.uint16)[:, None, None]
            indexes = np.ascontiguousarray(np.broadcast_to(channels, symbols.shape))
            first_row = int(arrays[f"coder/{case}/{i}/qp"]) * 128 - z_base
            segments.append((z_table, symbols, indexes, first_row))
        else:
            segments.append((y_table, symbols, arrays[f"coder/{case}/{i}/idx"], 0))
    return segments


def check_cases(arrays, y_table, z_table, z_base):
    for case in arrays["coder/names"]:
        segments = case_segments(arrays, case, y_table, z_table, z_base)
        for name, streams in STREAMS.items():
            payload = encode(segments, streams)
            expected = arrays.get(f"coder/{case}/bytes_{name}")
            assert expected is None or payload == expected.tobytes(), (case, name)
            for got, (_, symbols, _, _) in zip(decode(payload, segments, streams), segments, strict=True):
                np.testing.assert_array_equal(got, symbols)


def test_official_bytes_of_the_stored_cases(small, gauss):
    z = native(CdfArrays(small["z_cdf"], small["z_length"], small["z_offset"]))
    check_cases(small, gauss, z, int(small["z_qp"]) * 128)


def test_official_bytes_of_all_cases(golden, gauss):
    with np.load(golden / "entropy.npz") as arrays:
        parts = ("z_video_cdf", "z_video_cdf_length", "z_video_offset")
        z = native(CdfArrays(*(arrays[part].astype(np.int32) for part in parts)))
        check_cases(dict(arrays), gauss, z, 0)


def test_two_streams_share_their_last_bytes_as_the_official_ones(small, gauss):
    for name in small["merge/names"]:
        symbols, indexes = small[f"merge/{name}/sym"], small[f"merge/{name}/idx"]
        half = len(symbols) // 2
        expected = {key: small[f"merge/{name}/bytes_{key}"].tobytes() for key in ("two", "first", "second")}
        assert encode([(gauss, symbols, indexes, 0)], 2) == expected["two"], name
        assert encode([(gauss, symbols[:half], indexes[:half], 0)], 1) == expected["first"]
        assert encode([(gauss, symbols[half:], indexes[half:], 0)], 1) == expected["second"]


@pytest.mark.parametrize(("name", "streams"), STREAMS.items())
def test_a_million_symbols(small, gauss, name, streams):
    key = np.array([zlib.crc32(b"large"), 0], np.uint64)
    rng = np.random.Generator(np.random.Philox(key=key))
    indexes = rng.integers(0, 128, 1_000_000, dtype=np.uint8)
    sigma = np.exp(np.linspace(np.log(0.11), np.log(16.0), 128)).astype(np.float32)
    noise = rng.standard_normal(1_000_000, dtype=np.float32)
    symbols = np.clip(np.rint(noise * sigma[indexes]), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(symbols[:64], small["large/head_sym"])
    segments = [(gauss, symbols, indexes, 0)]
    payload = encode(segments, streams)
    assert hashlib.sha256(payload).hexdigest() == str(small[f"large/sha256_{name}"])
    np.testing.assert_array_equal(decode(payload, segments, streams)[0], symbols)


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_few_symbols_with_many_bytes(gauss, streams, size):
    # The official encoder writes outside its buffer, or refuses an empty half.
    symbols = np.full(size, -128, np.int8)
    segments = [(gauss, symbols, np.zeros(size, np.uint8), 0)]
    payload = encode(segments, streams)
    assert len(payload) > size or size == 0
    np.testing.assert_array_equal(decode(payload, segments, streams)[0], symbols)


def test_no_symbols_take_no_bytes(gauss):
    nothing = (gauss, np.zeros(3, np.int8), np.full(3, 255, np.uint8), 0)
    for streams in (1, 2):
        assert encode([nothing, nothing], streams) == b""
        np.testing.assert_array_equal(decode(b"", [nothing], streams)[0], [0, 0, 0])
        with pytest.raises(CorruptError, match="does not end"):
            decode(b"\0", [nothing], streams)


@pytest.mark.parametrize("streams", [1, 2])
def test_skipped_symbols_cost_nothing_and_decode_to_zero(gauss, streams):
    rng = np.random.default_rng(1)
    indexes = rng.integers(0, 128, 40_000, dtype=np.uint8)
    symbols = rng.integers(-3, 4, 40_000, dtype=np.int8)
    skipped = rng.random(40_000) < 0.6
    sparse = np.where(skipped, np.uint8(255), indexes)
    payload = encode([(gauss, symbols, sparse, 0)], streams)
    assert payload == encode([(gauss, symbols[~skipped], indexes[~skipped], 0)], streams)
    got = decode(payload, [(gauss, None, sparse, 0)], streams)[0]
    np.testing.assert_array_equal(got, np.where(skipped, 0, symbols))


def test_size_is_close_to_the_entropy(gauss):
    arrays = gaussian_tables()
    rng = np.random.default_rng(2)
    indexes = rng.integers(0, 70, 20_000, dtype=np.uint8)
    slots = rng.integers(0, 65536, indexes.size)
    bins = (arrays.cdf[indexes, 1:] <= slots[:, None]) & (np.arange(18) < arrays.length[indexes, None] - 1)
    bins = bins.sum(axis=1)
    regular = bins < arrays.length[indexes] - 2
    symbols = np.where(regular, bins + arrays.offset[indexes], 0).astype(np.int8)
    bins = symbols - arrays.offset[indexes]
    frequency = arrays.cdf[indexes, bins + 1] - arrays.cdf[indexes, bins]
    bits = -np.log2(frequency / 65536).sum()
    for streams in (1, 2):
        assert len(encode([(gauss, symbols, indexes, 0)], streams)) <= 1.01 * bits / 8 + 8 * streams


def test_encoders_and_tables_serve_several_threads(gauss):
    rng = np.random.default_rng(3)
    jobs = []
    for _ in range(12):
        indexes = rng.integers(0, 128, 30_000, dtype=np.uint8)
        jobs.append([(gauss, rng.integers(-4, 5, indexes.size, dtype=np.int8), indexes, 0)])
    encoder = DcvcEncoder(2)
    with ThreadPoolExecutor(4) as pool:
        payloads = list(pool.map(encoder.encode, jobs))
    assert payloads == [encode(job, 2) for job in jobs]


def test_segments_of_another_thread_do_not_disturb_a_decoder(gauss):
    indexes = np.zeros(5, np.uint8)
    payload = encode([(gauss, np.arange(-2, 3, dtype=np.int8), indexes, 0)], 1)
    buffer = bytearray(payload)
    decoder = DcvcDecoder(memoryview(buffer))
    buffer[:] = bytes(len(buffer))  # the decoder has its own copy
    np.testing.assert_array_equal(decoder.decode(gauss, indexes), np.arange(-2, 3))
    decoder.finish()


@pytest.mark.parametrize("streams", [1, 2])
def test_a_fault_is_final(gauss, streams):
    indexes = np.full(300, 100, np.uint8)
    payload = encode([(gauss, np.zeros(300, np.int8), indexes, 0)], streams)
    decoder = DcvcDecoder(payload[:20], streams)
    for _ in range(2):
        with pytest.raises(CorruptError):
            decoder.decode(gauss, indexes)
    with pytest.raises(CorruptError):
        decoder.finish()


def test_an_end_within_the_state_is_a_truncation(gauss):
    for size in range(4):
        with pytest.raises(TruncatedError, match="ends before"):
            DcvcDecoder(bytes(size)).decode(gauss, np.zeros(1, np.uint8))
    with pytest.raises(CorruptError, match="impossible"):
        DcvcDecoder(bytes(4)).decode(gauss, np.zeros(1, np.uint8))


def test_escapes_of_a_full_range_row():
    # 255 symbols have bins; only the largest int8 must escape.
    cdf = np.concatenate([np.arange(256), [65536]]).astype(np.int32)[None]
    table = CdfTable(cdf, np.array([257], np.int32), np.array([-128], np.int32))
    symbols = np.arange(-128, 128, dtype=np.int8)
    segments = [(table, symbols, np.zeros(256, np.uint8), 0)]
    for streams in (1, 2):
        np.testing.assert_array_equal(decode(encode(segments, streams), segments, streams)[0], symbols)


def test_an_escape_beyond_int8_is_refused():
    # One writer's offset is another one's escape: the same bins, shifted out of int8.
    def row(offset):
        return CdfTable(*(np.array(values, np.int32) for values in ([[0, 1, 65536]], [3], [offset])))

    indexes = np.zeros(1, np.uint8)
    payload = encode([(row(-128), np.array([100], np.int8), indexes, 0)], 1)
    with pytest.raises(CorruptError, match="impossible"):
        DcvcDecoder(payload).decode(row(0), indexes)


@pytest.mark.parametrize(
    ("cdf", "length", "offset", "message"),
    [
        ([[1, 5, 65536]], [3], [0], "row 0: starts at 1, not at 0"),
        ([[0, 5, 65536], [0, 0, 65536]], [3, 3], [0, 0], "row 1: value 0 at 1 is not above 0"),
        ([[0, 5, 65535]], [3], [0], "row 0: ends at 65535, not at 65536"),
        ([[0, 70000, 65536]], [3], [0], "row 0: value 65536 at 2 is not above 70000"),
        ([[0, 5, 65536]], [4], [0], r"row 0: length 4 is not in 3\.\.3"),
        ([[0, 65536, 0]], [2], [0], r"row 0: length 2 is not in 3\.\.3"),
        ([[0, 5, 65536]], [3], [128], "row 0: offset 128 with 2 bins leaves the int8 range"),
        ([[0, 5, 65536]], [3], [-129], "row 0: offset -129"),
        ([[*range(258), 65536]], [259], [-128], "row 0: 258 bins, at most 256"),
        ([[0, 5, 65536]], [3, 3], [0], "same number of rows"),
        (np.zeros((0, 3)), [], [], "0 rows"),
    ],
)
def test_bad_tables_are_refused_by_row_and_value(cdf, length, offset, message):
    with pytest.raises(ValueError, match=message):
        CdfTable(np.array(cdf, np.int32), np.array(length, np.int32), np.array(offset, np.int32))


def test_wrong_arguments_are_refused(gauss):
    symbols, indexes = np.zeros(4, np.int8), np.zeros(4, np.uint8)
    encoder = DcvcEncoder()
    with pytest.raises(TypeError, match="symbols must be a C-contiguous int8 array, not int32"):
        encoder.encode([(gauss, symbols.astype(np.int32), indexes, 0)])
    with pytest.raises(TypeError, match="not non-contiguous int8"):
        encoder.encode([(gauss, np.zeros(8, np.int8)[::2], indexes, 0)])
    with pytest.raises(TypeError, match="indexes must be a C-contiguous uint8 or uint16 array, not int64"):
        encoder.encode([(gauss, symbols, indexes.astype(np.int64), 0)])
    with pytest.raises(ValueError, match="4 symbols but 3 indexes"):
        encoder.encode([(gauss, symbols, indexes[:3], 0)])
    with pytest.raises(IndexError, match="row 128, the table has 128 rows"):
        encoder.encode([(gauss, symbols, np.array([0, 128, 0, 0], np.uint8), 0)])
    with pytest.raises(IndexError, match="row 128"):
        encoder.encode([(gauss, symbols, indexes, 128)])
    with pytest.raises(IndexError, match="row 16777216"):
        encoder.encode([(gauss, symbols, indexes, 2**40)])
    for segment in ((gauss, symbols, indexes, -1), (None, symbols, indexes, 0), (gauss, symbols), None):
        with pytest.raises(TypeError, match="a segment must be a tuple"):
            encoder.encode([segment])
    with pytest.raises(IndexError, match="rows of the table"):
        DcvcDecoder(bytes(8)).decode(gauss, np.full(1, 200, np.uint8))
    with pytest.raises(TypeError, match="contiguous buffer of bytes"):
        DcvcDecoder(np.zeros(8, np.int32))
    for streams in (0, 3):
        with pytest.raises(ValueError, match=f"streams is {streams}, not 1 or 2"):
            DcvcEncoder(streams)
        with pytest.raises(ValueError, match=f"streams is {streams}, not 1 or 2"):
            DcvcDecoder(b"", streams)


def test_reference_writes_the_official_bytes(small):
    rows = reference.table_rows(gaussian_tables())
    for case in ("y_one_escape", "y_escapes_all_values", "y_1000", "y_zeros_idx0"):
        segments = []
        for i in range(len(str(small[f"coder/{case}/kinds"]))):
            values = small[f"coder/{case}/{i}/sym"].tolist()
            segments.append(([rows[k] for k in small[f"coder/{case}/{i}/idx"]], values))
        for name, streams in STREAMS.items():
            expected = small.get(f"coder/{case}/bytes_{name}")
            if expected is not None:
                assert reference.encode(segments, streams) == expected.tobytes(), (case, name)
