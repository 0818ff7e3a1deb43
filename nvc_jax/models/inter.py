"""The inter network (spec 2)."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from nvc_jax.models.config import PATCH, PATCH_CHANNELS, InterConfig
from nvc_jax.models.hyperprior import HyperDecoder, HyperEncoder, follow_hyperprior
from nvc_jax.models.layers import Conv3x3, DCBlock, Down2, FactorisedPrior, Pointwise, QualityBank, chain, dc_blocks
from nvc_jax.models.network import Network, State
from nvc_jax.models.state import Either, Feature, Pictures, Prior, SideInformation
from nvc_jax.models.units import LARGE, SMALL, UnitFollower
from nvc_jax.ops.arithmetic import arithmetic
from nvc_jax.ops.pixels import depth_to_space, from_patches, to_patches

MIN_QUANT_STEP = 0.5


class Inter(Network):
    """Codes a picture, predicted from the decoder feature before it, or from the picture where a run starts."""

    config: InterConfig

    modules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "features": ("adaptor_picture", "adaptor_feature", "extractor_prior", "q_feature"),
        "context": ("extractor_context",),
        "analyse": ("encoder_in", "encoder_blocks", "q_encoder", "encoder_down", "hyper_encoder"),
        "prior": ("temporal_prior", "hyper_decoder", "fusion_blocks", "fusion_out"),
        "refine": ("spatial_blocks", "spatial_out"),
        "synthesise": ("decoder_up", "decoder_blocks", "decoder_out", "q_decoder"),
        "reconstruct": ("recon_blocks", "q_recon", "recon_out"),
        "z_cdf": ("z_prior",),
    }

    def setup(self) -> None:
        """Declare every module of the spec."""
        c = self.config
        self.adaptor_picture = DCBlock(c.width)
        if not self.goes_on_from_pictures:
            self.adaptor_feature = Pointwise(c.width)
        self.extractor_prior = dc_blocks(c.extractor_prior)
        self.extractor_context = dc_blocks(c.extractor_context)

        self.encoder_in = Pointwise(c.width)
        self.encoder_blocks = dc_blocks(c.encoder)
        self.encoder_down = Conv3x3(c.latent, stride=2)

        self.hyper_encoder = HyperEncoder(c.hyper)
        self.hyper_decoder = HyperDecoder(c.hyper, c.latent)
        self.temporal_prior = Down2(c.temporal_width)
        self.fusion_blocks = dc_blocks(c.fusion)
        self.fusion_out = Pointwise(3 * c.latent)
        self.spatial_blocks = dc_blocks(c.spatial)
        self.spatial_out = Pointwise(2 * c.latent)

        self.decoder_up = Conv3x3(4 * c.width)
        self.decoder_blocks = dc_blocks(c.decoder)
        self.decoder_out = Pointwise(c.width)
        self.declare_reconstruction()

        self.q_feature = QualityBank(c.qp_rows, c.extractor_prior.width)
        self.q_encoder = QualityBank(c.qp_rows, c.encoder.width)
        self.q_decoder = QualityBank(c.qp_rows, c.width)
        self.q_recon = QualityBank(c.qp_rows, c.recon.width)
        self.z_prior = FactorisedPrior(c.qp_rows, c.hyper)

    @nn.nowrap
    def declare_reconstruction(self) -> None:
        """Declare the modules of `patches`; part of `setup`."""
        self.recon_blocks = dc_blocks(self.config.recon)
        self.recon_out: Any = Pointwise(self.config.pictures * PATCH_CHANNELS)

    def fixed_units(self, follow: UnitFollower) -> None:
        """See `Network`."""
        c = self.config
        follow.convolution("encoder_down", SMALL, LARGE)  # y
        follow_hyperprior(follow)
        follow.down("temporal_prior", SMALL, LARGE)
        x = follow.blocks("fusion_blocks", c.fusion.blocks, LARGE, LARGE)
        step_scale_mean = [SMALL, SMALL, LARGE]
        follow.convolution("fusion_out", x, np.repeat(step_scale_mean, c.latent))
        reads = np.repeat([LARGE, *step_scale_mean], c.latent)  # y_hat before them
        x = follow.blocks("spatial_blocks", c.spatial.blocks, reads, LARGE)
        follow.convolution("spatial_out", x, np.repeat([SMALL, LARGE], c.latent))  # scale, mean
        follow.convolution("decoder_up", LARGE, SMALL)

    @nn.nowrap
    def start(self, pictures: Array) -> State:
        """See `Network`."""
        return Pictures(pictures)

    @nn.nowrap
    def advance(self, state: State, feature: Array, pictures: Callable[[], Array]) -> State:
        """See `Network`."""
        return self.start(pictures()) if self.goes_on_from_pictures else Feature(feature)

    @nn.nowrap
    def either(self, starts: Array, pictures: Array, feature: Array | None, dtype: DTypeLike) -> State:
        """See `Network`."""
        if self.goes_on_from_pictures:
            return self.start(pictures)
        batch, _, height, width, _ = pictures.shape
        shape = batch, height // PATCH, width // PATCH, self.config.width
        return Either(starts, pictures, jnp.zeros(shape, dtype) if feature is None else feature)

    def features(self, state: Pictures | Feature | Either, qps: Array) -> tuple[Array, Array]:
        """See `Network`; the temporal input of the prior is the feature, scaled."""
        feature = chain(self.extractor_prior, self.adapt(state))
        return feature, arithmetic(feature).multiply(feature, self.q_feature(qps))

    def adapt(self, state: Pictures | Feature | Either) -> Array:
        """The input of feature extraction."""
        if isinstance(state, Either):
            ways = Pictures(state.pictures), Feature(state.feature)
            first, later = (lambda self, ways, way=way: self.adapt(ways[way]) for way in (0, 1))
            adapted: Array = nn.cond(state.starts, first, later, self, ways)
            return adapted
        if isinstance(state, Pictures):
            return self.adapt_picture(to_patches(state.value[:, -1:], PATCH))
        return self.adaptor_feature(state.value)

    def adapt_picture(self, patches: Array) -> Array:
        """Patches [B, H/8, W/8, 192] of the picture before to the input of feature extraction."""
        return self.adaptor_picture(patches)

    def context(self, features: Array) -> Array:
        """See `Network`."""
        return chain(self.extractor_context, features)

    def analyse(self, pictures: Array, context: Any, qps: Array) -> tuple[Array, Array]:
        """See `Network`."""
        x = self.encoder_in(to_patches(pictures, PATCH))
        x = chain(self.encoder_blocks, jnp.concatenate([x, context], axis=-1))
        y = self.encoder_down(arithmetic(x).multiply(x, self.q_encoder(qps)))
        return y, self.hyper_encoder(y)

    def prior(self, z_hat: Array, temporal: Any, latent_size: tuple[int, ...]) -> Prior:
        """See `Network`."""
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
        """See `Network`; there is one later step."""
        x = chain(self.spatial_blocks, jnp.concatenate([y_hat, shared], axis=-1))
        scale, mean = jnp.split(arithmetic(x).widen(self.spatial_out(x)), 2, axis=-1)
        return scale, mean

    def synthesise(self, y_hat: Array, context: Any, qps: Array) -> Array:
        """See `Network`."""
        x = depth_to_space(self.decoder_up(y_hat), 2)
        x = chain(self.decoder_blocks, jnp.concatenate([x, context], axis=-1))
        return arithmetic(x).multiply(self.decoder_out(x), self.q_decoder(qps))

    def reconstruct(self, feature: Array, side: SideInformation | None, qps: Array) -> Array:
        """See `Network`."""
        return self.finish(self.unclamped(feature, side, qps), side, qps)

    def patches(self, feature: Array, qps: Array) -> Array:
        """What the network gives for the pictures of a packet, as patches [B, H/8, W/8, T*192]."""
        x = chain(self.recon_blocks, feature)
        return self.recon_out(arithmetic(x).multiply(x, self.q_recon(qps)))

    def unclamped(self, feature: Array, side: SideInformation | None, qps: Array) -> Array:
        """The pictures [B, T, H, W, 3] of a packet, with all that is added to them, not clamped."""
        return from_patches(self.patches(feature, qps), PATCH, self.config.pictures)

    def finish(self, pictures: Array, side: SideInformation | None, qps: Array) -> Array:
        """Such pictures, clamped to 0..1."""
        return arithmetic(pictures).to_picture(pictures, self.config.fine)
