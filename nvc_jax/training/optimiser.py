"""Learning-rate schedule, gradient clipping, Adam and Muon."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
    """Layout of the parameters of each part in training.

    Adam is elementwise: raveled into one vector, it takes a handful of operations instead of thousands, and the
    all-reduce of gradients is a single message. Muon needs the matrices.

    Attributes:
        unravel: by part, from a vector to its tree; empty if trees are kept.
        scales: by part, multiples of the learning rate in the same layout; empty if they are 1.
        frozen: flat names of the parameters whose multiple is 0.
    """

    unravel: Mapping[str, Callable[[Array], ParamTree]]
    scales: Mapping[str, Tree]
    frozen: frozenset[str] = frozenset()

    @classmethod
    def of(cls, optimiser: Optimiser, params: ParamTree) -> "Packing":
        """Choose the layout for an optimiser and parameters, of which only the shapes matter.

        Raises:
            ConfigError: a name in `optimiser.scales` matches no parameter.
        """
        unravel = {} if optimiser.name == "muon" else {part: _unravel(tree) for part, tree in params.items()}
        packing = cls(unravel, {})
        if not optimiser.scales:
            return packing
        flat = flatten(params)
        by_name = _scales(optimiser, flat)
        scales = unflatten({name: np.full(flat[name].shape, scale, np.float32) for name, scale in by_name.items()})
        frozen = frozenset(name for name, scale in by_name.items() if scale == 0)
        return cls(unravel, {part: packing.pack(part, tree) for part, tree in scales.items()}, frozen)

    def pack(self, part: str, tree: ParamTree) -> Tree:
        """Convert the tree of a part to its layout, in float32."""
        return _packed(tree, part in self.unravel)

    def unpack(self, part: str, packed: Tree) -> ParamTree:
        """Invert `pack`, differentiably in what is trained."""
        tree = self.unravel[part](packed) if part in self.unravel else packed
        return self._hold(part, tree) if self.frozen else tree

    def _hold(self, part: str, tree: ParamTree) -> ParamTree:
        def held(name: str, leaf: Any) -> Any:
            return jax.lax.stop_gradient(leaf) if f"{part}/{name}" in self.frozen else leaf

        return unflatten({name: held(name, leaf) for name, leaf in flatten(tree).items()})


@functools.partial(jax.jit, static_argnames="ravel")  # one program, not some for each leaf
def _packed(tree: ParamTree, ravel: bool) -> Tree:
    leaves = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), tree)
    return ravel_pytree(leaves)[0] if ravel else leaves


def _unravel(tree: ParamTree) -> Callable[[Array], ParamTree]:
    """The inverse of `ravel_pytree` for trees of these shapes, by tracing alone."""
    found: list[Callable[[Array], ParamTree]] = []
    jax.eval_shape(lambda leaves: found.append(ravel_pytree(leaves)[1]), tree)
    return found[0]


def _scales(optimiser: Optimiser, flat: Mapping[str, Any]) -> dict[str, float]:
    """Find the multiple of the learning rate of every parameter."""
    for pattern, _ in optimiser.scales:
        if not any(pattern in name for name in flat):
            raise ConfigError(f"optimiser.scales: no parameter has {pattern!r} in its name.")

    def scale(name: str) -> float:
        return next((scale for pattern, scale in reversed(optimiser.scales) if pattern in name), 1.0)

    return {name: scale(name) for name in flat}


def share_rows(tree: ParamTree, reach: float) -> ParamTree:
    """Spread gradients of rows of quality banks and z's prior to their neighbours (`Optimiser.row_reach`)."""
    if not reach:
        return tree

    def shared(name: str, leaf: Array) -> Array:
        return _shared_rows(leaf, reach) if "z_prior" in name or name.endswith("vectors") else leaf

    return unflatten({name: shared(name, leaf) for name, leaf in flatten(tree).items()})


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _shared_rows(table: Array, reach: float) -> Array:
    del reach
    return table


def _shared_rows_forward(table: Array, reach: float) -> tuple[Array, None]:
    del reach
    return table, None


def _shared_rows_backward(reach: float, _: None, g: Array) -> tuple[Array]:
    row = jnp.arange(len(g))
    weights = jnp.exp(-0.5 * jnp.square((row[:, None] - row) / reach))
    return (weights.astype(g.dtype) @ g,)


_shared_rows.defvjp(_shared_rows_forward, _shared_rows_backward)


def learning_rate(stage: Stage, step: Array, position: Array | None = None) -> Array:
    """Compute the rate of a step: linear warm-up, constant, half a cosine down to `final_share`.

    Args:
        stage: holds the schedule.
        step: index within the stage.
        position: of the decay, in 0..`stage.steps`; None takes `step`.
    """
    step = step.astype(jnp.float32)
    position = step if position is None else position
    warm = jnp.minimum(1.0, (step + 1.0) / max(stage.warmup_steps, 1))
    begin = stage.decay_from * stage.steps
    progress = jnp.clip((position - begin) / max(stage.steps - begin, 1.0), 0.0, 1.0)
    share = stage.final_share + (1.0 - stage.final_share) * 0.5 * (1.0 + jnp.cos(math.pi * progress))
    return stage.learning_rate * warm * share


def global_norm(tree: Tree) -> Array:
    """Compute the L2 norm of all leaves."""
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)))


def clipped(tree: Tree, norm: Array, limit: float) -> Tree:
    """Clip a tree to a norm of at most `limit`."""
    scale = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-30))
    return jax.tree.map(lambda leaf: leaf * scale, tree)


@functools.cache
def direction(optimiser: Optimiser) -> Transformation:
    """Make the transformation from gradients to updates, without the factor of minus the learning rate.

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
    """Label parameters by update rule: Muon for 1x1 and full 3x3 kernels."""

    def rule(name: str, leaf: Array) -> str:
        return "muon" if name.rsplit("/", 1)[-1].startswith("kernel") and leaf.ndim in (2, 4) else "adam"

    return unflatten({name: rule(name, leaf) for name, leaf in flatten(params).items()})


def _as_matrices(tree: Tree) -> Tree:
    """Describe kernels as matrices: the last axis is the output's, all others are the input's."""
    numbers = optax.contrib.MuonDimensionNumbers
    return jax.tree.map(lambda leaf: numbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1), tree)
