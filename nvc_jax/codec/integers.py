"""From trained parameters to those of the int16 arithmetic (docs/INT16.md, sections 2 and 6)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nvc_jax.codec.store import StoredModel, make_model
from nvc_jax.errors import ModelError
from nvc_jax.models.params import ParamTree, flatten, unflatten
from nvc_jax.ops.exact import WEIGHT_MAX, prepare, prepare_taps
from nvc_jax.spec import FIXED_SCALE, FIXED_WEIGHT_SCALE

BIAS_MAX = 1 << 28
INT16_MAX = (1 << 15) - 1

# By measurement (docs/INT16.md, section 6). Every choice gives the same integers.
_FASTEST = {"cpu": "float32"}
_FASTEST_ELSEWHERE = "int8"


def integerise(model: StoredModel) -> StoredModel:
    """The int16 model of a trained one: every parameter times its scale, rounded half to even, and clamped.

    Multiplications by powers of two and roundings are exact, so every machine makes the same model. The distribution
    of z is left out: its tables say all that coding needs.
    """
    if model.precision == "int16":
        return model
    flat = {
        name: _to_integers(leaf, *_unit(name))
        for name, leaf in flatten(model.params).items()
        if "/z_prior/" not in name
    }
    return make_model(model.config, unflatten(flat), f"int16 of {model.source}", model.tables)


def clamped_parameters(model: StoredModel) -> dict[str, int]:
    """How many values of each parameter are at the end of their range, by name, of an int16 model."""
    counts = {
        name: int((np.abs(leaf.astype(np.int64)) >= _unit(name)[1]).sum())
        for name, leaf in flatten(model.params).items()
    }
    return {name: count for name, count in counts.items() if count}


def prepare_params(params: ParamTree, strategy: str | None = None) -> dict[str, Any]:
    """Parameters of one network of an int16 model on the device, kernels prepared for exact products.

    Args:
        params: the tree of integers.
        strategy: a key of `ops.exact.STRATEGIES`; by default the one that is fastest on this backend.

    Raises:
        ModelError: a kernel's sums cannot be bounded; its name is told.
    """
    strategy = strategy or _FASTEST.get(jax.default_backend(), _FASTEST_ELSEWHERE)

    def prepared(name: str, leaf: npt.NDArray[Any]) -> Any:
        try:
            if name.endswith("depthwise/kernel"):
                return prepare_taps(leaf)
            return prepare(leaf, strategy) if _is_kernel(name) else jnp.asarray(leaf)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None

    return unflatten({name: prepared(name, leaf) for name, leaf in flatten(params).items()})


def _is_kernel(name: str) -> bool:
    return name.rsplit("/", 1)[1].startswith("kernel")


def _unit(name: str) -> tuple[int, int, Any]:
    """Scale, largest magnitude and type of a parameter."""
    if _is_kernel(name):
        return FIXED_WEIGHT_SCALE, WEIGHT_MAX, np.int16
    if name.rsplit("/", 1)[1].startswith("bias"):
        return FIXED_SCALE * FIXED_WEIGHT_SCALE, BIAS_MAX, np.int32
    return FIXED_SCALE, INT16_MAX, np.int16


def _to_integers(values: npt.NDArray[np.float32], scale: int, largest: int, dtype: Any) -> npt.NDArray[Any]:
    return np.clip(np.rint(values.astype(np.float64) * scale), -largest, largest).astype(dtype)
