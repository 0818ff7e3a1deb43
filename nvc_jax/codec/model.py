"""A model ready to code: networks, parameters on the device, tables."""

from pathlib import Path

import jax
import jax.numpy as jnp

from nvc_jax.codec.frame import FrameCodec
from nvc_jax.codec.integers import integerise, prepare_params
from nvc_jax.codec.schedule import FrameKind
from nvc_jax.codec.store import StoredModel, load_model
from nvc_jax.entropy.coder import EntropyCoder
from nvc_jax.errors import ConfigError
from nvc_jax.models.params import models
from nvc_jax.spec import FIXED_SCALE

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "int16": jnp.int16}
_KEY_OF_KIND: dict[FrameKind, str] = {"I": "intra", "P": "inter"}


class Codec:
    """What encoders and decoders share.

    Attributes:
        stored: the model as it is on disk; in int16, the integer model that was made of it.
        precision: "float32", "bfloat16" or "int16". Streams decode only in the precision they were made in.
    """

    def __init__(self, stored: StoredModel, precision: str = "float32", strategy: str | None = None) -> None:
        """Put a model on the device.

        Args:
            stored: the model.
            precision: a key of PRECISIONS.
            strategy: in int16, how to multiply (`ops.exact.STRATEGIES`); all give the same integers.

        Raises:
            ConfigError: the precision is not known or not that of an integer model.
        """
        if precision not in PRECISIONS:
            raise ConfigError(f"precision {precision!r} is not known; choose from {', '.join(PRECISIONS)}.")
        if precision == "int16":
            stored = integerise(stored)
            self._params = prepare_params(stored.params, strategy)
        elif stored.precision == "int16":
            raise ConfigError(f"the model {stored.config.name} is of integers; use precision int16, not {precision}.")
        else:
            dtype = PRECISIONS[precision]
            self._params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), stored.params)
        self.stored = stored
        self.precision = precision
        self._models = models(stored.config)
        self._coders = {
            (kind, two_streams): EntropyCoder(stored.tables[key], 2 if two_streams else 1)
            for kind, key in _KEY_OF_KIND.items()
            for two_streams in (False, True)
        }

    @classmethod
    def load(cls, name_or_folder: str | Path, precision: str = "float32") -> "Codec":
        """Load a packaged model by name, or a model directory.

        Raises:
            ModelError: there is no such model, or it is damaged.
        """
        return cls(load_model(name_or_folder), precision)

    def frame_codecs(self, skip_threshold: float | None) -> dict[FrameKind, FrameCodec]:
        """The intra and the inter codec."""
        threshold = jnp.float32(-1.0 if skip_threshold is None else skip_threshold)
        if self.precision == "int16":
            threshold = jnp.round(threshold * FIXED_SCALE).astype(jnp.int32)
        return {kind: FrameCodec(self._models[key], self._params[key], threshold) for kind, key in _KEY_OF_KIND.items()}

    def entropy_coder(self, kind: FrameKind, two_streams: bool) -> EntropyCoder:
        """The entropy coder of a kind of frame."""
        return self._coders[kind, two_streams]

    @property
    def entropy_seconds(self) -> float:
        """Time spent in entropy coding so far."""
        return sum(coder.timer.seconds for coder in self._coders.values())
