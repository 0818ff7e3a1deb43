"""From the device to the host. Every copy of the codec comes this way, so that it can be counted and timed (D7)."""

from typing import Any

import numpy as np
import numpy.typing as npt
from jax import Array

from nvc_jax.io.timing import Timer

ENCODER_COPIES = 1  # that the host waits for, of a packet; pictures are copied beside the coding of the next one
DECODER_ROUND_TRIPS = 1  # for each coding step of a packet

waiting, copying = Timer(), Timer()  # of the whole process: for the device to finish, and for the copies themselves


def to_host(array: Array) -> npt.NDArray[Any]:
    """The values of an array; waits for them."""
    with waiting():
        array.block_until_ready()
    with copying():
        return np.asarray(array)
