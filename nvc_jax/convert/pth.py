"""Read and write PyTorch checkpoints (`.pth`, `.pth.tar`) without PyTorch.

The format is that of `torch.save` since PyTorch 1.6: a zip file of uncompressed records, `data.pkl` with the
structure and one `data/<key>` per storage. Files are not trusted: `pth_pickle` builds nothing but tensors and
containers, and sizes are compared with what the file holds before anything is allocated.
"""

import math
import os
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, TypeGuard

import numpy as np
import numpy.typing as npt

from nvc_jax.convert import pth_pickle
from nvc_jax.convert.pth_pickle import STORAGE_DTYPES, Storage, Tensor, quote
from nvc_jax.errors import CheckpointError
from nvc_jax.io.files import atomic_output

Array = npt.NDArray[Any]
Path = str | os.PathLike[str]

MAX_FILE_BYTES = 4 << 30
MAX_EXPANSION = 4  # arrays may take this many times the file (bfloat16 widens, tied weights repeat) ...
MAX_EXPANSION_SLACK_BYTES = 16 << 20  # ... and this much more (expanded tensors of small files)

_WRAPPERS = ("state_dict", "net", "model", "model_state_dict")
_WRAPPED = ("module.", "_orig_mod.")  # prefixes by DataParallel and torch.compile
_ALIGNMENT = 64  # of the records, as in PyTorch, for mmap
_LOCAL_HEADER_BYTES = 30  # of a zip record, without its name
# raised by zipfile for damaged files
_ZIP_ERRORS = (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, OSError, struct.error)
_RESAVE = "load it with PyTorch and save it again: torch.save(torch.load(OLD, map_location='cpu'), NEW)"


def read_pth(path: Path) -> dict[str, Array]:
    """Read the tensors of a checkpoint by name, in file order, as C-contiguous arrays.

    The state_dict may be the whole file or sit in a dictionary (`state_dict`, `net`, `model`, ...) beside
    other plain values, which are ignored; see `pth_pickle`. A `module.` or `_orig_mod.` before every name is dropped,
    and `_orig_mod.` within names. bfloat16 becomes float32, other dtypes are kept.

    Raises:
        CheckpointError: the file is not such a checkpoint, is damaged, or asks for anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            return _read(file)
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{os.fspath(path)}: cannot be read ({error.strerror or error})") from error


def write_pth(path: Path, state_dict: Mapping[str, Array], wrapper: str | None = "state_dict") -> None:
    """Write a checkpoint atomically; see `dump_pth`.

    Raises:
        CheckpointError: the dtype of an array is not supported.
        OutputError: the file cannot be written.
    """
    with atomic_output(path) as file:
        dump_pth(file, state_dict, wrapper)


def dump_pth(file: BinaryIO, state_dict: Mapping[str, Array], wrapper: str | None = "state_dict") -> None:
    """Write `{wrapper: state_dict}` (`state_dict` itself when `wrapper` is None) as `torch.save` would.

    The output is deterministic.

    Raises:
        CheckpointError: the dtype of an array is not supported.
    """
    arrays = {name: np.asarray(value) for name, value in state_dict.items()}
    kinds = {name: _storage_kind(name, array.dtype) for name, array in arrays.items()}
    tensors = {
        name: Tensor(Storage(kinds[name], str(key), array.size), 0, array.shape, _c_strides(array.shape))
        for key, (name, array) in enumerate(arrays.items())
    }
    with zipfile.ZipFile(file, "w") as archive:
        _add(archive, "data.pkl", pth_pickle.dumps(tensors, wrapper))
        _add(archive, "byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            little = array.dtype.newbyteorder("<")
            _add(archive, f"data/{key}", array.astype(little, copy=False).tobytes())
        _add(archive, "version", b"3\n")


def _read(file: BinaryIO) -> dict[str, Array]:
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes > MAX_FILE_BYTES:
        raise CheckpointError(f"has {size_bytes} bytes, the limit is {MAX_FILE_BYTES}")
    head = file.read(512)
    if not head.startswith(b"PK"):
        raise CheckpointError(_not_a_checkpoint(head))
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_arrays(_Records(archive, size_bytes), size_bytes)
    except CheckpointError:
        raise
    except _ZIP_ERRORS as error:
        why = str(error) or "it ends too early"
        raise CheckpointError(f"is truncated or damaged; download it again ({why})") from error


def _not_a_checkpoint(head: bytes) -> str:
    if not head:
        return "is empty"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights; run `git lfs pull` or download the file itself"
    if head.lstrip().startswith(b"<"):
        return "is a web page, not a checkpoint; the download needs another link or a login"
    if head[257:262] == b"ustar" or head[:1] == b"\x80":
        return f"is in the format of PyTorch before 1.6, which is not read; {_RESAVE}"
    return f"is not a PyTorch checkpoint (it starts with {head[:8]!r})"


class _Records:
    """Records of a checkpoint's zip file, whose sizes sum to no more than the file's."""

    def __init__(self, archive: zipfile.ZipFile, file_bytes: int):
        members = archive.infolist()
        self._archive = archive
        self._members = {member.filename: member for member in members}
        if len(self._members) < len(members):
            raise CheckpointError("is damaged: two records of the zip file have the same name")
        roots = [name.removesuffix("data.pkl") for name in self._members if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise CheckpointError("is a zip file but not a PyTorch checkpoint (it has no single data.pkl)")
        self._root = roots[0]
        if "constants.pkl" in self:
            raise CheckpointError("is a TorchScript program; save its state_dict with PyTorch instead")
        if any(m.compress_type != zipfile.ZIP_STORED or m.compress_size != m.file_size for m in members):
            raise CheckpointError("has compressed records, which PyTorch never writes")
        if sum(member.file_size for member in members) > file_bytes:
            raise CheckpointError("is damaged: its records claim more bytes than the file has")

    def __contains__(self, name: str) -> bool:
        return self._root + name in self._members

    def size(self, name: str) -> int:
        if name not in self:
            raise CheckpointError(f"is damaged: the record {quote(name)} is missing")
        return self._members[self._root + name].file_size

    def read(self, name: str) -> bytes:
        """Read a record and check its CRC."""
        size_bytes = self.size(name)
        data = self._archive.read(self._members[self._root + name])
        if len(data) != size_bytes:
            raise CheckpointError(f"is truncated in the record {quote(name)}")
        return data


def _read_arrays(records: _Records, file_bytes: int) -> dict[str, Array]:
    if records.size("data.pkl") > pth_pickle.MAX_PICKLE_BYTES:
        raise CheckpointError(f"is damaged: its data.pkl has {records.size('data.pkl')} bytes")
    tensors = _find_state_dict(pth_pickle.loads(records.read("data.pkl")))
    byte_order = _byte_order(records)

    total_bytes = 0
    names_by_key: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        _check(name, tensor, records)
        total_bytes += math.prod(max(n, 1) for n in tensor.shape) * _memory_dtype(tensor).itemsize
        names_by_key.setdefault(tensor.storage.key, []).append(name)
    limit_bytes = MAX_EXPANSION * file_bytes + MAX_EXPANSION_SLACK_BYTES
    if total_bytes > limit_bytes:
        raise CheckpointError(f"would expand to {total_bytes} bytes, the limit for its size is {limit_bytes}")

    arrays: dict[str, Array] = {}
    for key, names in names_by_key.items():  # one storage in memory at a time
        data = records.read(f"data/{key}")
        for name in names:
            arrays[name] = _array(tensors[name], data, byte_order)
    names = without_wrappers(list(tensors))
    return {name: arrays[original] for name, original in zip(names, tensors, strict=True)}


def without_wrappers(names: list[str]) -> list[str]:
    """Strip the prefixes of wrapper modules from names.

    Raises:
        CheckpointError: two names become one.
    """
    taken: set[str] = set()
    while prefix := next((p for p in _WRAPPED if p not in taken and all(n.startswith(p) for n in names)), None):
        taken.add(prefix)
        names = [name.removeprefix(prefix) for name in names]
    names = [name.replace("._orig_mod.", ".").removeprefix("_orig_mod.") for name in names]
    if len(set(names)) < len(names):
        raise CheckpointError("has tensors whose names differ by `_orig_mod.` only")
    return names


def _find_state_dict(value: object, depth: int = 0) -> dict[str, Tensor]:
    """Find the state_dict in `value`: itself, under a usual key, or the only one."""
    if not isinstance(value, dict):
        raise CheckpointError("holds no dictionary of tensors")
    if _is_state_dict(value):
        return value
    for wrapper in _WRAPPERS:
        inner = value.get(wrapper)
        if isinstance(inner, dict) and inner and depth < 2:
            return _find_state_dict(inner, depth + 1)
    candidates = [inner for inner in value.values() if _is_state_dict(inner)]
    if len(candidates) == 1:
        return candidates[0]
    keys = ", ".join(quote(str(key)) for key in list(value)[:8])
    raise CheckpointError(f"does not hold one dictionary of tensors by name; it holds {keys or 'nothing'}")


def _is_state_dict(value: object) -> TypeGuard[dict[str, Tensor]]:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _byte_order(records: _Records) -> str:
    if "byteorder" not in records:  # PyTorch before 2.1
        return "<"
    order = {b"little": "<", b"big": ">"}.get(records.read("byteorder"))
    if order is None:
        raise CheckpointError("is damaged: its byte order is neither little nor big")
    return order


def _check(name: str, tensor: Tensor, records: _Records) -> None:
    """Check that the storage has the size of its record and holds the tensor."""
    storage = tensor.storage
    itemsize = np.dtype(STORAGE_DTYPES[storage.kind]).itemsize
    record_bytes = records.size(f"data/{storage.key}")
    if storage.numel * itemsize != record_bytes:
        raise CheckpointError(
            f"is damaged: the storage of {quote(name)} should have {storage.numel * itemsize} bytes, "
            f"its record has {record_bytes}"
        )
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((n - 1) * stride for n, stride in steps)
    if 0 not in tensor.shape and last >= storage.numel:
        raise CheckpointError(f"is damaged: {quote(name)} reaches element {last} of a storage that has {storage.numel}")


def _memory_dtype(tensor: Tensor) -> np.dtype[Any]:
    kind = tensor.storage.kind
    return np.dtype({"BFloat16Storage": "f4", "BoolStorage": "?"}.get(kind, STORAGE_DTYPES[kind]))


def _array(tensor: Tensor, data: bytes, byte_order: str) -> Array:
    """Copy the checked strided view `tensor` of the storage `data`."""
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, _memory_dtype(tensor))
    dtype = np.dtype(byte_order + STORAGE_DTYPES[tensor.storage.kind])
    steps = zip(tensor.shape, tensor.strides, strict=True)
    strides_bytes = [stride * dtype.itemsize if n > 1 else 0 for n, stride in steps]
    view: Array = np.ndarray(tensor.shape, dtype, data, tensor.offset * dtype.itemsize, strides_bytes)
    if tensor.storage.kind == "BFloat16Storage":  # the upper half of a float32
        return np.left_shift(view, 16, dtype=np.uint32, order="C").view(np.float32)
    return view.astype(_memory_dtype(tensor), order="C")


def _storage_kind(name: str, dtype: np.dtype[Any]) -> str:
    code = dtype.str[1:]
    if dtype.kind == "b":
        return "BoolStorage"
    for kind, stored in STORAGE_DTYPES.items():
        if stored == code and kind not in ("BFloat16Storage", "BoolStorage"):
            return kind
    raise CheckpointError(f"{quote(name)} is {dtype}, which is not supported; convert it to float32")


def _c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a record, aligned by padding in its extra field, as PyTorch does."""
    member = zipfile.ZipInfo(f"archive/{name}")  # dated 1980
    member.create_system = 0  # the same on all systems
    start = archive.start_dir + _LOCAL_HEADER_BYTES + len(member.filename) + 4
    padding_bytes = -start % _ALIGNMENT
    member.extra = struct.pack("<2sH", b"FB", padding_bytes) + b"Z" * padding_bytes
    archive.writestr(member, data)
