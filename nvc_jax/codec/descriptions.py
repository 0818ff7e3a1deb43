"""Descriptions of model directories (config.json), read without JAX.

They hold format version, architecture, identity, origin, hashes of the other files, and qp offsets. An int16 model has
the identity of the trained model it was made of, and `contents`, the hash of its integers. The int16 form of a model
with an `int16_identity` goes by that one in streams, as all did before the forms of a model shared an identity.
`unfiltered` has the identities of the same parameters without deblocking, where streams were made with them.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvc_jax.errors import ConfigError, ModelError
from nvc_jax.io.files import explained
from nvc_jax.models.codecs import CONFIGS
from nvc_jax.models.config import CodecConfig

FORMAT = 1  # a new key needs a new one
_KEYS = {"format", "identity", "precision", "source", "config", "sha256"}
_OPTIONAL_KEYS = {"qp_offsets", "intra_qp_offset", "contents", "int16_identity", "unfiltered"}


def packaged_models() -> dict[str, Path]:
    """The models that ship with the package, by name."""
    folder = Path(__file__).parents[1] / "weights"
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}


def find_model(name_or_folder: str | os.PathLike[str]) -> Path:
    """The directory of a model.

    Raises:
        ModelError: there is none.
    """
    packaged = packaged_models()
    folder = packaged.get(os.fspath(name_or_folder), Path(name_or_folder))
    if not (folder / "config.json").is_file():
        kind = "an architecture without weights" if str(name_or_folder) in CONFIGS else "not a model"
        raise ModelError(
            f"{name_or_folder}: {kind}; give a model directory (made by nvc-jax convert or train.py) or one of: "
            f"{', '.join(packaged) or 'no model is packaged'}."
        )
    return folder


def read_description(folder: Path) -> dict[str, Any]:
    """Read config.json.

    Raises:
        ModelError: it cannot be read or is of a newer format.
    """
    try:
        description = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder}: config.json is damaged ({error}).") from None
    if not isinstance(description, dict):
        raise ModelError(f"{folder}: config.json is damaged (it holds no object).")
    version = description.get("format")
    if version != FORMAT:
        raise ModelError(f"{folder}: model format {version}, this version reads {FORMAT}; update nvc-jax.")
    for key in ("identity", "source"):
        if not isinstance(description.get(key), str):
            raise ModelError(f"{folder}: config.json is damaged (it has no {key}).")
    for key in sorted(description.keys() - _KEYS - _OPTIONAL_KEYS):  # it may be one that has a default, misspelt
        raise ModelError(f"{folder}: config.json has the unknown key {key!r}; correct it, or update nvc-jax.")
    return description


def find_codec(name: str) -> CodecConfig:
    """The architecture of a name, of a JSON file with a configuration, or of a model.

    Raises:
        ConfigError: there is none, or it is damaged.
        ModelError: the model is damaged.
    """
    path = Path(name)
    if name in CONFIGS:
        return CONFIGS[name]
    if path.suffix == ".json":
        with explained(ConfigError, f"{name}: cannot read the configuration", "."):
            data = path.read_bytes()
        try:
            return CodecConfig.from_dict(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{name}: is no configuration of a codec ({error}).") from None
    if name in packaged_models() or (path / "config.json").is_file():
        return CodecConfig.from_dict(read_description(find_model(name)).get("config", {}))
    known = ", ".join(CONFIGS)
    raise ConfigError(f"unknown codec {name!r}; available: {known}, a configuration FILE.json, or a model directory.")


def packaged_with(stream_identity: str) -> str | None:
    """The packaged model that made a stream, by its identity in the stream; None if none did.

    A newer model may have taken over the name that the stream says.
    """
    wanted = trained_identity(stream_identity)
    for packaged, text in _readable_descriptions():
        if wanted in (text["identity"], text["unfiltered"].get("identity")):
            return packaged
    return None


def trained_identity(stream_identity: str) -> str:
    """The identity of the model that a stream names, for people: int16 forms had their own ones before."""
    models = [model for _, text in _readable_descriptions() for model in (text, text["unfiltered"])]
    known = {model["int16_identity"]: str(model["identity"]) for model in models if "int16_identity" in model}
    return known.get(stream_identity, stream_identity)


def _readable_descriptions() -> Iterator[tuple[str, dict[str, Any]]]:
    """Those of packaged models, `unfiltered` included. A damaged one is named when its model is used."""
    for packaged, folder in packaged_models().items():
        with contextlib.suppress(ModelError):
            text = read_description(folder)
            unfiltered = text.get("unfiltered")
            yield packaged, text | {"unfiltered": unfiltered if isinstance(unfiltered, dict) else {}}
