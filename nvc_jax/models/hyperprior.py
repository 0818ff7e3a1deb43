"""Hyper encoder and decoder of all networks (spec 2 and 3)."""

import flax.linen as nn
from jax import Array

from nvc_jax.models.layers import DCBlock, Down2, Up2
from nvc_jax.models.units import LARGE, UnitFollower
from nvc_jax.ops.pixels import pad_to_multiple


class HyperEncoder(nn.Module):
    """y to z."""

    hyper: int

    @nn.compact
    def __call__(self, y: Array) -> Array:
        """[B, H/16, W/16, Cy] -> [B, ceil(H/64), ceil(W/64), hyper], not rounded; y is padded to a multiple of 4."""
        x = DCBlock(self.hyper, name="block")(pad_to_multiple(y, 4))
        x = Down2(self.hyper, name="down_0")(x)
        return Down2(self.hyper, name="down_1")(x)


class HyperDecoder(nn.Module):
    """z to what it says about y."""

    hyper: int
    latent: int

    @nn.compact
    def __call__(self, z_hat: Array) -> Array:
        """[B, ceil(H/64), ceil(W/64), hyper] -> [B, 4 * ceil(H/64), 4 * ceil(W/64), latent]; the caller crops."""
        x = Up2(self.hyper, name="up_0")(z_hat)
        x = Up2(self.hyper, name="up_1")(x)
        return DCBlock(self.latent, name="block")(x)


def follow_hyperprior(follow: UnitFollower) -> None:
    """Units of both (`Network.fixed_units`)."""
    x = follow.block("hyper_encoder/block", LARGE, LARGE)
    x = follow.down("hyper_encoder/down_0", x, LARGE)
    follow.down("hyper_encoder/down_1", x, LARGE)  # z
    x = follow.up("hyper_decoder/up_0", LARGE, LARGE)
    follow.block("hyper_decoder/block", follow.up("hyper_decoder/up_1", x, LARGE), LARGE)
