"""DC blocks and their gradients in C++, for training on CPUs (native_coder/float32_training.h).

XLA on CPU passes every intermediate of a block through memory, in the backward pass two or three times over, and lays
some out anew for its products. The handlers take a few positions at a time, whose intermediates stay in cache, and
keep what the backward pass would otherwise need a third of the products for again.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.ops.block import BlockLayers
from nvc_jax.ops.native import call_for


def dc_block(x: Array, layers: BlockLayers, shortcut: bool) -> Array:
    """A DC block; see `floating`."""
    first, bias = layers.first
    plain = layers._replace(first=(first.weights, bias))
    parameters = jnp.concatenate([leaf.ravel() for layer in plain for leaf in layer])
    return _block(x, parameters, layers.widen[0].shape[1], shortcut, first.isa)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _block(x: Array, parameters: Array, middle: int, shortcut: bool, isa: str) -> Array:
    return _forward(x, parameters, middle, shortcut, isa, keep=False)[0]


def _forward(
    x: Array, parameters: Array, middle: int, shortcut: bool, isa: str, keep: bool = True
) -> tuple[Array, tuple[Array, Array, Array]]:
    channels = x.shape[-1]
    kept_shape = (*x.shape[:-1], 3 * channels + middle if keep else channels)
    attributes = {"middle": middle, "shortcut": shortcut, "keep": keep}
    y, kept = call_for("block", isa, (x.shape, kept_shape), x, parameters, **attributes)
    return y, (x, parameters, kept)


def _backward(
    middle: int, shortcut: bool, isa: str, saved: tuple[Array, Array, Array], g: Array
) -> tuple[Array, Array]:
    x, parameters, _ = saved
    shapes = (x.shape, parameters.shape, x.shape)
    attributes = {"middle": middle, "shortcut": shortcut}
    of_x, of_parameters, _ = call_for("block_gradient", isa, shapes, *saved, g, **attributes)
    return of_x, of_parameters


_block.defvjp(_forward, _backward)
