"""Tables of the entropy coder at random."""

import numpy as np

from nvc_jax.entropy.tables import CdfArrays


def random_rows(rng, count, widths):
    """Rows of as many bins as one of `widths`, some of them with frequencies of 1."""
    rows = []
    for _ in range(count):
        bins = int(rng.choice(widths))
        reach = int(rng.choice([bins + 1, 400, 65535]))
        inner = np.sort(rng.choice(np.arange(1, max(reach, bins + 1)), bins - 1, replace=False))
        rows.append(([0, *inner.tolist(), 65536], int(rng.integers(-128, 127 + 3 - bins))))
    width = max(len(cdf) for cdf, _ in rows)
    cdf = np.array([cdf + [0] * (width - len(cdf)) for cdf, _ in rows], np.int32)
    length = np.array([len(cdf) for cdf, _ in rows], np.int32)
    return CdfArrays(cdf, length, np.array([offset for _, offset in rows], np.int32))
