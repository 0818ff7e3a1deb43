"""The entropy coder in C++: tables, and the encoders and decoders of both dialects (docs/FORMAT.md)."""

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
    "CdfTable",
    "CorruptError",
    "DcvcDecoder",
    "DcvcEncoder",
    "InterleavedDecoder",
    "InterleavedEncoder",
    "TruncatedError",
    "kernels",
]
