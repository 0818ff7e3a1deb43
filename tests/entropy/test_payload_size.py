"""Estimated sizes of payloads against those of the coder."""

import numpy as np
import pytest
import synthetic

from nvc_jax.entropy.coder import EntropyCoder
from nvc_jax.entropy.payload_size import estimate_payload_bytes
from nvc_jax.entropy.tables import gaussian_tables, symbol_bits
from nvc_jax.spec import DIALECTS


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("count", [1, 300, 19_000, 21_000, 400_000])  # 1, 1, 8 and 16 lanes; 32 in two parts
def test_estimates_are_near_the_coder(dialect, count):
    rng = np.random.default_rng(count)
    rows = rng.integers(20, 90, count).astype(np.uint8)
    symbols = np.rint(rng.standard_normal(count) * 0.11 * 1.05**rows).clip(-128, 127).astype(np.int8)
    coder = EntropyCoder(synthetic.tiny_model().tables["inter"], dialect)
    payload, _ = coder.encode(0, np.zeros((8, 0, 0), np.int8), [(symbols, rows)])
    bits = symbol_bits(gaussian_tables())[rows, symbols.astype(np.int32) + 128].sum(dtype=np.float64)
    assert estimate_payload_bytes(dialect, bits, count) == pytest.approx(len(payload), rel=1e-4, abs=4)


def test_nothing_coded_is_no_payload():
    assert estimate_payload_bytes("interleaved", 0.0, 0) == 0
