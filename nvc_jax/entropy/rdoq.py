"""Rate-distortion optimised quantisation: what the encoder rounds to zero although it is nearer to one.

A zero is cheaper than a one by the more bits the smaller the scale is. For a Gaussian of scale sigma and a residual r,
zero is the better choice up to |r| = 1/2 + slope * bits / 2, where slope is what a bit is worth in squared quantisation
steps. No decoder knows of it.
"""

import functools

import numpy as np
import numpy.typing as npt

from nvc_jax.entropy.tables import gaussian_tables, symbol_bits

LARGEST = 0.9  # residuals from here on are never zero


@functools.lru_cache(maxsize=4)
def zero_below(slope: float) -> npt.NDArray[np.float32]:
    """For every table row, NOT_CODED included, the magnitude of a residual below which it becomes zero: [256].

    Args:
        slope: squared quantisation steps per bit. At high rates it would be 0.116, 6 dB per bit; 0 rounds to the
            nearest.
    """
    bits = symbol_bits(gaussian_tables())
    thresholds = np.zeros(256, np.float32)
    thresholds[: len(bits)] = np.minimum(0.5 + slope * (bits[:, 129] - bits[:, 128]) / 2, LARGEST)
    return thresholds
