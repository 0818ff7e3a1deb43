"""The fuzz targets of the native coder under the address and undefined sanitizers."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from native_coder import (  # noqa: TID251
    bfloat16_functions,
    deblocking_functions,
    float32_functions,
    int16_functions,
    motion_functions,
)

pytestmark = pytest.mark.slow  # a minute of compilation

SOURCE = Path(__file__).parents[2] / "native_coder"
PROBE = """cmake_minimum_required(VERSION 3.18)
project(probe LANGUAGES CXX)
add_executable(probe empty.cc)
target_compile_options(probe PRIVATE -fsanitize=address,undefined -fno-sanitize-recover=all)
target_link_options(probe PRIVATE -fsanitize=address,undefined)
add_custom_command(TARGET probe POST_BUILD COMMAND probe)
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The folder of the sanitized programs."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    probe = tmp_path_factory.mktemp("probe")
    (probe / "CMakeLists.txt").write_text(PROBE)
    (probe / "empty.cc").write_text("int main() { return 0; }\n")
    done = built(probe, probe / "build")
    if done.returncode != 0:
        pytest.skip(f"no compiler with sanitizers: {done.stdout[-500:]}{done.stderr[-500:]}")
    build = tmp_path_factory.mktemp("sanitized")
    done = built(SOURCE, build, "-DNVC_SANITIZE=ON")
    assert done.returncode == 0, done.stdout + done.stderr
    return build


def built(source, build, *options):
    """The first of the two commands that fails, or the last."""
    for command in (["cmake", "-S", source, "-B", build, *options], ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            break
    return done


@pytest.mark.parametrize("target", ["fuzz_coder", "fuzz_interleaved"])
def test_no_input_makes_the_sanitizers_speak(programs, tmp_path, target):
    rng = np.random.default_rng(0)
    files = []
    for i in range(120):
        count = int(rng.integers(0, 400)) if i % 20 else 65_000 + i  # the large ones start a thread, or fill two chunks
        header = bytes([i | rng.integers(0, 2) << 7, rng.integers(0, 256), count & 255, count >> 8])
        path = tmp_path / f"{i}.bin"
        first = bytes([rng.integers(0, 6) | rng.integers(0, 5) << 4]) if i % 3 else b""  # a layout, as a rule
        path.write_bytes(header + first + rng.bytes(int(rng.integers(0, 1000))))
        files.append(path)
    command = [programs / f"replay_{target}", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "120 files replayed\n"


def test_no_kernel_leaves_the_bounds_of_its_arrays(programs):
    done = subprocess.run([programs / "bounds"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("kernels keep within bounds\n")


@pytest.mark.parametrize(
    ("name", "functions", "are"),
    [
        ("int16", int16_functions, "exact"),
        ("float32", float32_functions, "right"),
        ("bfloat16", bfloat16_functions, "right"),
        ("motion", motion_functions, "exact"),
        ("deblocking", deblocking_functions, "exact"),
    ],
)
def test_kernels_are_right_within_the_bounds_of_their_arrays(name, functions, are, programs):
    command = [programs / f"{name}_sums"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    isas = set(functions())
    compiles_amx = "NVC_COMPILES_TILES:INTERNAL=1" in (programs / "CMakeCache.txt").read_text()
    if compiles_amx and isas & {"avx512_bf16" if name == "bfloat16" else "avx512"} and name in ("int16", "bfloat16"):
        isas.add("amx")  # in a signal handler, where the processor lacks it
    assert done.stdout == f"{name} kernels of {len(isas)} ISAs are {are} and keep within bounds\n"


def test_work_is_split_evenly_among_up_to_16_threads(programs):
    done = subprocess.run([programs / "split"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "work is split evenly\n")


def test_damaged_frames_do_not_make_the_sanitizers_speak(programs):
    command = [programs / "mutate", "1500"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1500 frames: ")
