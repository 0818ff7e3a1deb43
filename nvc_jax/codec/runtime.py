"""Process-wide JAX settings for programs (a library import changes nothing)."""

import jax
import platformdirs


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that only the first run of a size compiles."""
    folder = platformdirs.user_cache_path("nvc-jax") / "jax"
    for name, value in (
        ("jax_compilation_cache_dir", str(folder)),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
        ("jax_persistent_cache_min_entry_size_bytes", -1),
    ):
        jax.config.update(name, value)  # type: ignore[no-untyped-call]
