"""Full 3x3 convolution with a gradient that XLA runs fast on CPU.

Inside a loop XLA on CPU has no fast gradient of the kernel: in a scan over frames that one operation took 100 times as
long as the matrix products behind it. For CPU they are written out here.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from nvc_jax.ops.depthwise import taps


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve3x3(x: Array, kernel: Array, stride: int) -> Array:
    """Convolve [B, H, W, C] with [3, 3, C, N], zero padding 1: [B, H/stride, W/stride, N]; H, W multiples of stride."""
    return _convolve(x, kernel, stride)


def _convolve(x: Array, kernel: Array, stride: int) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, ((1, 1), (1, 1)), dimension_numbers=layout)


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return convolve3x3(x, kernel, stride), (x, kernel)


def _backward(stride: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def by_convolutions(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        dx, dk = jax.vjp(partial(_convolve, stride=stride), x, kernel)[1](g)
        return dx, dk

    by_products = partial(_gradients_by_products, stride=stride)
    gradients: tuple[Array, Array] = lax.platform_dependent(*saved, g, cpu=by_products, default=by_convolutions)
    return gradients


def _gradients_by_products(x: Array, kernel: Array, g: Array, stride: int) -> tuple[Array, Array]:
    """Gradients of x and kernel as matrix products over all positions."""
    b, h, w, c = x.shape
    positions = jnp.concatenate([tap[:, ::stride, ::stride] for tap in taps(x)], axis=-1).reshape(-1, 9 * c)
    g_rows = g.reshape(-1, g.shape[-1])
    dk = (positions.T @ g_rows).reshape(kernel.shape)

    spread = (g_rows @ kernel.reshape(9 * c, -1).T).reshape(*g.shape[:3], 9, c)
    dx = jnp.zeros((b, h + 2, w + 2, c), g.dtype)
    for number in range(9):
        top, left = divmod(number, 3)
        # This tap read every `stride`-th position of the padded picture from (top, left) on.
        rows = (top, h + 2 - top - (h - stride + 1), stride - 1)
        columns = (left, w + 2 - left - (w - stride + 1), stride - 1)
        dx = dx + lax.pad(spread[:, :, :, number], jnp.zeros((), g.dtype), ((0, 0, 0), rows, columns, (0, 0, 0)))
    return dx[:, 1:-1, 1:-1], dk


convolve3x3.defvjp(_forward, _backward)
