"""A model ready to code: networks, parameters on the device, tables."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from nvc_jax.bitstream import NvcHeader
from nvc_jax.codec import floats, integers
from nvc_jax.codec.descriptions import packaged_models, packaged_with, trained_identity
from nvc_jax.codec.loop import LoadedNetwork
from nvc_jax.codec.store import StoredModel, load_model
from nvc_jax.entropy.coder import EntropyCoder
from nvc_jax.entropy.rdoq import zero_below
from nvc_jax.errors import ConfigError, ModelError
from nvc_jax.models.networks import networks
from nvc_jax.ops.motion import skip_bits
from nvc_jax.spec import (
    DEFAULT_MODEL,
    DEFAULT_PRESET,
    DIALECTS,
    FILE_PRECISION,
    FIXED_ARITHMETIC,
    FIXED_BITS,
    FIXED_LARGE_BITS,
    PRECISION_NAMES,
    PRESETS,
    Dialect,
    Preset,
)

PRECISIONS = {name: jnp.dtype(name) for name in PRECISION_NAMES}


class Codec:
    """A model on the device: encoders and decoders share it.

    Attributes:
        stored: the model as it is on disk; in int16, the integer model that was made of it.
        precision: a key of PRECISIONS. Streams decode only in the precision they were made in.
        strategy: how it multiplies.
    """

    def __init__(
        self,
        stored: StoredModel,
        precision: str | None = None,
        strategy: str | None = None,
        platform: str | None = None,
    ) -> None:
        """Put a model on the device.

        Args:
            stored: the model.
            precision: a key of PRECISIONS; None is that of the model's parameters, float32 or int16.
            strategy: how to multiply (`codec.floats.strategies`, `codec.integers.prepare_params`), by default the
                fastest on this machine; in int16 all give the same integers. Programs that are exported, and
                gradients, need one of XLA's, "xla" or in int16 a key of `ops.exact.STRATEGIES`: others hold functions
                of this process, as all programs for CPUs with AVX2 do where there is block motion or deblocking.
            platform: that programs are compiled for, "cpu", "gpu" or "tpu"; None is this machine's.

        Raises:
            ConfigError: the precision is not known or not that of an integer model, or this machine does not have the
                strategy.
        """
        precision = stored.precision if precision is None else precision
        _check_precision(precision)
        if precision == "int16":
            stored = integers.integerise(stored)
            self.strategy = strategy or integers.fastest_strategy()
            self._params = integers.prepare_params(stored.params, self.strategy)
        elif stored.precision == "int16":
            raise ConfigError(
                f"the int16 model of {stored.config.name} holds integers; use precision int16, not {precision}."
            )
        else:
            dtype = PRECISIONS[precision]
            self.strategy = strategy or floats.strategies(dtype, platform)[0]
            self._params = floats.prepare_params(stored.params, dtype, self.strategy, platform)
        self.stored = stored
        self.precision = precision
        self._networks = networks(stored.config)
        self._coders = {
            (name, dialect): EntropyCoder(stored.tables[name], dialect, network.config.side)
            for name, network in self._networks.items()
            for dialect in DIALECTS
        }

    @classmethod
    def load(cls, name_or_folder: str | Path, precision: str | None = FILE_PRECISION) -> "Codec":
        """Load a packaged model by name, or a model directory. precision: as above, by default that of `.nvc` files.

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
            precision: None is that of the stream, or of the model.
            ignore_identity: take the model although it is not the one that made the stream.

        Raises:
            ModelError: the model is not there, or not the one that made the stream.
            ConfigError: the stream was made in another precision.
        """
        if header is None:
            return cls.load(model or DEFAULT_MODEL, precision)
        precision = stream_precision(header, precision)
        model = model or packaged_for(header)
        codec = cls(stored_for(header, load_model(model), str(model)), precision)
        if not ignore_identity:
            check_identity(header, codec, str(model))
        return codec

    def networks(
        self,
        skip_threshold: float | None,
        rdoq: float = 0.0,
        skip_blocks: bool = True,
        preset: Preset = DEFAULT_PRESET,
    ) -> dict[str, LoadedNetwork]:
        """The networks by name, ready to code.

        Args:
            skip_threshold: symbols with a scale not above it are not coded; None codes all.
            rdoq: see `Encoder`.
            skip_blocks: see `Encoder`.
            preset: see `Encoder`.

        Raises:
            ConfigError: rdoq is out of range, or the preset is unknown.
        """
        if preset not in PRESETS:
            raise ConfigError(f"unknown preset {preset!r}; available: {', '.join(PRESETS)}.")
        if not 0 <= rdoq <= 1:
            raise ConfigError(f"`rdoq` is {rdoq:g}; it must be from 0 to 1.")

        def in_unit(real: ArrayLike, bits: int) -> Array:
            if self.precision == "int16":
                return jax.device_put(np.round(np.ldexp(real, bits)).astype(np.int32))
            return jax.device_put(np.asarray(real, np.float32))

        threshold = in_unit(-1.0 if skip_threshold is None else skip_threshold, FIXED_BITS)
        below = in_unit(zero_below(rdoq), FIXED_LARGE_BITS) if rdoq else None
        looks_again = skip_blocks and preset != "fast"
        return {
            name: LoadedNetwork(
                network,
                self._params[name],
                threshold,
                below,
                skip_bits(skip_blocks, looks_again),
                looks_again and network.config.side is not None,
            )
            for name, network in self._networks.items()
        }

    def entropy_coders(self, dialect: Dialect) -> dict[str, EntropyCoder]:
        """The entropy coder of each network.

        Raises:
            ConfigError: the dialect is unknown.
        """
        if dialect not in DIALECTS:
            raise ConfigError(f"unknown dialect {dialect!r}; available: {', '.join(DIALECTS)}.")
        return {name: self._coders[name, dialect] for name in self._networks}

    @property
    def arithmetic(self) -> int:
        """Version of the integer arithmetic, 0 in floating point."""
        return FIXED_ARITHMETIC if self.precision == "int16" else 0

    @property
    def entropy_seconds(self) -> float:
        """Time spent in entropy coding so far."""
        return sum(coder.timer.seconds for coder in self._coders.values())


def stream_precision(header: NvcHeader, precision: str | None = None) -> str:
    """The precision that a stream decodes in; precision: that was asked for, if any.

    Raises:
        ConfigError: this program does not have it, or another was asked for.
    """
    if precision is not None:
        _check_precision(precision)
    if header.precision not in PRECISIONS:
        raise ConfigError(f"the stream was made in {header.precision}, which this program does not have.")
    if precision not in (None, header.precision):
        raise ConfigError(f"the stream was made in {header.precision} and does not decode in {precision}.")
    if header.precision == "int16" and header.arithmetic != FIXED_ARITHMETIC:
        raise ConfigError(
            f"the stream was made in version {header.arithmetic} of the int16 arithmetic, this program has version "
            f"{FIXED_ARITHMETIC}; use the nvc-jax that made it."
        )
    return header.precision


def packaged_for(header: NvcHeader) -> str:
    """The packaged model that a stream names; a newer one of that name may have taken its place.

    Raises:
        ModelError: no such model is packaged.
    """
    made = packaged_with(header.identity)
    if made is None and header.model not in packaged_models():
        raise ModelError(
            f"the stream was made with the model {_wanted(header)}, which is not packaged; give it as `model`."
        )
    return made or header.model


def stored_for(header: NvcHeader, stored: StoredModel, name: str) -> StoredModel:
    """The model as it made a stream, if it has the parameters that the stream needs; name: for messages.

    Raises:
        ModelError: it holds integers, and the stream was made in floating point.
    """
    if stored.precision == "int16" and header.precision != "int16":
        raise ModelError(
            f"the stream was made in {header.precision} with the model {_wanted(header)}, and {name} is an int16 one; "
            "give the model that it was made of as `model`."
        )
    return stored.for_stream(header.identity)


def check_identity(header: NvcHeader, codec: Codec, name: str) -> None:
    """Refuse a codec that did not make the stream; name: of its model, for messages.

    Raises:
        ModelError: the identities differ.
    """
    if not codec.stored.made(header.identity):
        made = packaged_with(header.identity)
        advice = f"give {made or 'the right one'} as `model`"
        if made is None and name == header.model and name in packaged_models():
            advice += ", or install the nvc-jax release that packaged it"
        raise ModelError(
            f"the stream was made with the model {_wanted(header)}, and {name} has identity "
            f"{codec.stored.identity[:12]}; {advice} (`ignore_identity` decodes all the same)."
        )


def _wanted(header: NvcHeader) -> str:
    return f"{header.model} (identity {trained_identity(header.identity)[:12]})"


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} is not known; choose from {', '.join(PRECISIONS)}.")
