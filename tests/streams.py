"""Streams in memory, for tests that need no files."""

import io

from nvc_jax.bitstream import DcvcReader, DcvcWriter
from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.encoder import Encoder


def encode(
    codec, source, schedule, threshold=0.12, reconstruct=True, dialect=None, rdoq=0.0, skip_blocks=True, preset="fast"
):
    """(official stream, coded packets). dialect: instead of what the picture size gives."""
    file = io.BytesIO()
    source = list(source)
    size = source[0].size
    writer = DcvcWriter(file, *size)
    coded = []
    dialect = dialect or writer.dialect
    encoder = Encoder(codec, *size, schedule, threshold, dialect, reconstruct, rdoq, skip_blocks, preset)
    for packet in encoder.packets(source):
        writer.write(packet.coded)
        coded.append(packet)
    return file.getvalue(), coded


def reconstructions(coded):
    """Bytes of the pictures that a decoder must give."""
    return [frame.tobytes() for packet in coded for frame in packet.reconstructions]


def reader(stream):
    """A reader of an official stream."""
    return DcvcReader(Cursor(io.BytesIO(stream)))


def decode(codec, stream, threshold=0.12, rgb=False):
    """The frames of an official stream."""
    return list(Decoder(codec, threshold, rgb).frames(reader(stream)))
