"""Containers: bytes to frames and back (docs/FORMAT.md). Two of them behind one interface: `.bin` and `.nvc`."""

from nvc_jax.bitstream.dcvc import DcvcReader, DcvcWriter
from nvc_jax.bitstream.frames import CodedFrame, FrameUnit, LostFrame
from nvc_jax.bitstream.nvc import NvcReader, NvcWriter
from nvc_jax.bitstream.nvc_syntax import NvcHeader
from nvc_jax.bitstream.source import open_reader, repair

__all__ = [
    "CodedFrame",
    "DcvcReader",
    "DcvcWriter",
    "FrameUnit",
    "LostFrame",
    "NvcHeader",
    "NvcReader",
    "NvcWriter",
    "open_reader",
    "repair",
]
