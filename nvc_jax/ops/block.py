"""The layers of a DC block, in any arithmetic."""

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
        first: C to C, then WSiLU.
        depthwise: 3x3.
        project: C to C, plus the input of the block.
        widen: into the FFN, C to its middle M (an even number), then WSiLU; the two halves are added.
        narrow: M/2 to C, plus the input of the FFN.
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
        interpret: run the kernels in Pallas' interpreter, to test them without a GPU.
    """

    weights: Array
    interpret: bool = False


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=["isa"])
@dataclass(frozen=True)
class TrainedKernel:
    """The kernel of a DC block's first layer in training, where C++ computes the block and its gradients.

    Attributes:
        weights: [C, C] float32, as all other parameters of the block are.
        isa: of the handlers, one of `native.available`.
    """

    weights: Array
    isa: str


def paired_halves(parameters: Array) -> Array:
    """Interleave the halves of the kernel [..., M] or bias [M] of `widen`, as the Pallas kernels read them."""
    halves = parameters.reshape(*parameters.shape[:-1], 2, -1)
    return jnp.swapaxes(halves, -1, -2).reshape(parameters.shape)
