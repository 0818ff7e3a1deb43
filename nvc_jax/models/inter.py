"""The inter codec (spec 2). Each public method is one stage of a frame's way; `codec/stages.py` compiles them."""

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from nvc_jax.models.config import PATCH, PATCH_CHANNELS, InterConfig
from nvc_jax.models.hyperprior import HyperDecoder, HyperEncoder
from nvc_jax.models.layers import Conv3x3, DCBlock, Down2, FactorisedPrior, Pointwise, QualityBank, chain, dc_blocks
from nvc_jax.models.state import Prior, Reference
from nvc_jax.ops.arithmetic import arithmetic
from nvc_jax.ops.pixels import depth_to_space, space_to_depth

MIN_QUANT_STEP = 0.5


class InterModel(nn.Module):
    """Codes a picture given a reference. [B, H, W, 3] YCbCr 4:4:4 in 0..1; H and W are multiples of 16."""

    config: InterConfig

    modules: ClassVar[Mapping[str, tuple[str, ...]]] = {  # that each method runs
        "temporal": ("adaptor_picture", "adaptor_feature", "extractor_prior", "q_feature"),
        "context": ("extractor_context",),
        "analyse": ("encoder_in", "encoder_blocks", "q_encoder", "encoder_down", "hyper_encoder"),
        "prior": ("temporal_prior", "hyper_decoder", "fusion_blocks", "fusion_out"),
        "refine": ("spatial_blocks", "spatial_out"),
        "synthesise": ("decoder_up", "decoder_blocks", "decoder_out", "q_decoder"),
        "reconstruct": ("recon_blocks", "q_recon", "recon_out"),
    }

    def setup(self) -> None:
        """Declare every module of the spec."""
        c = self.config
        self.adaptor_picture = DCBlock(c.width)
        if not c.motion:
            self.adaptor_feature = Pointwise(c.width)
        self.extractor_prior = dc_blocks(c.prior_blocks, c.width)
        self.extractor_context = dc_blocks(c.context_blocks, c.width)

        self.encoder_in = Pointwise(c.width)
        self.encoder_blocks = dc_blocks(c.encoder_blocks, c.width)
        self.encoder_down = Conv3x3(c.latent, stride=2)

        self.hyper_encoder = HyperEncoder(c.hyper)
        self.hyper_decoder = HyperDecoder(c.hyper, c.latent)
        self.temporal_prior = Down2(c.temporal_width)
        self.fusion_blocks = dc_blocks(c.fusion_blocks, c.prior_width)
        self.fusion_out = Pointwise(3 * c.latent)
        self.spatial_blocks = dc_blocks(c.spatial_blocks, c.prior_width)
        self.spatial_out = Pointwise(2 * c.latent)

        self.decoder_up = Conv3x3(4 * c.width)
        self.decoder_blocks = dc_blocks(c.decoder_blocks, c.width)
        self.decoder_out = Pointwise(c.width)
        self.recon_blocks = dc_blocks(c.recon_blocks, c.recon_width)
        self.recon_out = Pointwise(PATCH_CHANNELS)

        self.q_feature = QualityBank(c.qp_rows, c.width)
        self.q_encoder = QualityBank(c.qp_rows, c.width)
        self.q_decoder = QualityBank(c.qp_rows, c.width)
        self.q_recon = QualityBank(c.qp_rows, c.recon_width)
        self.z_prior = FactorisedPrior(c.qp_rows, c.hyper)

    def __call__(self, picture: Array, qp: Array) -> Array:
        """Every module once, without quantisation: what creates the parameters."""
        feature, temporal = self.temporal(Reference(picture, "picture"), qp)
        context = self.context(feature)
        y, z = self.analyse(picture, context, qp)
        prior = self.prior(z, temporal, y.shape[1:3])
        self.refine(1, prior.shared, y)
        feature = self.synthesise(y, context, qp)
        if not self.config.motion:
            self.temporal(Reference(feature, "feature"), qp)
        self.z_cdf(z, qp)
        return self.reconstruct(feature, qp)

    def temporal(self, reference: Reference, qp: Array) -> tuple[Array, Array]:
        """First part of feature extraction.

        Returns:
            The features [B, H/8, W/8, C] for `context`, and the same scaled for the temporal prior.
        """
        if reference.kind == "picture":
            feature = self.adaptor_picture(space_to_depth(reference.value, PATCH))
        else:
            feature = self.adaptor_feature(reference.value)
        feature = chain(self.extractor_prior, feature)
        return feature, arithmetic(feature).multiply(feature, self.q_feature(qp))

    def context(self, feature: Array) -> Array:
        """Second part of feature extraction: the context of encoder and decoder, [B, H/8, W/8, C]."""
        return chain(self.extractor_context, feature)

    def analyse(self, picture: Array, context: Array, qp: Array) -> tuple[Array, Array]:
        """Picture to latents y [B, H/16, W/16, Cy] and z [B, ceil(H/64), ceil(W/64), Cz], not rounded."""
        x = self.encoder_in(space_to_depth(picture, PATCH))
        x = chain(self.encoder_blocks, jnp.concatenate([x, context], axis=-1))
        y = self.encoder_down(arithmetic(x).multiply(x, self.q_encoder(qp)))
        return y, self.hyper_encoder(y)

    def prior(self, z_hat: Array, temporal: Array, latent_size: tuple[int, ...]) -> Prior:
        """Hyper decoding and prior fusion. temporal: second result of `temporal`; latent_size: (H/16, W/16)."""
        height, width = latent_size
        temporal = self.temporal_prior(temporal)
        hyper = self.hyper_decoder(z_hat)[:, :height, :width]
        x = chain(self.fusion_blocks, jnp.concatenate([hyper, temporal], axis=-1))
        shared = self.fusion_out(x)
        ops = arithmetic(shared)
        quant_step, scale, mean = jnp.split(ops.widen(shared), 3, axis=-1)
        quant_step = ops.at_least(quant_step, MIN_QUANT_STEP)
        gain_in = ops.reciprocal(quant_step)
        return Prior(gain_in=gain_in, gain_out=quant_step, scale=scale, mean=mean, shared=shared)

    def refine(self, step: int, shared: Array, y_hat: Array) -> tuple[Array, Array]:
        """Scale and mean for a later coding step from what is decoded so far (before the gain), zero elsewhere."""
        del step  # there is only one later step
        x = chain(self.spatial_blocks, jnp.concatenate([y_hat, shared], axis=-1))
        scale, mean = jnp.split(arithmetic(x).widen(self.spatial_out(x)), 2, axis=-1)
        return scale, mean

    def synthesise(self, y_hat: Array, context: Array, qp: Array) -> Array:
        """Decoded latent (after the gain) to the feature [B, H/8, W/8, C] that is the next reference."""
        x = depth_to_space(self.decoder_up(y_hat), 2)
        x = chain(self.decoder_blocks, jnp.concatenate([x, context], axis=-1))
        return arithmetic(x).multiply(self.decoder_out(x), self.q_decoder(qp))

    def reconstruct(self, feature: Array, qp: Array) -> Array:
        """Feature to picture [B, H, W, 3], clamped to 0..1."""
        ops = arithmetic(feature)
        x = ops.multiply(chain(self.recon_blocks, feature), self.q_recon(qp))
        return ops.clamp_picture(depth_to_space(self.recon_out(x), PATCH))

    def z_cdf(self, x: Array, qp: Array) -> Array:
        """Cumulative probability of z at x, for estimating rates."""
        return self.z_prior(x, qp)
