"""Parameters as models are exported: with fewer significant bits, kernels in int8."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nvc_jax.codec.compact import STEP_BITS
from nvc_jax.models.params import ParamTree, is_kernel

# Layers whose output channels sum inputs of very different scales: pixels, latents, joined features. Their large and
# small weights do not fit into one int8 step.
_NOT_INT8 = "encoder_in", "encoder_down", "decoder_out", "recon_out", "fusion_out", "spatial_out", "adaptor"


def rounded(params: ParamTree, significant_bits: int, int8_kernels: bool = False) -> ParamTree:
    """Round parameters, float32.

    Args:
        params: of one or several networks, in a program of JAX; or NumPy arrays, which take no compiling.
        significant_bits: of each parameter; with up to 11 of them float16 holds what is below 65504.
        int8_kernels: round most kernels to multiples, at most 127, of a power of two of each output channel instead.
    """
    last = -24 if significant_bits <= 11 else -149  # exponent of the smallest number: of float16, of float32

    def round_leaf(path: Any, leaf: Any) -> Any:
        xp: Any = jnp if isinstance(leaf, Array) else np
        *_, layer, name = (str(key.key) for key in path)
        apart = layer.rstrip("_0123456789") in _NOT_INT8  # without the number of a head
        if int8_kernels and leaf.ndim > 1 and is_kernel(f"{layer}/{name}") and not apart:
            largest = abs(leaf).max(axis=tuple(range(leaf.ndim - 1)))
            exponents = xp.frexp(largest)[1] - STEP_BITS
            steps = xp.clip(xp.round(xp.ldexp(leaf, -exponents)), -127, 127)
            steps = xp.where(steps == 0, np.float32(0), steps)  # int8 has no -0
            return xp.where(xp.isfinite(largest), xp.ldexp(steps, exponents), leaf)
        quantum = xp.maximum(xp.frexp(leaf)[1] - significant_bits, last)
        return xp.ldexp(xp.round(xp.ldexp(leaf, -quantum)), quantum)

    return jax.tree_util.tree_map_with_path(round_leaf, params)


def straight_through(params: ParamTree, significant_bits: int, int8_kernels: bool = False) -> ParamTree:
    """Round parameters as `rounded` does, with the gradient of the identity."""
    exact = rounded(jax.tree.map(lax.stop_gradient, params), significant_bits, int8_kernels)
    return jax.tree.map(lambda leaf, value: leaf + (value - lax.stop_gradient(leaf)), params, exact)
