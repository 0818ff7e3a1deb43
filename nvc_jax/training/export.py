"""Export a run to a model directory and official checkpoints, and load initial parameters."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import numpy.typing as npt
from flax.traverse_util import flatten_dict

from nvc_jax.codec.schedule import QpOffsets
from nvc_jax.codec.store import StoredModel, load_model, make_model, save_model
from nvc_jax.convert.checkpoint import is_official
from nvc_jax.convert.command import export_checkpoints
from nvc_jax.errors import ConfigError
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.params import ParamTree
from nvc_jax.training.config import TrainConfig
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.step import TrainState

MODEL, IMAGE, VIDEO = "model", "image.pth", "video.pth"


def load_parameters(folder: str, codec: CodecConfig) -> ParamTree:
    """Load the parameters of a model directory or a packaged model.

    Raises:
        ModelError: there is no such model.
        ConfigError: the model has another architecture, or is int16.
    """
    stored = load_model(folder)
    if dataclasses.replace(stored.config, name=codec.name) != codec:
        raise ConfigError(
            f"{folder}: its architecture is {stored.config.name}, the configuration trains {codec.name}, which differs "
            f"in {', '.join(_differences(stored.config, codec))}."
        )
    if stored.precision == "int16":
        raise ConfigError(f"{folder}: is an int16 model, which cannot be trained; start from its float model.")
    return stored.params


def _differences(one: CodecConfig, other: CodecConfig) -> list[str]:
    """List the fields in which two architectures differ."""
    a, b = (flatten_dict(config.to_dict(), sep=".") for config in (one, other))
    return sorted(name for name in (a.keys() | b.keys()) - {"name"} if a.get(name) != b.get(name))


def trained_model(config: TrainConfig, state: TrainState, packing: Packing) -> StoredModel:
    """Make a model of the averaged parameters, or of the last ones without averaging, rounded as configured."""
    best = state.params if state.average is None else state.average
    params = {part: packing.unpack(part, leaves) for part, leaves in best.items()}
    source = f"trained with train.py, {int(state.step)} steps"
    offsets = QpOffsets(config.loss.qp_offsets, config.loss.intra_qp_offset)
    return make_model(config.codec, rounded(params, config.significant_bits), source, offsets=offsets)


def export(config: TrainConfig, state: TrainState, packing: Packing, workdir: Path) -> Path:
    """Write the model directory and, for codecs that the official code supports, its two checkpoints.

    Returns:
        The model directory.
    """
    folder = workdir / MODEL
    save_model(folder, trained_model(config, state, packing))
    if is_official(config.codec):
        export_checkpoints(folder, workdir / IMAGE, workdir / VIDEO)
    return folder


def rounded(params: ParamTree, significant_bits: int) -> ParamTree:
    """Round parameters to a number of significant bits; the trailing zeros compress well."""

    def round_leaf(leaf: npt.ArrayLike) -> npt.NDArray[np.float32]:
        mantissa, exponent = np.frexp(np.asarray(leaf, np.float32))
        return np.ldexp(np.round(np.ldexp(mantissa, significant_bits)), exponent - significant_bits).astype(np.float32)

    return jax.tree.map(round_leaf, params)
