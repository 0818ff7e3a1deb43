"""The fuzz target of the native coder under the address and undefined sanitizers."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).parents[2] / "native_coder"


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    """The replay program."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    build = tmp_path_factory.mktemp("sanitized")
    configure = ["cmake", "-S", SOURCE, "-B", build, "-DNVC_SANITIZE=ON"]
    for command in (configure, ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no compiler with sanitizers: {done.stdout[-500:]}{done.stderr[-500:]}")
    return build / "replay"


def test_no_input_makes_the_sanitizers_speak(replay, tmp_path):
    rng = np.random.default_rng(0)
    files = []
    for i in range(120):
        count = int(rng.integers(0, 400)) if i % 20 else 20_000 + i  # the large ones start a thread
        header = bytes([i & 3, i, count & 255, count >> 8])
        path = tmp_path / f"{i}.bin"
        path.write_bytes(header + rng.bytes(int(rng.integers(0, 1000))))
        files.append(path)
    done = subprocess.run([replay, *files], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "120 files replayed\n"
