"""Zeros that are cheaper than ones."""

import numpy as np
import pytest

from nvc_jax.entropy.rdoq import LARGEST, zero_below
from nvc_jax.entropy.tables import gaussian_tables, symbol_bits
from nvc_jax.spec import NOT_CODED


def test_thresholds():
    """Never below one half, falling with the scale, and at most the largest."""
    thresholds = zero_below(0.06)
    used = thresholds[: gaussian_tables().rows]
    assert used.min() >= 0.5
    assert used.max() == np.float32(LARGEST)
    assert (np.diff(used) <= 1e-3).all()
    assert thresholds[NOT_CODED] == 0


@pytest.mark.parametrize("slope", [0.03, 0.06, 0.116])
def test_a_zero_is_chosen_where_it_is_cheaper(slope):
    bits = symbol_bits(gaussian_tables())
    for row in (60, 90, 127):  # where the threshold is below the largest
        threshold = zero_below(slope)[row]
        for residual in (threshold - 1e-3, threshold + 1e-3):
            costs = [(residual - symbol) ** 2 + slope * bits[row, 128 + symbol] for symbol in (0, 1)]
            assert (costs[0] < costs[1]) == (residual < threshold)
