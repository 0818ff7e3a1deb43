"""Parameters as models are exported: with fewer significant bits, kernels in int8."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nvc_jax.codec.compact import STEP_BITS
from nvc_jax.models.params import ParamTree

# Small and large values meet in layers at pixels, latents and the parameters of latents: int8 would lose the small.
_NOT_INT8 = "encoder_in", "encoder_down", "decoder_out", "recon_out", "fusion_out", "spatial_out", "adaptor"


def rounded(params: ParamTree, significant_bits: int, int8_kernels: bool = False) -> ParamTree:
    """Round the parameters of networks, float32.

    Args:
        params: a tree for each network by its name, in a program of JAX; or of NumPy arrays, which take no compiling.
        significant_bits: of each parameter; up to 11 of them to what float16 holds.
        int8_kernels: round most kernels to multiples, at most 127, of a power of two of each output channel instead.
    """
    last = -24 if significant_bits <= 11 else -149  # exponent of the smallest number: of float16, of float32

    def round_leaf(path: Any, leaf: Any) -> Any:
        xp: Any = jnp if isinstance(leaf, Array) else np
        *_, layer, name = (str(key.key) for key in path)
        apart = layer.rstrip("_0123456789") in _NOT_INT8  # without the number of a head
        if int8_kernels and leaf.ndim > 1 and name.startswith("kernel") and not apart:
            largest = abs(leaf).max(axis=tuple(range(leaf.ndim - 1)))
            exponents = xp.frexp(largest)[1] - STEP_BITS
            steps = xp.clip(xp.round(xp.ldexp(leaf, -exponents)), -127, 127)
            return xp.ldexp(steps.astype("int8").astype("float32"), exponents)  # int8 has no -0
        quantum = xp.maximum(xp.frexp(leaf)[1] - significant_bits, last)
        return xp.ldexp(xp.round(xp.ldexp(leaf, -quantum)), quantum)

    return jax.tree_util.tree_map_with_path(round_leaf, params)


def straight_through(params: ParamTree, significant_bits: int, int8_kernels: bool = False) -> ParamTree:
    """Round parameters as `rounded` does, with the gradient of the identity."""
    exact = rounded(jax.tree.map(lax.stop_gradient, params), significant_bits, int8_kernels)
    return jax.tree.map(lambda leaf, value: leaf + (value - lax.stop_gradient(leaf)), params, exact)
