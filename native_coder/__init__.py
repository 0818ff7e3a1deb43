"""The entropy coder in C++: tables, and the encoder and decoder of the dcvc dialect (docs/FORMAT.md)."""

from ._native import CdfTable, CorruptError, DcvcDecoder, DcvcEncoder, TruncatedError  # noqa: TID251

__all__ = ["CdfTable", "CorruptError", "DcvcDecoder", "DcvcEncoder", "TruncatedError"]
