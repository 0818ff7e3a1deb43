"""Memory: pictures that cannot fit are refused before anything is allocated for them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import jax

from nvc_jax.codec.model import Codec
from nvc_jax.errors import ConfigError

# Measured on CPU at 1920x1080: a coding process takes this much and more.
_BYTES_PER_PIXEL = 40.0
_BYTES_PER_PIXEL_AND_CHANNEL = 1.2

_GIB = 1 << 30


@contextmanager
def enough_memory(codec: Codec, width: int, height: int, name: str) -> Iterator[None]:
    """Code pictures of one size inside the block.

    Raises:
        ConfigError: the memory of this machine is too small for it, before or inside the block.
    """
    config = codec.stored.config
    widest = max(network.width for _, network in config.networks)
    needed = width * height * (config.pictures * _BYTES_PER_PIXEL + _BYTES_PER_PIXEL_AND_CHANNEL * widest)
    limit = _memory()
    if jax.default_backend() == "cpu" and limit is not None and needed > limit:
        raise ConfigError(
            f"{name}: pictures of {width}x{height} need more than {needed / _GIB:.0f} GiB of memory with the model "
            f"{config.name}; this machine has {limit / _GIB:.0f} GiB."
        )
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise ConfigError(
            f"{name}: not enough memory for pictures of {width}x{height} with the model {config.name}."
        ) from None


def _memory() -> int | None:
    """Bytes that this process may use at most, None if that cannot be told."""
    limits = []
    with suppress(OSError, ValueError, AttributeError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):  # of a container
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min((limit for limit in limits if limit > 0), default=None)
