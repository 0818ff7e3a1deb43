"""The intra codec (spec 3), with the same stages as the inter codec but without context."""

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from nvc_jax.models.config import PATCH, PATCH_CHANNELS, IntraConfig
from nvc_jax.models.hyperprior import HyperDecoder, HyperEncoder
from nvc_jax.models.layers import Conv3x3, DCBlock, FactorisedPrior, Pointwise, QualityBank, Up2, chain, dc_blocks
from nvc_jax.models.state import Prior
from nvc_jax.ops.arithmetic import arithmetic
from nvc_jax.ops.pixels import depth_to_space, space_to_depth


class IntraModel(nn.Module):
    """Codes a picture by itself. [B, H, W, 3] YCbCr 4:4:4 in 0..1; H and W are multiples of 16."""

    config: IntraConfig

    modules: ClassVar[Mapping[str, tuple[str, ...]]] = {  # that each method runs
        "analyse": ("encoder_in", "q_encoder", "encoder_blocks", "encoder_down", "hyper_encoder"),
        "prior": ("hyper_decoder", "fusion_blocks", "fusion_out", "spatial_reduction"),
        "refine": ("spatial_adaptors", "spatial_blocks", "spatial_out"),
        "synthesise": ("decoder_up", "decoder_blocks", "q_decoder"),
        "reconstruct": ("decoder_out",),
    }

    def setup(self) -> None:
        """Declare every module of the spec."""
        c = self.config
        self.encoder_in = DCBlock(c.width)
        self.encoder_blocks = dc_blocks(c.encoder_blocks, c.width)
        self.encoder_down = Conv3x3(c.latent, stride=2)

        self.hyper_encoder = HyperEncoder(c.hyper)
        self.hyper_decoder = HyperDecoder(c.hyper, c.latent)
        self.fusion_blocks = dc_blocks(c.fusion_blocks, c.prior_width)
        self.fusion_out = Pointwise(2 + 2 * c.latent)
        self.spatial_reduction = Pointwise(c.latent)
        self.spatial_adaptors = [DCBlock(c.prior_width, force_adaptor=True) for _ in range(c.steps - 1)]
        self.spatial_blocks = dc_blocks(c.spatial_blocks, c.prior_width)
        self.spatial_out = Pointwise(2 * c.latent)

        self.decoder_up = Up2(c.width)
        self.decoder_blocks = dc_blocks(c.decoder_blocks, c.width)
        self.decoder_out = DCBlock(PATCH_CHANNELS)

        self.q_encoder = QualityBank(c.qp_rows, c.width)
        self.q_decoder = QualityBank(c.qp_rows, c.width)
        self.z_prior = FactorisedPrior(c.qp_rows, c.hyper)

    def __call__(self, picture: Array, qp: Array) -> Array:
        """Every module once, without quantisation: what creates the parameters."""
        y, z = self.analyse(picture, None, qp)
        prior = self.prior(z, None, y.shape[1:3])
        for step in range(1, self.config.steps):
            self.refine(step, prior.shared, y)
        self.z_cdf(z, qp)
        return self.reconstruct(self.synthesise(y, None, qp), qp)

    def analyse(self, picture: Array, context: None, qp: Array) -> tuple[Array, Array]:
        """Picture to latents y [B, H/16, W/16, Cy] and z [B, ceil(H/64), ceil(W/64), Cz], not rounded."""
        del context
        x = self.encoder_in(space_to_depth(picture, PATCH))
        x = arithmetic(x).multiply(x, self.q_encoder(qp))
        y = self.encoder_down(chain(self.encoder_blocks, x))
        return y, self.hyper_encoder(y)

    def prior(self, z_hat: Array, temporal: None, latent_size: tuple[int, ...]) -> Prior:
        """Hyper decoding and prior fusion. latent_size: (H/16, W/16)."""
        del temporal
        height, width = latent_size
        x = self.fusion_out(chain(self.fusion_blocks, self.hyper_decoder(z_hat)))[:, :height, :width]
        shared = self.spatial_reduction(x)
        ops = arithmetic(x)
        x = ops.widen(x)
        gains = ops.position_gain(x[..., :2])
        scale, mean = jnp.split(x[..., 2:], 2, axis=-1)
        return Prior(gain_in=gains[..., :1], gain_out=gains[..., 1:], scale=scale, mean=mean, shared=shared)

    def refine(self, step: int, shared: Array, y_hat: Array) -> tuple[Array, Array]:
        """Scale and mean for coding step 1, 2 or 3 from what is decoded so far (before the gain), zero elsewhere."""
        x = self.spatial_adaptors[step - 1](jnp.concatenate([y_hat, shared], axis=-1))
        x = self.spatial_out(chain(self.spatial_blocks, x))
        scale, mean = jnp.split(arithmetic(x).widen(x), 2, axis=-1)
        return scale, mean

    def synthesise(self, y_hat: Array, context: None, qp: Array) -> Array:
        """Decoded latent (after the gain) to features [B, H/8, W/8, C]."""
        del context
        x = chain(self.decoder_blocks, self.decoder_up(y_hat))
        return arithmetic(x).multiply(x, self.q_decoder(qp))

    def reconstruct(self, feature: Array, qp: Array) -> Array:
        """Features to picture [B, H, W, 3], clamped to 0..1."""
        del qp
        return arithmetic(feature).clamp_picture(depth_to_space(self.decoder_out(feature), PATCH))

    def z_cdf(self, x: Array, qp: Array) -> Array:
        """Cumulative probability of z at x, for estimating rates."""
        return self.z_prior(x, qp)
