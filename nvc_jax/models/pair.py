"""The network of UI2C (spec ui2c): two pictures at a time, and no intra network."""

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from nvc_jax.models.config import PairConfig
from nvc_jax.models.inter import Inter
from nvc_jax.models.layers import chain, dc_blocks
from nvc_jax.models.network import State
from nvc_jax.models.state import Pictures


class Pair(Inter):
    """Codes two pictures, unshuffled together, as `Inter` codes one; half of each quality bank is for each picture.

    A sequence starts from a blank picture before it: there is nothing else to predict from.
    """

    config: PairConfig

    modules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Inter.modules,
        "features": (*Inter.modules["features"], "adaptor_blocks"),
    }

    def setup(self) -> None:
        """Declare the modules."""
        super().setup()
        self.adaptor_blocks = dc_blocks(self.config.adaptor)

    @nn.nowrap
    def blank(self, shape: tuple[int, ...]) -> State:
        """See `Network`: zeros."""
        batch, _, *picture = shape
        return Pictures(jnp.zeros((batch, 1, *picture)))

    def adapt_picture(self, patches: Array) -> Array:
        """See `Inter`."""
        return chain(self.adaptor_blocks, self.adaptor_picture(patches))
