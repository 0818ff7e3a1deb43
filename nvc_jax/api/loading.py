"""Codecs from packaged models, model directories and official checkpoints."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from nvc_jax.api.codec import Codec, Device
from nvc_jax.bitstream import NvcHeader
from nvc_jax.codec.descriptions import packaged_models, read_description
from nvc_jax.codec.model import packaged_for
from nvc_jax.codec.store import load_model
from nvc_jax.spec import DEFAULT_MODEL

PathLike = str | os.PathLike[str]


def list_models() -> dict[str, dict[str, Any]]:
    """The models that ship with the package: their descriptions (`identity`, `source`, `config`, ...) by name."""
    return {name: read_description(folder) for name, folder in packaged_models().items()}


def load(
    model: PathLike = DEFAULT_MODEL,
    *,
    precision: str | None = None,
    kernels: str | None = None,
    device: Device = None,
) -> Codec:
    """Load a model.

    Args:
        model: name of a packaged model, or a model directory.
        precision: see `Codec`.
        kernels: see `Codec`.
        device: see `Codec`.

    Raises:
        ModelError: there is no such model, or it is damaged.
        ConfigError: an option is unknown or does not fit the model or this machine.
    """
    return Codec(load_model(model), precision=precision, kernels=kernels, device=device)


def load_official(
    image: PathLike,
    video: PathLike,
    tables: PathLike | None = None,
    *,
    architecture: str = "dcvc_rt",
    precision: str | None = None,
    kernels: str | None = None,
    device: Device = None,
) -> Codec:
    """Load official PyTorch checkpoints, without PyTorch.

    To load them again and again, convert them once: `nvc-jax convert IMAGE VIDEO DIR`, `nvc_jax.load(DIR)`.

    Args:
        image: `.pth` or `.pth.tar` of the image model.
        video: the same of the video model.
        tables: probability tables of the official code, made by `tools/official_tables.py`, for streams that it reads
            or has written; by default they are computed from the checkpoints.
        architecture: of the checkpoints.
        precision: see `Codec`.
        kernels: see `Codec`.
        device: see `Codec`.

    Raises:
        CheckpointError: a file cannot be read or does not fit the architecture.
        ConfigError: an option is unknown or does not fit this machine.
    """
    from nvc_jax.convert.command import read_checkpoints

    stored = read_checkpoints(Path(image), Path(video), architecture, None if tables is None else Path(tables))
    return Codec(stored, precision=precision, kernels=kernels, device=device)


def codec_of(model: "Codec | PathLike | None", header: NvcHeader | None = None) -> Codec:
    """A codec that was given, or the one of a name, or that a stream names; packaged ones are loaded once."""
    if isinstance(model, Codec):
        return model
    if model is None:
        model = DEFAULT_MODEL if header is None else packaged_for(header)
    return _packaged(os.fspath(model)) if os.fspath(model) in packaged_models() else load(model)


@lru_cache(maxsize=2)
def _packaged(name: str) -> Codec:
    return load(name)
