"""What a stream holds, without decoding it."""

from typing import Any

from nvc_jax.bitstream.dcvc import DcvcReader
from nvc_jax.bitstream.frames import FrameUnit, LostFrame
from nvc_jax.bitstream.nvc import NvcReader
from nvc_jax.bitstream.nvc_syntax import NvcHeader
from nvc_jax.errors import BitstreamError


def summarise(reader: DcvcReader | NvcReader) -> dict[str, Any]:
    """Everything that can be told, ready for JSON; under `frame_list` one object per frame that is there.

    qps are those of the frames, offsets of the hierarchy included.

    Raises:
        BitstreamError: the stream is damaged or holds no frame.
    """
    rows: list[dict[str, Any]] = []
    first: FrameUnit | None = None
    lost = 0
    for unit in reader:
        if isinstance(unit, LostFrame):
            lost += 1
            continue
        first = first or unit
        rows.append(
            {"index": unit.index, "type": unit.kind, "qp": unit.qp, "refresh": unit.kind == "P" and unit.refresh}
            | {"offset": unit.offset, "bytes": unit.size_bytes, "payload_bytes": len(unit.payload)}
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
    }
