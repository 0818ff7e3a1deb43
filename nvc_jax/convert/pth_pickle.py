"""Read and write the subset of pickle in PyTorch checkpoints: tensors by reference, and plain containers.

`loads` is a machine of its own rather than a subclass of `pickle.Unpickler`: it imports nothing, calls
nothing named by the file, sets no attributes and does not recurse, so a hostile file can at worst be refused.
Values that a state_dict does not need come back inert: devices, dtypes and bytes as strings, and other known
companions of weights (a Namespace, a Counter, NumPy values) as `Inert`. Any other global is refused by name.
"""

import pickle  # for the names of the opcodes only
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from nvc_jax.errors import CheckpointError

MAX_PICKLE_BYTES = 16 << 20
MAX_OPCODES = 2_000_000  # about thirty per tensor; bounds both time and memory
MAX_DIMENSIONS = 32

STORAGE_DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",  # raw bits
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
}
_STORAGES = frozenset(f"torch.{name}" for name in STORAGE_DTYPES)
_BUILDERS = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.Size",
        "torch.device",
        "_codecs.encode",  # bytes in protocol 2
        "__builtin__.bytes",
    }
)
# Types that programs save beside the weights. None is built: an Inert takes its place.
_IGNORED = frozenset(
    {
        "argparse.Namespace",
        "types.SimpleNamespace",
        "collections.Counter",
        "collections.defaultdict",
        "collections.deque",
        "datetime.datetime",
        "datetime.timedelta",
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib.PurePosixPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "numpy.dtype",
        "numpy.ndarray",
        *(f"{core}.multiarray.{name}" for core in ("numpy.core", "numpy._core") for name in ("scalar", "_reconstruct")),
        *(
            f"{module}.{name}"
            for module in ("__builtin__", "builtins")
            for name in ("set", "frozenset", "complex", "list", "dict")
        ),
        *(
            f"{module}.{name}"
            for module in ("__builtin__", "builtins")
            for name in ("int", "float", "str", "slice", "range")
        ),
        "__builtin__.xrange",
    }
)
_DTYPES = frozenset(
    f"torch.{name}" for name in "float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 bool".split()
)


@dataclass(frozen=True, slots=True)
class Storage:
    """The record `data/<key>`: `numel` elements of the storage class `FloatStorage`, `LongStorage`, ..."""

    kind: str
    key: str
    numel: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A strided view of a storage, in elements as the file states them, unchecked."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Inert:
    """Placeholder for a known companion of weights, whose value is dropped."""

    kind: str


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


def quote(text: str) -> str:
    """Escape and shorten text from a file for an error message."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def loads(data: bytes) -> object:
    """Unpickle `data`.

    Raises:
        CheckpointError: `data` is damaged, too large, or asks for anything but tensors and plain containers.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise CheckpointError(f"data.pkl has {len(data)} bytes, the limit is {MAX_PICKLE_BYTES}")
    machine = _Machine(data)
    try:
        return machine.run()
    except CheckpointError:
        raise
    except (IndexError, KeyError, ValueError) as error:  # an empty stack, an unknown memo entry, bad UTF-8
        raise CheckpointError(f"data.pkl is damaged near byte {machine.position}") from error


class _Machine:
    """Interpreter of one pickle: stack, marks and memo."""

    def __init__(self, data: bytes):
        self.position = 0
        self._data = data
        self._stack: list[object] = []
        self._outer: list[list[object]] = []  # the stacks below each open mark
        self._memo: dict[int, object] = {}

    def run(self) -> object:
        for _ in range(MAX_OPCODES):
            opcode = self._take(1)
            if opcode == pickle.STOP:
                return self._stack.pop()
            self._step(opcode)
        raise CheckpointError(f"data.pkl has more than {MAX_OPCODES} opcodes, which is the limit")

    def _step(self, opcode: bytes) -> None:
        push = self._stack.append
        pop = self._stack.pop
        match opcode:
            case pickle.BINPUT:
                self._memo[self._uint(1)] = self._stack[-1]
            case pickle.LONG_BINPUT:
                self._memo[self._uint(4)] = self._stack[-1]
            case pickle.MEMOIZE:
                self._memo[len(self._memo)] = self._stack[-1]
            case pickle.BINGET:
                push(self._memo[self._uint(1)])
            case pickle.LONG_BINGET:
                push(self._memo[self._uint(4)])
            case pickle.BININT1:
                push(self._uint(1))
            case pickle.BININT2:
                push(self._uint(2))
            case pickle.BININT:
                push(int.from_bytes(self._take(4), "little", signed=True))
            case pickle.LONG1:
                push(int.from_bytes(self._take(self._uint(1)), "little", signed=True))
            case pickle.BINFLOAT:
                push(struct.unpack(">d", self._take(8))[0])
            case pickle.BINUNICODE:
                push(self._take(self._uint(4)).decode())
            case pickle.SHORT_BINUNICODE:
                push(self._take(self._uint(1)).decode())
            case pickle.BINBYTES:
                push(self._take(self._uint(4)))
            case pickle.SHORT_BINBYTES:
                push(self._take(self._uint(1)))
            case pickle.NONE:
                push(None)
            case pickle.NEWTRUE:
                push(True)
            case pickle.NEWFALSE:
                push(False)
            case pickle.MARK:
                self._outer.append(self._stack)
                self._stack = []
            case pickle.EMPTY_TUPLE:
                push(())
            case pickle.TUPLE1:
                push((pop(),))
            case pickle.TUPLE2:
                self._stack[-2:] = [(self._stack[-2], self._stack[-1])]
            case pickle.TUPLE3:
                self._stack[-3:] = [(self._stack[-3], self._stack[-2], self._stack[-1])]
            case pickle.TUPLE:
                items = self._since_mark()
                self._stack.append(tuple(items))
            case pickle.EMPTY_LIST:
                push([])
            case pickle.APPEND:
                self._append([pop()])
            case pickle.APPENDS:
                self._append(self._since_mark())
            case pickle.EMPTY_DICT:
                push({})
            case pickle.SETITEM:
                value, key = pop(), pop()
                self._set_items([key, value])
            case pickle.SETITEMS:
                self._set_items(self._since_mark())
            case pickle.GLOBAL:
                module, name = self._line(), self._line()
                push(_find_global(f"{module}.{name}"))
            case pickle.STACK_GLOBAL:
                name_object, module_object = pop(), pop()
                push(_find_global(f"{_text(module_object)}.{_text(name_object)}"))
            case pickle.BINPERSID:
                push(_storage(pop()))
            case pickle.REDUCE:
                arguments, function = pop(), pop()
                push(_reduce(function, arguments))
            case pickle.NEWOBJ:
                arguments, kind = pop(), pop()
                push(_ignored(kind))
            case pickle.EMPTY_SET:
                push(Inert("builtins.set"))
            case pickle.FROZENSET:
                self._since_mark()
                push(Inert("builtins.frozenset"))
            case pickle.ADDITEMS:
                self._append(self._since_mark())
            case pickle.BUILD:  # the `_metadata` of a state_dict, which is not needed
                pop()
                if not isinstance(self._stack[-1], dict | Inert):
                    raise CheckpointError("refused: the file sets the state of something not a dictionary")
            case pickle.PROTO:
                self._take(1)
            case pickle.FRAME:
                self._take(8)
            case _:
                where = f"{opcode!r} at byte {self.position - 1}"
                raise CheckpointError(f"data.pkl has the opcode {where}, which PyTorch does not write")

    def _take(self, count: int) -> bytes:
        left = len(self._data) - self.position
        if count > left:
            raise CheckpointError(f"data.pkl needs {count} bytes at byte {self.position}, {left} left")
        self.position += count
        return self._data[self.position - count : self.position]

    def _uint(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _line(self) -> str:
        end = self._data.index(b"\n", self.position)
        return self._take(end + 1 - self.position)[:-1].decode()

    def _since_mark(self) -> list[object]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _append(self, items: list[object]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert):
            return
        if not isinstance(target, list):
            raise CheckpointError("refused: the file appends to something that is not a list")
        target.extend(items)

    def _set_items(self, items: list[object]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict):
            raise CheckpointError("refused: the file sets items of something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):  # hashing a deep tuple would overflow the C stack
                raise CheckpointError(f"refused: a dictionary key is of type {type(key).__name__}")
            target[key] = value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise CheckpointError("data.pkl names a global by something that is not text")
    return value


def _find_global(name: str) -> object:
    if name in _STORAGES or name in _BUILDERS or name in _IGNORED:
        return _Global(name)
    if name in _DTYPES:
        return name
    raise CheckpointError(
        f"refused: the file asks for {quote(name)}, and only tensors and plain containers are read; "
        "if you trust it, load it with PyTorch and save its state_dict alone"
    )


def _storage(persistent_id: object) -> Storage:
    match persistent_id:
        case ("storage", _Global(name), str(key), _, numel) if name in _STORAGES:
            return Storage(name.removeprefix("torch."), key, _count(numel))
    raise CheckpointError("data.pkl has a persistent id that does not describe a storage")


def _reduce(function: object, arguments: object) -> object:
    """Emulate a call of one of the known functions; no code chosen by the file runs."""
    match function, arguments:
        case _Global("collections.OrderedDict"), ():
            return {}
        case _Global("torch._utils._rebuild_tensor_v2"), (
            Storage() as storage,
            offset,
            tuple() as shape,
            tuple() as strides,
            *_,
        ) if len(shape) == len(strides) <= MAX_DIMENSIONS:
            return Tensor(storage, _count(offset), tuple(map(_count, shape)), tuple(map(_count, strides)))
        case _Global("torch._utils._rebuild_parameter"), (Tensor() as tensor, *_):
            return tensor
        case _Global("torch.Size"), (tuple() as sizes,):
            return sizes
        case _Global("torch.device"), (str(device), *_):
            return device
        case _Global("_codecs.encode"), (str(text), "latin1"):
            return text  # encoding would copy, and a file could ask for that a million times
        case _Global("__builtin__.bytes"), ():
            return ""
        case _Global(name), tuple() if name in _IGNORED:
            return Inert(name)
        case _Global(name), _:
            raise CheckpointError(f"data.pkl calls {name} with arguments that do not fit")
    raise CheckpointError("refused: the file calls something that is not a function")


def _ignored(kind: object) -> Inert:
    """Make the placeholder for an object of an ignored class."""
    if isinstance(kind, _Global) and kind.name in _IGNORED:
        return Inert(kind.name)
    raise CheckpointError("refused: the file makes an object of something that is not a plain container")


def _count(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise CheckpointError("data.pkl has a tensor whose size, stride or offset is not a count")
    return value


def dumps(tensors: Mapping[str, Tensor], wrapper: str | None) -> bytes:
    """Pickle `{wrapper: tensors}`, or `tensors` alone when `wrapper` is None."""
    body = _dict({name: _dump_tensor(tensor) for name, tensor in tensors.items()})
    if wrapper is not None:
        body = _dict({wrapper: body})
    return pickle.PROTO + b"\x02" + body + pickle.STOP


def _dict(pickled_values: Mapping[str, bytes]) -> bytes:
    items = b"".join(_dump_str(key) + value for key, value in pickled_values.items())
    return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS


def _dump_tensor(tensor: Tensor) -> bytes:
    storage = tensor.storage
    persistent_id = _dump_tuple(
        _dump_str("storage"),
        _dump_global("torch", storage.kind),
        _dump_str(storage.key),
        _dump_str("cpu"),
        _dump_int(storage.numel),
    )
    arguments = _dump_tuple(
        persistent_id + pickle.BINPERSID,
        _dump_int(tensor.offset),
        _dump_tuple(*map(_dump_int, tensor.shape)),
        _dump_tuple(*map(_dump_int, tensor.strides)),
        pickle.NEWFALSE,  # requires_grad
        _dump_global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE,  # backward hooks
    )
    return _dump_global("torch._utils", "_rebuild_tensor_v2") + arguments + pickle.REDUCE


def _dump_tuple(*pickled_items: bytes) -> bytes:
    return pickle.MARK + b"".join(pickled_items) + pickle.TUPLE


def _dump_global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _dump_str(text: str) -> bytes:
    data = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _dump_int(value: int) -> bytes:
    if value < 1 << 31:
        return pickle.BININT + struct.pack("<i", value)
    return pickle.LONG1 + b"\x08" + struct.pack("<q", value)
