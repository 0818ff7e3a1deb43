"""Depthwise 3x3 convolution as nine shifted multiply-adds (D4).

On CPU XLA fuses them into one pass over memory, ten times faster than its grouped convolution; the gradient of the
weights is nine inner products over positions instead of a grouped convolution with a huge kernel.
"""

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_vjp
def depthwise3x3(x: Array, kernel: Array) -> Array:
    """Convolve every channel of [B, H, W, C] with its own 3x3 kernel [3, 3, C], zero padding 1."""
    first, *others = (tap * kernel[i, j] for (i, j), tap in _taps(x))
    return sum(others, start=first)


def _taps(x: Array) -> list[tuple[tuple[int, int], Array]]:
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [((i, j), padded[:, i : i + h, j : j + w]) for i in range(3) for j in range(3)]


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return depthwise3x3(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = depthwise3x3(g, kernel[::-1, ::-1])
    dk = jnp.stack([jnp.einsum("bhwc,bhwc->c", tap, g) for _, tap in _taps(x)])
    return dx, dk.reshape(kernel.shape)


depthwise3x3.defvjp(_forward, _backward)
