"""Settings of the whole process."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from nvc_jax.codec.runtime import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 27, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep freed memory")
def test_freed_memory_is_used_again():
    """The third array of 128 MiB lies where the second one was, whose pages are there already."""
    faults = {
        way: int(subprocess.run([sys.executable, "-c", PROGRAM, way], capture_output=True, check=True).stdout)
        for way in ("keep", "give back")
    }
    assert 10 * faults["keep"] < faults["give back"]


CACHE = """
import jax
from nvc_jax.codec.runtime import use_compilation_cache
use_compilation_cache()
print(jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs)
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "/home/cache/nvc-jax/jax 0.0"),
        ({"JAX_COMPILATION_CACHE_DIR": "/mine"}, "/mine 0.0"),
        ({"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "2"}, "/home/cache/nvc-jax/jax 2.0"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the folder is that of Linux")
def test_cache_of_the_user(given, expected):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": "/home/cache", **given}
    done = subprocess.run([sys.executable, "-c", CACHE], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == expected
