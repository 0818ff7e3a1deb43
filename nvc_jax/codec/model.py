"""A model ready to code: networks, parameters on the device, tables."""

from pathlib import Path

import jax
import jax.numpy as jnp

from nvc_jax.bitstream import NvcHeader
from nvc_jax.codec.frame import FrameCodec
from nvc_jax.codec.store import StoredModel, load_model, packaged_models, read_description
from nvc_jax.entropy.coder import EntropyCoder
from nvc_jax.errors import ConfigError, ModelError
from nvc_jax.models.params import models
from nvc_jax.spec import DEFAULT_MODEL, DIALECTS, Dialect, FrameKind

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_KEY_OF_KIND: dict[FrameKind, str] = {"I": "intra", "P": "inter"}


class Codec:
    """What encoders and decoders share.

    Attributes:
        stored: the model as it is on disk.
        precision: "float32" or "bfloat16". Streams decode only in the precision they were made in.
    """

    def __init__(self, stored: StoredModel, precision: str = "float32") -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f"precision {precision!r} is not known; choose from {', '.join(PRECISIONS)}.")
        self.stored = stored
        self.precision = precision
        dtype = PRECISIONS[precision]
        self._params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), stored.params)
        self._models = models(stored.config)
        self._coders = {
            (kind, dialect): EntropyCoder(stored.tables[key], dialect)
            for kind, key in _KEY_OF_KIND.items()
            for dialect in DIALECTS
        }

    @classmethod
    def load(cls, name_or_folder: str | Path, precision: str = "float32") -> "Codec":
        """Load a packaged model by name, or a model directory.

        Raises:
            ModelError: there is no such model, or it is damaged.
        """
        return cls(load_model(name_or_folder), precision)

    @classmethod
    def for_stream(
        cls, header: NvcHeader | None, model: str | None, precision: str | None, ignore_identity: bool = False
    ) -> "Codec":
        """The codec that a stream was made with.

        Args:
            header: what the stream says about itself; None if it says nothing.
            model: name or folder; None is the packaged model that the stream names, or the default one.
            precision: None is that of the stream, or float32.
            ignore_identity: take the model although it is not the one that made the stream.

        Raises:
            ModelError: the model is not there, or not the one that made the stream.
            ConfigError: the stream was made in another precision.
        """
        if header is None:
            return cls.load(model or DEFAULT_MODEL, precision or "float32")
        if precision not in (None, header.precision):
            raise ConfigError(f"the stream was made in {header.precision} and does not decode in {precision}.")
        if model is None:
            identities = {read_description(folder)["identity"]: name for name, folder in packaged_models().items()}
            model = identities.get(header.identity)
        wanted = f"{header.model} (identity {header.identity[:12]})"
        if model is None:
            raise ModelError(f"the stream was made with the model {wanted}, which is not packaged; name it by --model.")
        codec = cls.load(model, header.precision)
        found = codec.stored.identity
        if found != header.identity and not ignore_identity:
            raise ModelError(
                f"the stream was made with the model {wanted}, and {model} has identity {found[:12]}; "
                "name the right one by --model (--ignore-identity decodes all the same)."
            )
        return codec

    def frame_codecs(self, skip_threshold: float | None) -> dict[FrameKind, FrameCodec]:
        """The intra and the inter codec."""
        threshold = jnp.float32(-1.0 if skip_threshold is None else skip_threshold)
        return {kind: FrameCodec(self._models[key], self._params[key], threshold) for kind, key in _KEY_OF_KIND.items()}

    def entropy_coder(self, kind: FrameKind, dialect: Dialect) -> EntropyCoder:
        """The entropy coder of a kind of frame."""
        return self._coders[kind, dialect]

    @property
    def entropy_seconds(self) -> float:
        """Time spent in entropy coding so far."""
        return sum(coder.timer.seconds for coder in self._coders.values())
