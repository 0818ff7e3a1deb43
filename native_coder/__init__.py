"""What is written in C++: the entropy coder, and the convolutions of the int16 arithmetic for CPUs."""

from ._int16 import INT16_PANEL, WSILU_ENTRIES, int16_functions  # noqa: TID251
from ._native import (  # noqa: TID251
    CdfTable,
    CorruptError,
    DcvcDecoder,
    DcvcEncoder,
    InterleavedDecoder,
    InterleavedEncoder,
    TruncatedError,
    kernels,
)

__all__ = [
    "INT16_PANEL",
    "WSILU_ENTRIES",
    "CdfTable",
    "CorruptError",
    "DcvcDecoder",
    "DcvcEncoder",
    "InterleavedDecoder",
    "InterleavedEncoder",
    "TruncatedError",
    "int16_functions",
    "kernels",
]
