"""The inter network with block motion: predicts from the picture before, moved block by block (ops/motion.py)."""

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from nvc_jax.models.config import MotionInterConfig
from nvc_jax.models.inter import Inter
from nvc_jax.models.network import State
from nvc_jax.models.state import Pictures, SideInformation
from nvc_jax.models.units import FINE, SMALL, UnitFollower
from nvc_jax.ops import motion
from nvc_jax.ops.arithmetic import arithmetic
from nvc_jax.ops.deblocking import deblock, weak_edges
from nvc_jax.ops.motion_refinement import refine


class MotionInter(Inter):
    """Codes a picture, predicted from the picture before with its blocks moved.

    The side information of a block of 16x16 pixels is [dy, dx, skipped]: its vector in quarter pixels, and not 0 where
    the block is skipped: nothing of it is coded, and the prediction stands for it.
    """

    config: MotionInterConfig

    goes_on_from_pictures: ClassVar[bool] = True

    def fixed_units(self, follow: UnitFollower) -> None:
        """See `Network`."""
        super().fixed_units(follow)
        if self.config.fine:
            follow.block("adaptor_picture", FINE, SMALL)
            follow.convolution("encoder_in", FINE, SMALL)
            follow.convolution("recon_out", SMALL, FINE)

    @nn.nowrap
    def search(self, pictures: Array, state: State, qps: Array, skip_bits: float) -> tuple[State, SideInformation]:
        """See `Network`. No gradient goes through the choice."""
        fixed = lax.stop_gradient((pictures, state.value))
        vectors = _estimate(*fixed, qps)
        prediction = _compensate(state.value, vectors)
        symbols = _skip(fixed[0], lax.stop_gradient(prediction), vectors, qps, skip_bits)
        return Pictures(prediction), SideInformation(symbols, prediction)

    @nn.nowrap
    def reconsider(
        self, pictures: Array, decoded: Array, bits: Array, side: SideInformation, qps: Array
    ) -> SideInformation:
        """See `Network`: also skip blocks that cost more than they gained."""
        return SideInformation(_skip_more(pictures, decoded, bits, side, qps), side.prediction)

    @nn.nowrap
    def apply_side(self, state: State, symbols: npt.NDArray[np.int8]) -> tuple[State, SideInformation]:
        """See `Network`."""
        prediction = _compensate(state.value, jax.device_put(symbols[..., :2]))
        return Pictures(prediction), SideInformation(jax.device_put(symbols), prediction)

    @nn.nowrap
    def uncoded(self, side: SideInformation | None) -> Array | None:
        """See `Network`: skipped blocks."""
        return None if side is None else side.symbols[..., 2] != 0

    @nn.nowrap
    def source(self, pictures: Array, side: SideInformation | None) -> Array:
        """See `Network`; the difference from the prediction if `residual`."""
        if not self.config.residual or side is None:
            return pictures
        return arithmetic(pictures).difference(pictures, side.prediction)

    def unclamped(self, feature: Array, side: SideInformation | None, qps: Array) -> Array:
        """See `Inter`; with the prediction, in the precision of pictures, if `residual`."""
        pictures = super().unclamped(feature, side, qps)
        if not self.config.residual or side is None:
            return pictures
        ops = arithmetic(pictures)
        return ops.add(ops.widen(pictures), side.prediction)

    def finish(self, pictures: Array, side: SideInformation | None, qps: Array) -> Array:
        """See `Inter`; the prediction where blocks are skipped, and smooth edges of blocks."""
        picture, weak = super().finish(pictures, side, qps)[:, 0], None
        skipped = self.uncoded(side)
        if side is not None and skipped is not None:
            picture = motion.replace_skipped(picture, side.prediction[:, 0], skipped)
            weak = weak_edges(side.symbols)
        if self.config.deblocking:
            picture = deblock(picture, qps[:, 0], self.config.deblocking, weak)
        return picture[:, None]


# Each is one program, the same for encoder and decoder: floating point may round differently in another (D2).


@jax.jit
def _estimate(pictures: Array, reference: Array, qps: Array) -> Array:
    """Vectors of the blocks of the reference picture, [B, H/16, W/16, 2] int8."""
    picture, reference, qp = pictures[:, 0], reference[:, -1], qps[:, 0]
    return refine(picture, reference, motion.estimate(picture, reference, qp), qp)


@jax.jit
def _compensate(reference: Array, vectors: Array) -> Array:
    """The reference picture with its blocks moved, [B, 1, H, W, 3]."""
    return motion.compensate(reference[:, -1], vectors)[:, None]


@functools.partial(jax.jit, static_argnames="skip_bits")
def _skip(pictures: Array, prediction: Array, vectors: Array, qps: Array, skip_bits: float) -> Array:
    """The symbols of side information [B, H/16, W/16, 3] int8."""
    skipped = motion.skippable(pictures[:, 0], prediction[:, 0], qps[:, 0], skip_bits)
    return jnp.concatenate([vectors, skipped[..., None].astype(jnp.int8)], axis=-1)


@jax.jit
def _skip_more(pictures: Array, decoded: Array, bits: Array, side: SideInformation, qps: Array) -> Array:
    """The same once the blocks have been coded."""
    more = motion.not_worth_coding(pictures[:, 0], side.prediction[:, 0], decoded[:, 0], bits, qps[:, 0])
    return side.symbols.at[..., 2].max(more.astype(jnp.int8))
