"""Contents of a stream, without decoding it."""

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
        BitstreamError: the stream is damaged or holds no frame.
    """
    rows: list[dict[str, Any]] = []
    first: Packet | None = None
    lost = 0
    for unit in reader:
        if isinstance(unit, LostPicture):
            lost += 1
            continue
        first = first or unit
        sizes = (shared(size, len(unit.qps)) for size in (unit.size_bytes, len(unit.payload)))
        for number, (qp, size, payload) in enumerate(zip(unit.qps, *sizes, strict=True)):
            rows.append(
                {"index": unit.index + number, "type": unit.types[number], "qp": qp}
                | {"refresh": number == 0 and unit.refresh and not unit.start}
                | {"offset": unit.offset, "bytes": size, "payload_bytes": payload}
            )
    if first is None:
        raise BitstreamError(reader.damage or "the stream holds no frame.")
    qps = [row["qp"] for row in rows]
    total = sum(row["bytes"] for row in rows) + reader.trailer_bytes
    return {
        "container": "dcvc" if reader.header is None else "nvc",
        **({} if reader.header is None else _header(reader.header)),
        "width": first.width,
        "height": first.height,
        "frames": len(rows),
        "lost": lost,
        "damage": reader.damage,
        "intra_frames": sum(row["type"] == "I" for row in rows),
        "refreshes": sum(row["refresh"] for row in rows),
        "dialect": first.dialect,
        "frame_qp_range": [min(qps), max(qps)],
        "bytes": total,
        "bpp": 8 * total / (len(rows) * first.width * first.height),
        "frame_list": rows,
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
