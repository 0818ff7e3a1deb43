"""What a DC block is made of, in any arithmetic."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Layer = tuple[Any, Any]  # kernel and bias


class BlockLayers(NamedTuple):
    """The layers of a DC block (spec 1) in the order in which they are applied.

    Attributes:
        first: C to C, through WSiLU.
        depthwise: 3x3.
        project: C to C; the input of the block is added to what it gives.
        widen: C to a middle of 4C channels, through WSiLU; its two halves are added.
        narrow: 2C to C; its own input, before it was widened, is added to what it gives.
    """

    first: Layer
    depthwise: Layer
    project: Layer
    widen: Layer
    narrow: Layer


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=["interpret"])
@dataclass(frozen=True)
class PallasKernel:
    """A matrix of weights [K, N] that takes the place of a DC block's kernel in a parameter tree.

    Attributes:
        weights: in the precision of the computation.
        interpret: run the kernels by XLA's operations instead of compiling them, to test them without a GPU.
    """

    weights: Array
    interpret: bool = False


def paired_halves(parameters: Array) -> Array:
    """Kernel [..., 4C] or bias [4C] of `widen`, for the Pallas kernels: the channels of a sum side by side."""
    halves = parameters.reshape(*parameters.shape[:-1], 2, -1)
    return jnp.swapaxes(halves, -1, -2).reshape(parameters.shape)
