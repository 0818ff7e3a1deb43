"""Read and write `.safetensors` files, as another form of official checkpoints.

The package `safetensors` checks the header and the places of the tensors; it reads nothing but them.
"""

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nvc_jax.convert.pth import MAX_FILE_BYTES, without_wrappers
from nvc_jax.errors import CheckpointError
from nvc_jax.io.files import PathLike, reason

Array = npt.NDArray[Any]

SUFFIX = ".safetensors"
_DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1"}
_DTYPES |= {"U8": "u1", "BOOL": "?"}


def is_safetensors(path: PathLike) -> bool:
    """Tell whether a file begins as such files do: the length of a JSON object, and the object."""
    try:
        with open(path, "rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:
        return False


def read_safetensors(path: PathLike) -> dict[str, Array]:
    """Read the tensors by name; names and bfloat16 are treated as by `read_pth`.

    Raises:
        CheckpointError: the file is damaged, has a dtype that is not read, or the package safetensors is missing.
    """
    library = _library()
    try:
        if (size_bytes := os.path.getsize(path)) > MAX_FILE_BYTES:
            raise CheckpointError(f"has {size_bytes} bytes, the limit is {MAX_FILE_BYTES}")
        with open(path, "rb") as file:
            tensors = dict(sorted(library.deserialize(file.read())))
        names = without_wrappers(list(tensors))
        return {name: _array(tensor) for name, tensor in zip(names, tensors.values(), strict=True)}
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{os.fspath(path)}: cannot be read ({reason(error)})") from error
    except library.SafetensorError as error:
        raise CheckpointError(f"{os.fspath(path)}: is truncated or damaged; download it again ({error})") from error


def dump_safetensors(file: BinaryIO, state_dict: Mapping[str, Array]) -> None:
    """Write tensors by name; the output is deterministic.

    Raises:
        CheckpointError: the package safetensors is missing.
    """
    _library()
    from safetensors.numpy import save

    file.write(save({name: np.ascontiguousarray(value) for name, value in state_dict.items()}, {"format": "pt"}))


def _array(tensor: Mapping[str, Any]) -> Array:
    kind = tensor["dtype"]
    if kind not in _DTYPES:
        raise CheckpointError(f"has a tensor of dtype {kind}; {', '.join(_DTYPES)} are read")
    values = np.frombuffer(tensor["data"], "<" + _DTYPES[kind]).reshape(tensor["shape"])
    if kind == "BF16":  # the upper half of a float32
        return np.left_shift(values, 16, dtype=np.uint32).view(np.float32)
    return values.astype(values.dtype.newbyteorder("="))


def _library() -> ModuleType:
    try:
        import safetensors
    except ImportError:
        raise CheckpointError(
            "reading and writing .safetensors files needs the package safetensors: pip install 'nvc-jax[safetensors]'"
        ) from None
    return safetensors
