"""From gradients to updates: schedule, clipping, Adam and Muon."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from nvc_jax.errors import ConfigError
from nvc_jax.models.params import ParamTree, flatten, unflatten
from nvc_jax.training.config import Optimiser, Stage

Tree = Any
Transformation = Any  # optax.GradientTransformation


@dataclasses.dataclass(frozen=True, eq=False)
class Packing:
    """How the parameters of a part are kept while training.

    Adam treats all numbers alike: one vector makes it a handful of operations instead of thousands, and the exchange
    of gradients a single message. Muon needs the matrices.

    Attributes:
        unravel: of each part, from a vector to its tree; empty if trees are kept.
    """

    unravel: Mapping[str, Callable[[Array], ParamTree]]

    @classmethod
    def of(cls, optimiser: Optimiser, params: ParamTree) -> "Packing":
        """What an optimiser takes."""
        if optimiser.name == "muon":
            return cls({})
        return cls({part: ravel_pytree(tree)[1] for part, tree in params.items()})

    def pack(self, part: str, tree: ParamTree) -> Tree:
        """Parameters, float32."""
        leaves = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), tree)
        return ravel_pytree(leaves)[0] if part in self.unravel else leaves

    def unpack(self, part: str, packed: Tree) -> ParamTree:
        """The inverse; differentiable."""
        return self.unravel[part](packed) if part in self.unravel else packed


def learning_rate(stage: Stage, step: Array) -> Array:
    """Of a step of a stage, counted from 0: linear warm-up, constant, half a cosine down to `final_share`."""
    step = step.astype(jnp.float32)
    warm = jnp.minimum(1.0, (step + 1.0) / max(stage.warmup_steps, 1))
    begin = stage.decay_from * stage.steps
    progress = jnp.clip((step - begin) / max(stage.steps - begin, 1.0), 0.0, 1.0)
    share = stage.final_share + (1.0 - stage.final_share) * 0.5 * (1.0 + jnp.cos(math.pi * progress))
    return stage.learning_rate * warm * share


def global_norm(tree: Tree) -> Array:
    """Root of the sum of all squares."""
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)))


def clipped(tree: Tree, norm: Array, limit: float) -> Tree:
    """The tree scaled so that its norm is at most `limit`."""
    scale = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-30))
    return jax.tree.map(lambda leaf: leaf * scale, tree)


@functools.cache
def direction(optimiser: Optimiser, packing: Packing) -> Transformation:
    """Gradients to updates that are still to be multiplied by minus the learning rate.

    Raises:
        ConfigError: the installed optax has no Muon.
    """
    adam = optax.scale_by_adam(optimiser.beta1, optimiser.beta2, optimiser.epsilon)
    decay = [] if optimiser.name == "adam" else [optax.add_decayed_weights(optimiser.weight_decay)]
    if optimiser.name != "muon":
        return optax.chain(adam, *decay)
    contrib: Any = getattr(optax, "contrib", None)
    if not hasattr(contrib, "scale_by_muon"):
        raise ConfigError("optimiser.name=muon needs optax 0.2.6 or newer; install it or use adamw.")
    muon = optax.chain(contrib.scale_by_muon(weight_dimension_numbers=_as_matrices), optax.scale(optimiser.muon_scale))
    return optax.chain(optax.partition({"muon": muon, "adam": adam}, _labels), *decay)


def _labels(params: ParamTree) -> ParamTree:
    """Which rule updates a parameter: Muon for 1x1 and full 3x3 kernels."""

    def rule(name: str, leaf: Array) -> str:
        return "muon" if name.rsplit("/", 1)[-1].startswith("kernel") and leaf.ndim in (2, 4) else "adam"

    return unflatten({name: rule(name, leaf) for name, leaf in flatten(params).items()})


def _as_matrices(tree: Tree) -> Tree:
    """How kernels are seen as matrices: the last axis is the output's, all others are the input's."""
    numbers = optax.contrib.MuonDimensionNumbers
    return jax.tree.map(lambda leaf: numbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1), tree)
