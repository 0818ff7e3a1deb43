"""Containers: bytes to packets and back (docs/FORMAT.md). Two of them behind one interface: `.bin` and `.nvc`."""

from nvc_jax.bitstream.dcvc import DcvcReader, DcvcWriter
from nvc_jax.bitstream.nvc import NvcReader, NvcWriter
from nvc_jax.bitstream.nvc_syntax import NvcHeader
from nvc_jax.bitstream.packets import CodedPacket, LostPicture, Packet
from nvc_jax.bitstream.source import open_reader, repair, stream_reader

__all__ = [
    "CodedPacket",
    "DcvcReader",
    "DcvcWriter",
    "LostPicture",
    "NvcHeader",
    "NvcReader",
    "NvcWriter",
    "Packet",
    "open_reader",
    "repair",
    "stream_reader",
]
