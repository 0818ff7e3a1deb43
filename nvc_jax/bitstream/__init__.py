"""Containers: bytes to frames and back, standard library only (docs/FORMAT.md)."""

from nvc_jax.bitstream.source import open_stream

__all__ = ["open_stream"]
