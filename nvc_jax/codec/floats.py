"""Parameters of real networks on the device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from nvc_jax.errors import ConfigError
from nvc_jax.models.params import ParamTree, flatten, is_block_kernel, is_depthwise, is_kernel, unflatten
from nvc_jax.ops import native, native_floating
from nvc_jax.ops.block import PallasKernel, paired_halves

XLA = "xla"
PALLAS = "pallas"  # DC blocks in the kernels of ops/pallas_block.py, everything else by XLA
PALLAS_DEPTHWISE = "pallas_depthwise"  # their depthwise convolutions alone


def strategies(dtype: DTypeLike, platform: str | None = None) -> tuple[str, ...]:
    """Kernel backends of a platform, by default this machine's, in a precision, the default first.

    Results differ by roundings.
    """
    if (platform or jax.default_backend()) == "gpu" and jnp.dtype(dtype).itemsize == 2:
        return XLA, PALLAS_DEPTHWISE, PALLAS
    return (*(native.available(jnp.dtype(dtype).name) if platform is None else ()), XLA)


def prepare_params(params: ParamTree, dtype: DTypeLike, strategy: str, platform: str | None = None) -> dict[str, Any]:
    """Parameters in a precision, kernels packed unless they are for XLA.

    Args:
        params: trees of float32.
        dtype: the precision of the computation.
        strategy: one of `strategies`.
        platform: that will compute.

    Raises:
        ConfigError: the platform does not have the strategy.
    """
    choices = strategies(dtype, platform)
    if strategy not in choices:
        raise ConfigError(f"unknown kernel backend {strategy!r}; available: {', '.join(choices)}.")

    def prepared(name: str, leaf: Any) -> Any:
        if strategy not in (XLA, PALLAS, PALLAS_DEPTHWISE) and is_kernel(name) and not is_depthwise(name):
            return native_floating.pack(leaf, strategy, 2 if name.endswith("ffn/kernel_in") else 1, dtype)
        on_device = jax.device_put(np.asarray(leaf).astype(dtype))
        if strategy == PALLAS and name.endswith(("ffn/kernel_in", "ffn/bias_in")):
            on_device = paired_halves(on_device)
        is_of_pallas = {PALLAS: is_block_kernel, PALLAS_DEPTHWISE: is_depthwise}.get(strategy, lambda _: False)
        return PallasKernel(on_device) if is_of_pallas(name) else on_device

    return unflatten({name: prepared(name, leaf) for name, leaf in flatten(params).items()})
