"""The networks of UI2C (spec ui2c): no intra network, and two pictures at a time."""

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from nvc_jax.models.config import PATCH_CHANNELS, PairConfig, UnifiedConfig
from nvc_jax.models.inter import Inter
from nvc_jax.models.layers import Pointwise, chain, dc_blocks
from nvc_jax.models.network import State
from nvc_jax.models.state import Pictures
from nvc_jax.ops.arithmetic import arithmetic


class Unified(Inter):
    """Starts a sequence from a blank picture before it: there is nothing else to predict from."""

    config: UnifiedConfig

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


class Pair(Unified):
    """Codes two pictures, unshuffled together, as `Inter` codes one; half of each quality bank is for each picture."""

    config: PairConfig

    @nn.nowrap
    def declare_reconstruction(self) -> None:
        """See `Inter`; the blocks of the heads follow each other in one list."""
        c = self.config
        if c.heads == 1:
            super().declare_reconstruction()
            return
        self.recon_blocks = [block for _ in range(c.heads) for block in dc_blocks(c.head)]
        self.recon_out = [Pointwise(PATCH_CHANNELS) for _ in range(c.heads)]

    def patches(self, feature: Array, qps: Array) -> Array:
        """See `Inter`."""
        c = self.config
        if c.heads == 1:
            return super().patches(feature, qps)
        gains, count = jnp.split(self.q_recon(qps), c.heads, axis=-1), c.recon.blocks
        found = []
        for number, (gain, out) in enumerate(zip(gains, self.recon_out, strict=True)):
            x = chain(self.recon_blocks[number * count : (number + 1) * count], feature)
            found.append(out(arithmetic(x).multiply(x, gain)))
        return jnp.concatenate(found, axis=-1)
