"""Import and export official checkpoints."""

from pathlib import Path

from nvc_jax.codec.store import StoredModel, load_model, make_model, save_model
from nvc_jax.convert.checkpoint import StateDict, params_from_official, params_to_official
from nvc_jax.convert.pth import dump_pth, read_pth
from nvc_jax.convert.safetensors import SUFFIX, dump_safetensors, is_safetensors, read_safetensors
from nvc_jax.entropy.tables import load_tables
from nvc_jax.errors import CheckpointError, OutputError
from nvc_jax.io.files import atomic_output, same_file
from nvc_jax.models.codecs import CONFIGS

TABLE_NAMES = {"image": "intra", "video": "inter"}  # in files made by tools/official_tables.py


def import_checkpoints(
    image: Path, video: Path, folder: Path, architecture: str = "dcvc_rt", tables: Path | None = None
) -> StoredModel:
    """Make a model directory from the official image and video checkpoints.

    Args:
        image: `.pth`, `.pth.tar` or `.safetensors` of the image model.
        video: the same of the video model.
        folder: the directory to make.
        architecture: name of the checkpoints' configuration.
        tables: official z tables (tools/official_tables.py); computed from the parameters if not given.

    Raises:
        CheckpointError: a file cannot be read or does not fit the architecture.
        OutputError: the directory cannot be written.
    """
    model = read_checkpoints(image, video, architecture, tables)
    save_model(folder, model)
    return model


def read_checkpoints(
    image: Path, video: Path, architecture: str = "dcvc_rt", tables: Path | None = None
) -> StoredModel:
    """Read the model of the official image and video checkpoints; see `import_checkpoints`.

    Raises:
        CheckpointError: a file cannot be read or does not fit the architecture.
    """
    if architecture not in CONFIGS:
        raise CheckpointError(f"unknown architecture {architecture!r}; available: {', '.join(CONFIGS)}.")
    params = params_from_official(CONFIGS[architecture], _read(image), _read(video))
    official = load_tables(tables, TABLE_NAMES) if tables is not None else None
    return make_model(
        CONFIGS[architecture],
        params,
        source=f"{image.name}, {video.name}",
        tables=official and {TABLE_NAMES[name]: table for name, table in official.items()},
    )


def export_checkpoints(folder: Path, image: Path, video: Path) -> StoredModel:
    """Write the official image and video checkpoints of a model directory, `.safetensors` where a name ends so.

    Raises:
        ModelError: the model does not exist.
        OutputError: a file cannot be written; then neither is kept.
    """
    if same_file(image, video):
        raise OutputError(f"{video}: is the image checkpoint too; name two files.")
    model = load_model(folder)
    if model.precision == "int16":
        raise CheckpointError(f"{folder}: is an int16 model; export its float model.")
    intra, inter = params_to_official(model.config, model.params)
    with atomic_output(image) as image_file, atomic_output(video) as video_file:  # both or neither
        for path, file, tensors in ((image, image_file, intra), (video, video_file, inter)):
            dump = dump_safetensors if path.suffix == SUFFIX else dump_pth
            dump(file, tensors)
    return model


def _read(path: Path) -> StateDict:
    return read_safetensors(path) if is_safetensors(path) else read_pth(path)
