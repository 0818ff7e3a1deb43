"""Settings of the whole process, for programs (a library import changes nothing)."""

import ctypes
import os
import sys

import jax
import platformdirs

# Options of glibc's mallopt: <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def prepare_process() -> None:
    """Set up a program that codes or trains, before JAX computes anything."""
    use_compilation_cache()
    keep_freed_memory()


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that only the first run of a size compiles.

    Settings of the user, as with JAX_COMPILATION_CACHE_DIR, stay.
    """
    folder = getattr(jax.config, "jax_compilation_cache_dir", None) or platformdirs.user_cache_path("nvc-jax") / "jax"
    for name, value in (
        ("jax_compilation_cache_dir", str(folder)),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
        ("jax_persistent_cache_min_entry_size_bytes", -1),
    ):
        if name.upper() not in os.environ:
            jax.config.update(name, value)  # type: ignore[no-untyped-call]


def keep_freed_memory() -> None:
    """Let arrays take the place of those that were freed; nothing happens without glibc.

    It returns large blocks to the system at once, and the pages of new ones, 1.5 GB for a frame of 1920x1080 on CPU,
    are then cleared and mapped anew: a tenth of the frame's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_ARENA_MAX, 1)
