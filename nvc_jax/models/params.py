"""Parameter trees: creating them, their shapes, their names."""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.models.config import CodecConfig
from nvc_jax.models.inter import InterModel
from nvc_jax.models.intra import IntraModel

ParamTree = Mapping[str, Any]


def models(config: CodecConfig) -> dict[str, IntraModel | InterModel]:
    """The networks of a codec, by the key of their parameters."""
    return {"intra": IntraModel(config.intra), "inter": InterModel(config.inter)}


def initialise(config: CodecConfig, key: Array) -> dict[str, ParamTree]:
    """Random parameters `{"intra": tree, "inter": tree}`, float32 (initial values: training spec 2)."""
    picture, qp = jnp.zeros((1, 64, 64, 3)), jnp.zeros((1,))
    return {
        name: jax.jit(model.init)(jax.random.fold_in(key, number), picture, qp)["params"]
        for number, (name, model) in enumerate(models(config).items())
    }


def parameter_shapes(config: CodecConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by its flat name, such as `inter/encoder_in/kernel`."""
    tree = jax.eval_shape(lambda: initialise(config, jax.random.key(0)))
    return {name: leaf.shape for name, leaf in flatten(tree).items()}


def flatten(tree: ParamTree) -> dict[str, Any]:
    """Nested parameters to `{"inter/encoder_in/kernel": leaf}`."""
    return dict(flax.traverse_util.flatten_dict(tree, sep="/"))


def unflatten(flat: Mapping[str, Any]) -> dict[str, ParamTree]:
    """The inverse of `flatten`."""
    return dict(flax.traverse_util.unflatten_dict(flat, sep="/"))
