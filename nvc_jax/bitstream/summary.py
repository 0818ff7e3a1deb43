"""Contents of a stream, without decoding it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nvc_jax.bitstream.dcvc import DcvcReader
from nvc_jax.bitstream.nvc import NvcReader
from nvc_jax.bitstream.nvc_syntax import NvcHeader
from nvc_jax.bitstream.packets import LostPicture, Packet, shared
from nvc_jax.errors import BitstreamError


def summarise(reader: DcvcReader | NvcReader) -> dict[str, Any]:
    """Everything that can be told, ready for JSON; under `frame_list` one object per picture that is there.

    The bytes of a packet are shared among its pictures; qps have the offsets of the hierarchy in them.

    Raises:
        BitstreamError: nothing can be told: no frame can be read, and no header says what there was.
    """
    rows: list[dict[str, Any]] = []
    first: Packet | None = None
    lost, damage = 0, None
    try:
        for unit in reader:
            if isinstance(unit, LostPicture):
                lost += 1
                continue
            first = first or unit
            rows += _rows(unit)
    except BitstreamError as error:  # in a container that cannot go on behind damage
        if first is None:
            raise
        damage = str(error)
    damage = damage or reader.damage
    size = first or reader.header
    if size is None:
        raise BitstreamError(damage or "the stream holds no frame.")
    total = sum(row["bytes"] for row in rows) + reader.trailer_bytes
    described = {} if reader.header is None else _header(reader.header)
    return {
        "container": "dcvc" if reader.header is None else "nvc",
        **described,
        "width": size.width,
        "height": size.height,
        "frames": len(rows),
        "lost": lost,
        "damage": damage or (None if rows else "the stream holds no frame."),
        **({} if first is None else _totals(first, rows, total)),
        "frame_list": rows,
    }


def _rows(packet: Packet) -> Iterator[dict[str, Any]]:
    """Describe the pictures of a packet."""
    sizes = (shared(size, len(packet.qps)) for size in (packet.size_bytes, len(packet.payload)))
    for number, (qp, size, payload) in enumerate(zip(packet.qps, *sizes, strict=True)):
        yield {
            "index": packet.index + number,
            "type": packet.types[number],
            "qp": qp,
            "refresh": number == 0 and packet.refresh and not packet.start,
            "offset": packet.offset,
            "bytes": size,
            "payload_bytes": payload,
        }


def _totals(first: Packet, rows: Sequence[Mapping[str, Any]], total: int) -> dict[str, Any]:
    qps = [row["qp"] for row in rows]
    return {
        "intra_frames": sum(row["type"] == "I" for row in rows),
        "refreshes": sum(row["refresh"] for row in rows),
        "dialect": first.dialect,
        "frame_qp_range": [min(qps), max(qps)],
        "bytes": total,
        "bpp": 8 * total / (len(rows) * first.width * first.height),
    }


def _header(header: NvcHeader) -> dict[str, Any]:
    names = ("primaries", "transfer", "matrix", "full_range", "chroma_location")
    return {
        "model": header.model,
        "identity": header.identity,
        "precision": header.precision,
        "arithmetic": header.arithmetic,
        "frame_rate": str(header.fps),
        "colour": dict(zip(names, header.colour, strict=True)),
        "skip_threshold": header.skip_threshold,
        "qp": header.qp,
        "intra_qp": header.intra_qp,
        "intra_period": header.intra_period,
        "reset_interval": header.reset_interval,
        "qp_offsets": list(header.qp_offsets),
        "pictures_per_packet": header.pictures,
    }
