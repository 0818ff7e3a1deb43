"""Streams as files and pipes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nvc_jax.errors import BitstreamError, OutputError
from nvc_jax.files import STDIO, reason


@contextmanager
def open_stream(path: str | Path) -> Iterator[BinaryIO]:
    """Open a stream for reading; errors about its content name the file."""
    try:
        if str(path) == STDIO:
            yield sys.stdin.buffer
        else:
            with open(path, "rb") as file:
                yield file
    except BitstreamError as error:
        raise type(error)(f"{path}: {error}") from None
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise BitstreamError(f"{path}: cannot read ({reason(error)}).") from None
