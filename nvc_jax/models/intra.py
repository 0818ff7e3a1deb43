"""The intra network (spec 3): predicts from nothing."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from nvc_jax.models.config import PATCH, PATCH_CHANNELS, IntraConfig
from nvc_jax.models.hyperprior import HyperDecoder, HyperEncoder, follow_hyperprior
from nvc_jax.models.layers import Conv3x3, DCBlock, FactorisedPrior, Pointwise, QualityBank, Up2, chain, dc_blocks
from nvc_jax.models.network import Network
from nvc_jax.models.state import Prior, SideInformation
from nvc_jax.models.units import FINE, LARGE, SMALL, UnitFollower
from nvc_jax.ops.arithmetic import arithmetic
from nvc_jax.ops.deblocking import deblock
from nvc_jax.ops.pixels import from_patches, to_patches


class Intra(Network):
    """Codes a picture by itself."""

    config: IntraConfig

    modules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "analyse": ("encoder_in", "q_encoder", "encoder_blocks", "encoder_down", "hyper_encoder"),
        "prior": ("hyper_decoder", "fusion_blocks", "fusion_out", "spatial_reduction"),
        "refine": ("spatial_adaptors", "spatial_blocks", "spatial_out"),
        "synthesise": ("decoder_up", "decoder_blocks", "q_decoder"),
        "reconstruct": ("decoder_out",),
        "z_cdf": ("z_prior",),
    }
    predicts: ClassVar[bool] = False

    def setup(self) -> None:
        """Declare every module of the spec."""
        c = self.config
        self.encoder_in = DCBlock(c.width)
        self.encoder_blocks = dc_blocks(c.encoder)
        self.encoder_down = Conv3x3(c.latent, stride=2)

        self.hyper_encoder = HyperEncoder(c.hyper)
        self.hyper_decoder = HyperDecoder(c.hyper, c.latent)
        self.fusion_blocks = dc_blocks(c.fusion)
        self.fusion_out = Pointwise(2 + 2 * c.latent)
        self.spatial_reduction = Pointwise(c.latent)
        self.spatial_adaptors = [DCBlock(c.spatial.width, force_adaptor=True) for _ in range(c.steps - 1)]
        self.spatial_blocks = dc_blocks(c.spatial)
        self.spatial_out = Pointwise(2 * c.latent)

        self.decoder_up = Up2(c.width)
        self.decoder_blocks = dc_blocks(c.decoder)
        self.decoder_out = DCBlock(PATCH_CHANNELS)

        self.q_encoder = QualityBank(c.qp_rows, c.width)
        self.q_decoder = QualityBank(c.qp_rows, c.decoder.width)
        self.z_prior = FactorisedPrior(c.qp_rows, c.hyper)

    def fixed_units(self, follow: UnitFollower) -> None:
        """See `Network`."""
        c = self.config
        pictures = FINE if c.fine else SMALL
        x = follow.block("encoder_in", pictures, LARGE)
        x = follow.bank("q_encoder", x, LARGE)
        x = follow.blocks("encoder_blocks", c.encoder.blocks, x, LARGE)
        follow.convolution("encoder_down", x, LARGE)  # y
        follow_hyperprior(follow)
        x = follow.blocks("fusion_blocks", c.fusion.blocks, LARGE, LARGE)
        gains_scale_mean = np.repeat([SMALL, SMALL, LARGE], [2, c.latent, c.latent])
        follow.convolution("fusion_out", x, gains_scale_mean)
        follow.convolution("spatial_reduction", gains_scale_mean, LARGE)
        for step in range(c.steps - 1):
            follow.block(f"spatial_adaptors_{step}", LARGE, LARGE)  # reads y_hat and the output of spatial_reduction
        x = follow.blocks("spatial_blocks", c.spatial.blocks, LARGE, LARGE)
        follow.convolution("spatial_out", x, np.repeat([SMALL, LARGE], c.latent))  # scale, mean
        x = follow.up("decoder_up", LARGE, LARGE)
        x = follow.blocks("decoder_blocks", c.decoder.blocks, x, LARGE)
        follow.block("decoder_out", follow.bank("q_decoder", x, SMALL), pictures, inner=SMALL)

    def analyse(self, pictures: Array, context: Any, qps: Array) -> tuple[Array, Array]:
        """See `Network`."""
        x = self.encoder_in(to_patches(pictures, PATCH))
        x = arithmetic(x).multiply(x, self.q_encoder(qps))
        y = self.encoder_down(chain(self.encoder_blocks, x))
        return y, self.hyper_encoder(y)

    def prior(self, z_hat: Array, temporal: Any, latent_size: tuple[int, ...]) -> Prior:
        """See `Network`."""
        height, width = latent_size
        x = self.fusion_out(chain(self.fusion_blocks, self.hyper_decoder(z_hat)))[:, :height, :width]
        shared = self.spatial_reduction(x)
        ops = arithmetic(x)
        x = ops.widen(x)
        gains = ops.position_gain(x[..., :2])
        scale, mean = jnp.split(x[..., 2:], 2, axis=-1)
        return Prior(gain_in=gains[..., :1], gain_out=gains[..., 1:], scale=scale, mean=mean, shared=shared)

    def refine(self, step: int, shared: Array, y_hat: Array) -> tuple[Array, Array]:
        """See `Network`."""
        x = self.spatial_adaptors[step - 1](jnp.concatenate([y_hat, shared], axis=-1))
        x = self.spatial_out(chain(self.spatial_blocks, x))
        scale, mean = jnp.split(arithmetic(x).widen(x), 2, axis=-1)
        return scale, mean

    def synthesise(self, y_hat: Array, context: Any, qps: Array) -> Array:
        """See `Network`."""
        x = chain(self.decoder_blocks, self.decoder_up(y_hat))
        return arithmetic(x).multiply(x, self.q_decoder(qps))

    def reconstruct(self, feature: Array, side: SideInformation | None, qps: Array) -> Array:
        """See `Network`."""
        patches = self.decoder_out(feature)
        pictures = arithmetic(feature).to_picture(from_patches(patches, PATCH, 1), self.config.fine)
        strength = self.config.deblocking
        return deblock(pictures[:, 0], qps[:, 0], strength)[:, None] if strength else pictures
