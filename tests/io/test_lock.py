"""Folders that one program at a time may write into."""

import errno
import fcntl
import signal
import subprocess
import sys

import pytest

from nvc_jax.errors import OutputError
from nvc_jax.io.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from nvc_jax.io.lock import locked
with locked(Path(sys.argv[1]), "search"):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_frees_its_folder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(OutputError, match="another search is at work in this folder"), locked(tmp_path, "search"):
            pass
        holder.send_signal(signal.SIGKILL)
    with locked(tmp_path, "search"):
        pass


def test_a_folder_is_free_after_the_block(tmp_path):
    def interrupted():
        with locked(tmp_path, "run"):
            with pytest.raises(OutputError, match="another run"), locked(tmp_path, "run"):
                pass
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path, monkeypatch):
    def refuse(handle, how):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path, "run"):
        (tmp_path / "written").touch()
    assert (tmp_path / "written").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match="cannot open the folder"), locked(tmp_path / "missing", "run"):
        pass
