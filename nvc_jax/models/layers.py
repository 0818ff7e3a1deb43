"""The building blocks of spec 1. NHWC; the dtype of the parameters is the precision of the computation.

They are written once for real numbers and for int16: `arithmetic` gives the operations on either.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from nvc_jax.models.config import Stack
from nvc_jax.ops.arithmetic import arithmetic
from nvc_jax.ops.block import BlockLayers
from nvc_jax.ops.pixels import depth_to_space, space_to_depth


def parameter(module: nn.Module, name: str, shape: tuple[int, ...]) -> Array:
    """A parameter of a module; initial values are those of params.py.

    `Module.param` would trace the initialiser at every call to compare shapes, a sixth of the time to trace a codec.
    """
    if module.is_initializing():
        return module.param(name, nn.initializers.zeros, shape)
    return module.get_variable("params", name)


class Pointwise(nn.Module):
    """1x1 convolution: a matrix product over the channel axis."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., C] -> [..., features]."""
        kernel = parameter(self, "kernel", (x.shape[-1], self.features))
        bias = parameter(self, "bias", (self.features,))
        return arithmetic(x).affine(x, kernel, bias)


class Conv3x3(nn.Module):
    """Full 3x3 convolution, padding 1."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, features]."""
        kernel = parameter(self, "kernel", (3, 3, x.shape[-1], self.features))
        bias = parameter(self, "bias", (self.features,))
        return arithmetic(x).convolve3x3(x, kernel, bias, self.stride)


class AffineParameters(nn.Module):
    """Kernel and bias of a 1x1 convolution that is applied elsewhere."""

    @nn.compact
    def __call__(self, channels: int, features: int) -> tuple[Array, Array]:
        """[channels, features], [features]."""
        kernel = parameter(self, "kernel", (channels, features))
        return kernel, parameter(self, "bias", (features,))


class DepthwiseParameters(nn.Module):
    """Kernel and bias of a depthwise 3x3 convolution."""

    @nn.compact
    def __call__(self, channels: int) -> tuple[Array, Array]:
        """[3, 3, channels], [channels]."""
        kernel = parameter(self, "kernel", (3, 3, channels))
        return kernel, parameter(self, "bias", (channels,))


class FeedForwardParameters(nn.Module):
    """Kernels and biases of the two 1x1 convolutions around the middle, whose two halves are added."""

    @nn.compact
    def __call__(self, channels: int, middle: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """([C, middle*C], [middle*C]), ([middle/2*C, C], [C])."""
        wide = middle * channels
        kernel_in = parameter(self, "kernel_in", (channels, wide))
        bias_in = parameter(self, "bias_in", (wide,))
        kernel_out = parameter(self, "kernel_out", (wide // 2, channels))
        return (kernel_in, bias_in), (kernel_out, parameter(self, "bias_out", (channels,)))


class DCBlock(nn.Module):
    """Depthwise-convolution block.

    Attributes:
        features: output channels; a 1x1 adaptor comes first where the input has another number.
        shortcut: add the (adapted) input to the output once more.
        force_adaptor: have the adaptor in any case.
        middle: width of the FFN's middle as a multiple of `features`.
    """

    features: int
    shortcut: bool = False
    force_adaptor: bool = False
    middle: int = 4

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H, W, features]."""
        if self.force_adaptor or x.shape[-1] != self.features:
            x = Pointwise(self.features, name="adaptor")(x)
        first = AffineParameters(name="pointwise_in")(self.features, self.features)
        depthwise = DepthwiseParameters(name="depthwise")(self.features)
        project = AffineParameters(name="pointwise_out")(self.features, self.features)
        widen, narrow = FeedForwardParameters(name="ffn")(self.features, self.middle)
        layers = BlockLayers(first, depthwise, project, widen, narrow)
        return arithmetic(x).dc_block(x, layers, self.shortcut)


class Down2(nn.Module):
    """2x2 convolution with stride 2, then a DC block with shortcut."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H/2, W/2, features]."""
        x = Pointwise(self.features, name="down")(space_to_depth(x, 2))
        return DCBlock(self.features, shortcut=True, name="block")(x)


class Up2(nn.Module):
    """1x1 convolution to 4C and pixel shuffle, then a DC block with shortcut."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, 2H, 2W, features]."""
        x = depth_to_space(Pointwise(4 * self.features, name="up")(x), 2)
        return DCBlock(self.features, shortcut=True, name="block")(x)


def dc_blocks(stack: Stack) -> list[DCBlock]:
    """The DC blocks of a stack, for `setup`."""
    return [DCBlock(stack.width, middle=stack.middle) for _ in range(stack.blocks)]


def chain(blocks: Any, x: Array) -> Array:
    """Apply blocks one after the other."""
    for block in blocks:
        x = block(x)
    return x


class QualityBank(nn.Module):
    """One vector of channel gains per qp (spec 2), initially 1.

    Attributes:
        rows: number of qps.
        channels: length of a vector.
    """

    rows: int
    channels: int

    @nn.compact
    def __call__(self, qps: Array) -> Array:
        """Gains for each packet of the batch, linearly interpolated between rows (paper C.4).

        Args:
            qps: [B, T] float32, 0..rows-1; each picture has an equal part of the channels.

        Returns:
            [B, 1, 1, channels].
        """
        bank = parameter(self, "vectors", (self.rows, self.channels))
        parts = jnp.split(bank, qps.shape[1], axis=-1)
        gains = [arithmetic(part).interpolate(part, qp) for part, qp in zip(parts, qps.T, strict=True)]
        return jnp.concatenate(gains, axis=-1)[:, None, None, :]


class FactorisedPrior(nn.Module):
    """Cumulative probabilities of z: per qp row and channel a monotone function of four layers (spec 6)."""

    rows: int
    channels: int

    @nn.compact
    def __call__(self, x: Array, qp: Array) -> Array:
        """CDF at x.

        Args:
            x: [B, H, W, channels] float32.
            qp: [B]; the nearest row is used.

        Returns:
            Probabilities in 0..1, like x.
        """
        row = jnp.clip(jnp.round(qp), 0, self.rows - 1).astype(jnp.int32)
        for layer in range(1, 5):
            h, b = self._parameter(f"f{layer}.h", row), self._parameter(f"f{layer}.b", row)
            x = x * jax.nn.softplus(h) + b
            if layer < 4:
                x = x + jnp.tanh(x) * jnp.tanh(self._parameter(f"f{layer}.a", row))
        return nn.sigmoid(x)

    def _parameter(self, name: str, row: Array) -> Array:
        table = parameter(self, name, (self.rows, self.channels))
        return table.astype(jnp.float32)[row][:, None, None, :]
