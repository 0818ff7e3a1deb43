"""The native coder against its plain Python twin, on random tables, symbols and damage."""

import contextlib

import numpy as np
import pytest
import reference_coder as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tables import random_rows

from native_coder import CdfTable, CorruptError, DcvcDecoder, DcvcEncoder  # noqa: TID251
from nvc_jax.entropy.tables import CdfArrays
from nvc_jax.errors import BitstreamError

SKIP = {np.uint8: 255, np.uint16: 65535}
relaxed = settings(max_examples=80, deadline=None)


@st.composite
def frames(draw):
    """A table, streams, and segments (symbols, indexes, first_row) of it with skipped symbols."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = random_rows(rng, draw(st.integers(1, 6)), [2, 3, 5, 18, 256])
    segments = []
    for _ in range(draw(st.integers(0, 3))):
        dtype = draw(st.sampled_from([np.uint8, np.uint16]))
        size = draw(st.integers(0, 40) | st.just(600))
        first_row = draw(st.integers(0, arrays.rows - 1))
        indexes = rng.integers(0, arrays.rows - first_row, size).astype(dtype)
        indexes[rng.random(size) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = SKIP[dtype]
        spread = draw(st.sampled_from([2, 128]))
        symbols = rng.integers(-spread, spread, size).astype(np.int8)
        symbols[indexes == SKIP[dtype]] = 0
        segments.append((symbols, indexes, first_row))
    return arrays, draw(st.sampled_from([1, 2])), segments


def native_encode(arrays, streams, segments):
    table = CdfTable(arrays.cdf, arrays.length, arrays.offset)
    return DcvcEncoder(streams).encode([(table, *segment) for segment in segments])


def native_decode(arrays, streams, segments, payload):
    table = CdfTable(arrays.cdf, arrays.length, arrays.offset)
    decoder = DcvcDecoder(payload, streams)
    result = [decoder.decode(table, indexes, first_row) for _, indexes, first_row in segments]
    decoder.finish()
    return result


def coded(arrays, segments):
    """Inputs of the twin: the rows and the values of the coded symbols."""
    rows = reference.table_rows(arrays)
    result = []
    for symbols, indexes, first_row in segments:
        keep = indexes != SKIP[indexes.dtype.type]
        result.append(([rows[first_row + int(i)] for i in indexes[keep]], symbols[keep].tolist()))
    return result


@relaxed
@given(frames())
def test_round_trip_and_the_same_bytes_as_the_twin(frame):
    arrays, streams, segments = frame
    payload = native_encode(arrays, streams, segments)
    assert payload == reference.encode(coded(arrays, segments), streams)
    for got, (symbols, _, _) in zip(native_decode(arrays, streams, segments, payload), segments, strict=True):
        np.testing.assert_array_equal(got, symbols)


@relaxed
@given(frames(), st.data())
def test_damage_is_refused_or_decoded_as_the_twin_does(frame, data):
    arrays, streams, segments = frame
    payload = bytearray(native_encode(arrays, streams, segments))
    damage = data.draw(st.sampled_from(["flip", "cut", "append", "random"]))
    if damage == "flip" and payload:
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "cut":
        del payload[data.draw(st.integers(0, len(payload))) :]
    elif damage == "append":
        payload += data.draw(st.binary(min_size=1, max_size=4))
    else:
        payload = bytearray(data.draw(st.binary(max_size=60)))
    try:
        twin = reference.decode(bytes(payload), [rows for rows, _ in coded(arrays, segments)], streams)
    except BitstreamError:
        with pytest.raises(CorruptError):
            native_decode(arrays, streams, segments, payload)
        return
    for got, expected, (_, indexes, _) in zip(
        native_decode(arrays, streams, segments, payload), twin, segments, strict=True
    ):
        assert got[indexes != SKIP[indexes.dtype.type]].tolist() == expected


def test_flipped_bits_of_a_payload_show():
    # Not all: a changed digit of an escape, or another last symbol, may leave the state as it was.
    rng = np.random.default_rng(0)
    cdf = np.array([[0, 3000, 20000, 60000, 65000, 65536]], np.int32)
    arrays = CdfArrays(cdf, np.array([6], np.int32), np.array([-2], np.int32))
    segments = [(rng.integers(-2, 2, 200).astype(np.int8), np.zeros(200, np.uint8), 0)]
    for streams in (1, 2):
        payload = native_encode(arrays, streams, segments)
        missed = 0
        for bit in range(8 * len(payload)):
            damaged = bytearray(payload)
            damaged[bit // 8] ^= 1 << bit % 8
            with contextlib.suppress(CorruptError):
                native_decode(arrays, streams, segments, damaged)
                missed += 1
        assert missed <= 0.02 * 8 * len(payload)
