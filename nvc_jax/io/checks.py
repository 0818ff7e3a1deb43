"""Checksums: the low bits of XXH3-64, seed 0 (docs/FORMAT.md, section 4.1)."""

from typing import Any

import numpy.typing as npt
import xxhash


class Check:
    """An incremental checksum."""

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_64()

    def update(self, data: bytes | npt.NDArray[Any]) -> None:
        """Append bytes, or a C-contiguous array."""
        self._hash.update(data)  # type: ignore[arg-type]  # arrays are buffers

    def value(self, bits: int = 32) -> int:
        """Take the low bits of the hash of all bytes so far."""
        return self._hash.intdigest() & (1 << bits) - 1
