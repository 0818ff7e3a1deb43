"""Values that pass between the methods of a network, and from packet to packet."""

from typing import Any

import flax.struct
from jax import Array


@flax.struct.dataclass
class Pictures:
    """State of a network that starts from decoded pictures.

    Attributes:
        value: [B, T, H, W, 3], sizes after padding.
    """

    value: Array


@flax.struct.dataclass
class Feature:
    """State of a network that goes on from its decoder feature.

    Attributes:
        value: [B, H/8, W/8, C].
    """

    value: Array


@flax.struct.dataclass
class Either:
    """State of a network that starts from pictures or goes on from a feature, in programs that code either packet.

    Attributes:
        starts: bool scalar, true for pictures.
        pictures: see `Pictures`.
        feature: see `Feature`.
    """

    starts: Array
    pictures: Array
    feature: Array


@flax.struct.dataclass
class SideInformation:
    """Side information of a packet.

    Attributes:
        symbols: int8 [B, H/16, W/16, n]: all that is transmitted.
        prediction: pictures [B, T, H, W, 3] that the state and the symbols give.
    """

    symbols: Array
    prediction: Array


@flax.struct.dataclass
class Synthesis:
    """A packet before the reconstruction of its pictures.

    Attributes:
        feature: decoder feature [B, H/8, W/8, C].
        side: side information, None of networks without.
    """

    feature: Array
    side: SideInformation | None = None


@flax.struct.dataclass
class Prior:
    """Knowledge about the latent y before its first coding step, all [B, H/16, W/16, .].

    Attributes:
        gain_in: y is multiplied by it before coding (an array, or a reciprocal of `arithmetic`).
        gain_out: the decoded y is multiplied by it afterwards.
        scale: standard deviations for step 0.
        mean: means for step 0.
        shared: features that the later steps read beside the decoded part of y.
    """

    gain_in: Any
    gain_out: Array
    scale: Array
    mean: Array
    shared: Array
