"""What passes between the stages of a codec, and from frame to frame."""

from typing import Any, Literal

import flax.struct
from jax import Array

from nvc_jax.models.config import InterConfig, IntraConfig


@flax.struct.dataclass
class Reference:
    """The reference buffer: what the next inter frame is predicted from (D1).

    Attributes:
        value: a reconstructed picture [B, H, W, 3] or a decoder feature [B, H/8, W/8, C], sizes after padding.
        kind: "picture" (after an intra frame or a refresh, with motion always) or "feature"; it selects the adaptor.
    """

    value: Array
    kind: Literal["picture", "feature"] = flax.struct.field(pytree_node=False)


@flax.struct.dataclass
class Moved:
    """The picture before, moved.

    Attributes:
        prediction: [B, H, W, 3].
        motion: of its blocks [B, H/16, W/16, 3] int8: dy and dx in quarter pixels, and not 0 where a block is skipped,
            which then is taken from the prediction as it is.
    """

    prediction: Array
    motion: Array


@flax.struct.dataclass
class Synthesis:
    """What the picture of a frame is made of.

    Attributes:
        feature: decoder feature [B, H/8, W/8, C].
        moved: None without motion.
    """

    feature: Array
    moved: Moved | None = None


def reference_after(config: IntraConfig | InterConfig, feature: Array, picture: Array) -> Reference:
    """What the next inter frame is predicted from, after an inter frame with this feature and picture."""
    return Reference(picture, "picture") if config.motion else Reference(feature, "feature")


@flax.struct.dataclass
class Prior:
    """What is known about the latent y before its first coding step, all [B, H/16, W/16, .].

    Attributes:
        gain_in: y is multiplied by it before coding (an array, or what `arithmetic` gives as a reciprocal).
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
