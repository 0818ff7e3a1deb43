"""Atomic outputs, and checks of output paths."""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from nvc_jax.errors import NvcError, OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDIO = "-"
PATTERN = re.compile(r"%(0\d+)?d")  # numbered files, e.g. %05d.png

PathLike = str | os.PathLike[str]


def reason(error: OSError) -> str:
    """Quote the operating system's error message, without number and path."""
    return error.strerror or str(error) or type(error).__name__


def first_line(error: Exception) -> str:
    """Quote the beginning of a message that may have hundreds of lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


@contextmanager
def explained(kind: type[NvcError], what: str, then: str = "") -> Iterator[None]:
    """Raise an OSError of the block as an error of another kind: what went wrong, the reason, and what to do then."""
    try:
        yield
    except OSError as error:
        if isinstance(error, NvcError):
            raise
        raise kind(f"{what} ({reason(error)}){then}") from None


class _Sink(io.RawIOBase):
    """Unbuffered output that raises OutputErrors with the name of the file."""

    def __init__(self, inner: BinaryIO | io.RawIOBase, name: str, *, owned: bool) -> None:
        super().__init__()
        self._inner = inner
        self._name = name
        self._owned = owned

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._inner.seekable()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def fileno(self) -> int:
        return self._inner.fileno()

    def write(self, data: ReadableBuffer, /) -> int | None:
        try:
            return self._inner.write(data)
        except BrokenPipeError:
            raise OutputError(f"{self._name}: the program that reads this output has ended") from None
        except OSError as error:
            raise OutputError(f"{self._name}: cannot write ({reason(error)})") from None

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if not self._owned:
            return
        with explained(OutputError, f"{self._name}: cannot write"):  # network file systems report a full disk here
            self._inner.close()


@contextmanager
def _opened(sink: _Sink) -> Iterator[BinaryIO]:
    file = io.BufferedWriter(sink, 1 << 16)
    try:
        yield cast(BinaryIO, file)
    except BaseException:
        with suppress(OSError):
            file.close()  # a pipe still gets everything written before the failure
        raise
    file.close()


def _is_special(path: Path) -> bool:
    """Tell devices, pipes and sockets, which are written to directly and never replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def accept_any_name() -> None:
    """Escape file names that the encoding of standard output cannot represent."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def check_parent(path: Path) -> None:
    """Refuse an output in a folder that does not exist."""
    if not os.path.isdir(path.parent):
        raise OutputError(f"{path}: the folder {path.parent} does not exist; make it first")


def make_folder(path: PathLike) -> None:
    """Make a folder and its parents where they do not exist.

    Raises:
        OutputError: the folder cannot be made.
    """
    with explained(OutputError, f"{path}: cannot make the folder"):
        os.makedirs(path, exist_ok=True)


@contextmanager
def atomic_output(path: PathLike) -> Iterator[BinaryIO]:
    """Open a binary output that takes its name only when the block ends without an exception.

    The bytes go to a temporary file in the same folder, which is removed on any failure, so a reader finds
    either the old file or the new one. `-` is standard output; devices and pipes are written to directly.

    Raises:
        OutputError: the output cannot be made or written.
    """
    if os.fspath(path) == STDIO:
        sys.stdout.flush()
        stream = sys.stdout.buffer
        with _opened(_Sink(getattr(stream, "raw", stream), "standard output", owned=False)) as file:
            yield file
        return
    target = Path(path)
    if _is_special(target):
        with explained(OutputError, f"{target}: cannot open for writing"):
            device = open(target, "wb", buffering=0)
        with _opened(_Sink(device, str(target), owned=True)) as file:
            yield file
        return
    if os.path.isdir(target):
        raise OutputError(f"{target}: is a folder, not a file")
    check_parent(target)
    final = Path(os.path.realpath(target))  # replace the target of a link, not the link
    if os.path.exists(final) and not os.access(final, os.W_OK):
        raise OutputError(f"{target}: is write-protected")
    part = final.parent / _temporary_name()
    try:  # an interrupt may come as soon as the file is there
        with explained(OutputError, f"{target}: cannot create a file in {target.parent}"):
            raw = open(part, "xb", buffering=0)
        with _opened(_Sink(raw, str(target), owned=True)) as file:
            yield file
        with explained(OutputError, f"{target}: cannot put the finished file in place"):
            os.replace(part, final)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """Make a temporary folder beside target and remove it with its contents at the end.

    Raises:
        OutputError: the folder cannot be made.
    """
    check_parent(target)
    stage = target.parent / _temporary_name()
    with explained(OutputError, f"{target}: cannot create a folder in {target.parent}"):
        stage.mkdir()
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def atomic_folder(path: PathLike, *, replaces: Callable[[str], bool] | None = None) -> Iterator[Path]:
    """Fill a temporary folder that takes the name `path` only when the block ends without an exception.

    An existing folder is replaced only if it is empty or every name in it satisfies `replaces`, i.e. marks
    earlier output of the same kind.

    Raises:
        OutputError: the folder cannot be made, or exists with other contents.
    """
    target = Path(os.path.realpath(path))
    if os.path.exists(target):
        if not os.path.isdir(target):
            raise OutputError(f"{path}: is a file, not a folder")
        with explained(OutputError, f"{path}: cannot open the folder"):
            names = os.listdir(target)
        for name in names:
            if replaces is None or not replaces(name):
                raise OutputError(f"{path}: holds other files ({name}); name a new or an empty folder")
    with staging_folder(target) as stage:
        yield stage
        old = stage.with_suffix(".old")
        with explained(OutputError, f"{path}: cannot put the finished folder in place"):
            if os.path.exists(target):
                os.rename(target, old)
            try:
                os.rename(stage, target)
            except OSError:
                if os.path.exists(old):
                    os.rename(old, target)
                raise
        shutil.rmtree(old, ignore_errors=True)


def same_file(first: PathLike, second: PathLike) -> bool:
    """Tell whether writing to one path would destroy the other.

    Resolves links and PNGs inside a folder that would be replaced; standard input and output never clash.
    """
    a, b = os.fspath(first), os.fspath(second)
    if STDIO in (a, b):
        return False
    try:
        if stat.S_ISCHR(os.stat(a).st_mode):
            return False  # reading and writing one terminal or /dev/null is fine
    except OSError:
        pass
    numbered = [bool(PATTERN.search(os.path.basename(p))) and not os.path.exists(p) for p in (a, b)]
    if all(numbered) and os.path.basename(a) != os.path.basename(b):
        return False
    a, b = (os.path.dirname(p) or "." if n else p for p, n in zip((a, b), numbered, strict=True))
    a, b = (
        os.path.dirname(p) if os.path.isdir(other) and p.lower().endswith(".png") else p
        for p, other in ((a, b), (b, a))
    )
    try:
        return os.path.samefile(a, b)
    except OSError:
        return os.path.realpath(a) == os.path.realpath(b)


def _temporary_name() -> str:
    return f".nvc-jax-{secrets.token_hex(6)}.part"
