"""Model directories: Orbax parameters, configuration, tables, identity.

- `config.json`: see `codec.descriptions`
- `params/`: Orbax checkpoint of a tree for each network by name, float32, or integers for a model of precision int16;
  `codec.compact` has how they are shortened
- `tables.npz`: probability tables of z, made once (they differ between machines when made anew)
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.codec.compact import compacted, expanded
from nvc_jax.codec.descriptions import FORMAT, find_model, read_description
from nvc_jax.codec.schedule import DEFAULT_OFFSETS, QpOffsets
from nvc_jax.entropy.tables import CdfArrays, factorised_tables, load_tables, save_tables
from nvc_jax.errors import ConfigError, ModelError, OutputError
from nvc_jax.io.files import atomic_folder, atomic_output, explained, first_line, reason
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.params import ParamTree, dtype, flatten
from nvc_jax.spec import FIXED_ARITHMETIC, QP_OFFSETS

_FILES = ("config.json", "params", "tables.npz")
_ROOM = 1 << 20  # bytes that a model takes beyond twice its parameters (Orbax writes them twice)


@dataclasses.dataclass(frozen=True)
class StoredModel:
    """A model as it is on disk.

    Attributes:
        config: architecture.
        params: a tree for each network by name, of NumPy arrays: float32, or integers as docs/INT16.md says.
        tables: probability tables of z by network.
        identity: hash of all of the above, hexadecimal; of an int16 model, that of the trained model it was made of.
        source: where the parameters come from, for people.
        precision: "float32" or "int16".
        offsets: no part of the identity.
        contents: hash of this form of the model, the identity in float32.
        int16_identity: of its int16 form in streams, where that is not the identity.
        unfiltered: where its parameters were a model without deblocking before: `identity` and perhaps `int16_identity`
            of that model, whose streams still decode.
    """

    config: CodecConfig
    params: ParamTree
    tables: Mapping[str, CdfArrays]
    identity: str
    source: str
    precision: str = "float32"
    offsets: QpOffsets = DEFAULT_OFFSETS
    contents: str = ""
    int16_identity: str | None = None
    unfiltered: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def stream_identity(self) -> str:
        """The identity that streams of this form say."""
        return (self.precision == "int16" and self.int16_identity) or self.identity

    def made(self, stream_identity: str) -> bool:
        """True for the identity in a stream of this form of the model, by this version or an earlier one."""
        return stream_identity in (self.identity, self.stream_identity, self.contents)

    def for_stream(self, stream_identity: str) -> "StoredModel":
        """The model, or the one that it was without deblocking, if that made the stream."""
        if self.made(stream_identity) or stream_identity not in self.unfiltered.values():
            return self
        return self._without_filter()

    def _without_filter(self) -> "StoredModel":
        """The model that its parameters were before they were given deblocking."""
        model = make_model(self.config.with_deblocking(0), self.params, self.source, self.tables, self.offsets)
        identity, in_int16 = self.unfiltered["identity"], self.unfiltered.get("int16_identity")
        return dataclasses.replace(model, identity=identity, int16_identity=in_int16)

    def with_deblocking(self, strength: int) -> "StoredModel":
        """The model with another strength of the filter, and so another identity.

        Streams of the model without filter decode with the new one.

        Raises:
            ConfigError: one of its networks cannot filter, or the strength is out of range.
            ModelError: it holds integers.
        """
        if self.precision == "int16":
            raise ModelError("deblocking is given to the trained model, before its int16 form is made.")
        config = self.config.with_deblocking(strength)
        if config == self.config:
            return self
        if strength == 0 and self.unfiltered:
            return self._without_filter()
        model = make_model(config, self.params, self.source, self.tables, self.offsets)
        own = {"identity": self.identity, "int16_identity": self.int16_identity}
        before = {key: value for key, value in own.items() if value is not None}
        filters = self.config != self.config.with_deblocking(0)
        return dataclasses.replace(model, unfiltered=self.unfiltered if filters else before)


def make_model(
    config: CodecConfig,
    params: ParamTree,
    source: str,
    tables: Mapping[str, CdfArrays] | None = None,
    offsets: QpOffsets = DEFAULT_OFFSETS,
) -> StoredModel:
    """A model from trained parameters. Tables are computed unless they are given; integers need them given.

    Raises:
        ModelError: the tables are those of another architecture.
    """
    params = expanded(params)
    if tables is None:
        tables = {name: factorised_tables(params[name]["z_prior"]) for name, _ in config.networks}
    for name, network in config.networks:
        rows, found = network.qp_rows * network.hyper, tables[name].rows
        if found != rows:
            raise ModelError(f"the {name} tables of z have {found} rows, the model {config.name} needs {rows}.")
    identity = _identity(config, params, tables)
    return StoredModel(config, params, tables, identity, source, _precision(params), offsets, identity)


def save_model(folder: str | Path, model: StoredModel) -> None:
    """Write a model directory; an older one of that name is replaced when the new one is complete.

    Raises:
        OutputError: it cannot be written.
    """
    import orbax.checkpoint as ocp

    with atomic_folder(folder, replaces=_FILES.__contains__) as stage:
        needed = 2 * sum(leaf.nbytes for leaf in flatten(model.params).values()) + _ROOM
        if shutil.disk_usage(stage).free < needed:  # said here, because Orbax says it in hundreds of lines
            raise OutputError(f"{folder}: no space for the {needed} bytes of a model.")
        try:
            with ocp.StandardCheckpointer(multiprocessing_options=this_process_alone()) as checkpointer:
                checkpointer.save(stage.resolve() / "params", compacted(model.params))
            marker = stage / "params" / "commit_success.txt"
            if marker.exists():
                marker.write_text("committed\n")  # Orbax writes this machine's path into it
            with (stage / "tables.npz").open("wb") as file:
                save_tables(file, model.tables)
            _write_description(stage, model, _file_hashes(stage))
        except OSError as error:
            raise OutputError(f"{folder}: cannot write the model ({reason(error)}).") from None
        except ValueError as error:  # TensorStore's
            raise OutputError(f"{folder}: cannot write the model ({first_line(error)}).") from None


def save_description(folder: Path, model: StoredModel) -> None:
    """Describe a model directory anew whose parameters and tables are those of the model; the other files stay.

    Raises:
        ModelError: they are not.
        OutputError: it cannot be written.
    """
    theirs = load_model(folder)
    if _identity(model.config, theirs.params, theirs.tables) != model.contents:
        raise ModelError(f"{folder}: holds other parameters or tables than the model; save the model as a whole.")
    hashes = {name: value for name, value in _file_hashes(folder).items() if name != "config.json"}
    try:
        _write_description(folder, model, hashes)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the model ({reason(error)}).") from None


def _write_description(folder: Path, model: StoredModel, hashes: Mapping[str, str]) -> None:
    description = {
        "format": FORMAT,
        "identity": model.identity,
        "precision": model.precision,
        "source": model.source,
        "config": model.config.to_dict(),
        "sha256": hashes,
    } | model.offsets.to_dict()
    if model.contents != model.identity:
        description["contents"] = model.contents
    if model.int16_identity is not None:
        description["int16_identity"] = model.int16_identity
    if model.unfiltered:
        description["unfiltered"] = dict(model.unfiltered)
    with atomic_output(folder / "config.json") as file:
        file.write((json.dumps(description, indent=2) + "\n").encode())


def load_model(name_or_folder: str | os.PathLike[str]) -> StoredModel:
    """Load a packaged model by name, or a model directory.

    Raises:
        ModelError: there is no such model, it is damaged, or its parts do not belong together.
    """
    folder = find_model(name_or_folder)
    description = read_description(folder)
    try:
        config = CodecConfig.from_dict(description.get("config", {}))
    except ConfigError as error:
        raise ModelError(f"{folder}: {error}") from None
    _check_files(folder, description.get("sha256"))
    tables = load_tables(folder / "tables.npz", tuple(name for name, _ in config.networks))
    params = _restore(folder / "params")
    contents = _identity(config, params, tables)
    expected = description.get("contents", description["identity"])
    if contents != expected:
        raise ModelError(
            f"{folder}: parameters, tables and config.json do not belong together (identity {contents[:12]}, "
            f"config.json says {str(expected)[:12]}); convert or copy the model again."
        )
    _check_finite(folder, params)
    return StoredModel(
        config,
        params,
        tables,
        description["identity"],
        description["source"],
        _precision(params),
        model_offsets(description, folder),
        contents,
        description.get("int16_identity"),
        _unfiltered(description, folder),
    )


def model_offsets(description: Mapping[str, Any], folder: str | os.PathLike[str]) -> QpOffsets:
    """`StoredModel.offsets` of a description.

    Raises:
        ModelError: no encoder can use them.
    """
    found = description.get("qp_offsets", QP_OFFSETS), description.get("intra_qp_offset", 0)
    try:
        return QpOffsets(tuple(found[0]), found[1])
    except (TypeError, ConfigError):
        raise ModelError(f"{folder}: config.json is damaged (its qp offsets are {found!r}).") from None


def _unfiltered(description: Mapping[str, Any], folder: Path) -> dict[str, str]:
    found = description.get("unfiltered", {})
    if not isinstance(found, dict) or (found and not isinstance(found.get("identity"), str)):
        raise ModelError(f"{folder}: config.json is damaged (its model without deblocking is {found!r}).")
    return found


def this_process_alone() -> Any:
    """Orbax's option to read and write without waiting for the other processes of a training run."""
    import jax
    import orbax.checkpoint as ocp

    number = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=number, active_processes={number}, barrier_sync_key_prefix=f"process_{number}"
    )


def _file_hashes(folder: Path) -> dict[str, str]:
    """The hash of every file in a folder, by its path from there."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): _file_hash(path) for path in files}


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_files(folder: Path, hashes: object) -> None:
    """Refuse damaged files before Orbax sees them: it prints hundreds of lines before it gives up."""
    for name, expected in hashes.items() if isinstance(hashes, dict) else ():
        with explained(ModelError, f"{folder}: cannot read {name}", "; convert or copy it again."):
            found = _file_hash(folder / name)
        if found != expected:
            raise ModelError(f"{folder}: {name} is damaged; convert or copy the model again.")


def _check_finite(folder: Path, params: ParamTree) -> None:
    leaves = flatten(params)
    broken = [name for name, leaf in leaves.items() if not np.isfinite(leaf).all()]
    if broken:
        raise ModelError(
            f"{folder}: {len(broken)} of {len(leaves)} parameters have NaN or infinity in them, e.g. {broken[0]}; the "
            "training that wrote them has diverged, take an earlier model."
        )


def _restore(folder: Path) -> ParamTree:
    import orbax.checkpoint as ocp

    try:
        handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=this_process_alone())
        with ocp.Checkpointer(handler, multiprocessing_options=this_process_alone()) as checkpointer:
            params = checkpointer.restore(folder.resolve())
        return expanded(params)
    except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged directory
        raise ModelError(f"{folder}: cannot read the parameters ({first_line(error)}).") from None


def _precision(params: ParamTree) -> str:
    return str(dtype(next(iter(params.values()))))


def _identity(config: CodecConfig, params: ParamTree, tables: Mapping[str, CdfArrays]) -> str:
    digest = hashlib.sha256()
    architecture = {key: value for key, value in config.to_dict().items() if key != "name"}
    digest.update(json.dumps(architecture, sort_keys=True).encode())
    if _precision(params) == "int16":
        digest.update(f"int16 arithmetic {FIXED_ARITHMETIC}".encode())
    for name, leaf in sorted(flatten(params).items()):
        digest.update(f"{name} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).data)
    for name, table in sorted(tables.items()):
        for part in (table.cdf, table.length, table.offset):
            digest.update(f"{name} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
