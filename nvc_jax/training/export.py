"""Export a run to a model directory and official checkpoints, and load initial parameters."""

from pathlib import Path

import jax
import numpy as np

from nvc_jax.codec.schedule import QpOffsets
from nvc_jax.codec.store import StoredModel, load_model, make_model, save_model
from nvc_jax.convert.checkpoint import is_official
from nvc_jax.convert.command import export_checkpoints
from nvc_jax.errors import ConfigError
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.params import ParamTree
from nvc_jax.training.adoption import Adopted, adopt
from nvc_jax.training.config import TrainConfig
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.rounding import rounded
from nvc_jax.training.step import TrainState

MODEL, IMAGE, VIDEO = "model", "image.pth", "video.pth"


def load_parameters(folder: str, codec: CodecConfig, random: ParamTree) -> Adopted:
    """Load a model directory or a packaged model to start from; of another architecture, what fits.

    Args:
        folder: model.
        codec: architecture that is trained.
        random: its initial parameters, for those that the model does not have.

    Raises:
        ModelError: there is no such model.
        ConfigError: nothing of the model fits, or it is int16.
    """
    stored = load_model(folder)
    if stored.precision == "int16":
        raise ConfigError(f"{folder}: is an int16 model, which cannot be trained; start from its float model.")
    adopted = adopt(random, stored.params)
    if not adopted.taken:
        raise ConfigError(
            f"{folder}: no parameter of its architecture, {stored.config.name}, has name and shape of one of "
            f"{codec.name}, which the configuration trains."
        )
    return adopted


def trained_model(config: TrainConfig, state: TrainState, packing: Packing) -> StoredModel:
    """Make a model of the averaged parameters, or of the last ones without averaging, rounded as configured."""
    best = state.params if state.average is None else state.average
    unpack = jax.jit(lambda packed: {part: packing.unpack(part, leaves) for part, leaves in packed.items()})
    source = f"trained with train.py, {int(state.step)} steps"
    offsets = QpOffsets(config.loss.qp_offsets, config.loss.intra_qp_offset)
    exported = rounded(jax.tree.map(np.asarray, unpack(best)), config.significant_bits, config.int8_kernels)
    return make_model(config.codec, exported, source, offsets=offsets)


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
