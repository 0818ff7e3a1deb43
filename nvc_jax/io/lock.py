"""One program at a time in a folder of output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nvc_jax.errors import OutputError
from nvc_jax.io.files import explained


@contextmanager
def locked(folder: Path, user: str) -> Iterator[None]:
    """Keep others that ask for it out of a folder during the block; the system frees it when a process is killed.

    The lock is on the folder itself and leaves no file. Where there are none (Windows, some network file systems) the
    block runs without.

    Args:
        folder: an existing one.
        user: a program of its kind, for the message.

    Raises:
        OutputError: another block has the folder, in this process or another.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with explained(OutputError, f"{folder}: cannot open the folder"):
        handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{folder}: another {user} is at work in this folder; wait for its end or name another folder."
            ) from None
        except OSError:  # the file system has no such locks
            pass
        yield
    finally:
        os.close(handle)
