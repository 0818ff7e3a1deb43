"""Parameter trees: creating them, their shapes, their names."""

import functools
import math
import re
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nvc_jax.models.config import CodecConfig
from nvc_jax.models.network import Network
from nvc_jax.models.networks import networks

ParamTree = Mapping[str, Any]


def parameter_shapes(config: CodecConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by its flat name, `network/encoder_in/kernel`."""
    shapes = {name: _shapes(network) for name, network in networks(config).items()}
    return {f"{name}/{path}": shape for name, of_network in shapes.items() for path, shape in of_network}


@functools.lru_cache(maxsize=64)  # tracing takes half a second
def _shapes(network: Network) -> tuple[tuple[str, tuple[int, ...]], ...]:
    count = network.config.pictures
    inputs = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, count, 64, 64, 3), (1, count)))
    tree = jax.eval_shape(lambda *x: network.init(jax.random.key(0), *x), *inputs)["params"]
    return tuple((path, leaf.shape) for path, leaf in flatten(tree).items())


def initialise(config: CodecConfig, seed: int) -> dict[str, ParamTree]:
    """Random parameters, a tree by the name of each network, float32 (initial values: training spec 2).

    Made in NumPy: compiling the initialisers of some 400 tensors would take longer than all else at the start of a run.
    """
    rng = np.random.default_rng(seed)
    return unflatten({name: _initial_value(name, shape, rng) for name, shape in parameter_shapes(config).items()})


def _initial_value(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    leaf = name.rsplit("/", 1)[1]
    if leaf.startswith("bias"):
        return np.zeros(shape, np.float32)
    if leaf == "vectors":
        return np.ones(shape, np.float32)
    noise = rng.standard_normal(shape, np.float32)
    if not leaf.startswith("kernel"):  # z prior
        return np.float32(0.01) * noise
    if is_depthwise(name):  # as PyTorch counts the fans of [C, 1, 3, 3]; blocks start near the identity (spec 8)
        fan_in, fan_out = 9, 9 * shape[-1]
    else:
        taps = math.prod(shape[:-2])
        fan_in, fan_out = taps * shape[-2], taps * shape[-1]
    return np.float32(math.sqrt(2.0 / (fan_in + fan_out))) * noise  # Xavier


def modules_of(params: ParamTree, modules: tuple[str, ...]) -> dict[str, Any]:
    """The parameters of some modules of a network; `blocks` stands for `blocks_0`, `blocks_1`, ..."""
    return {name: params[name] for name in _names_of(tuple(params), modules)}


@functools.cache
def _names_of(names: tuple[str, ...], modules: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name in modules or re.sub(r"_\d+$", "", name) in modules)


def is_kernel(name: str) -> bool:
    """True for the flat name of a kernel: `.../kernel`, `.../kernel_in`, `.../kernel_out`."""
    return name.rsplit("/", 1)[1].split("_")[0] == "kernel"


def is_depthwise(name: str) -> bool:
    """True for the flat name of a depthwise kernel."""
    return name.endswith("depthwise/kernel")


def is_block_kernel(name: str) -> bool:
    """True for the flat name of a 1x1 convolution in a DC block."""
    return name.endswith(("pointwise_in/kernel", "pointwise_out/kernel", "ffn/kernel_in", "ffn/kernel_out"))


def is_first_of_block(name: str) -> bool:
    """True for the flat name of the first kernel of a DC block, after its adaptor."""
    return name.endswith("pointwise_in/kernel")


def flatten(tree: ParamTree) -> dict[str, Any]:
    """Nested parameters to `{"network/encoder_in/kernel": leaf}`."""
    return dict(flax.traverse_util.flatten_dict(tree, sep="/"))


def unflatten(flat: Mapping[str, Any]) -> dict[str, ParamTree]:
    """The inverse of `flatten`."""
    return dict(flax.traverse_util.unflatten_dict(flat, sep="/"))


def dtype(params: ParamTree) -> Any:
    """The precision of a network: the type of its quality banks, which no kernel backend prepacks."""
    return next(leaf["vectors"].dtype for leaf in params.values() if "vectors" in leaf)
