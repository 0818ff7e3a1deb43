"""What a stream holds, without decoding it."""

from typing import Any

from nvc_jax.bitstream.dcvc import DcvcReader
from nvc_jax.bitstream.frames import FrameUnit
from nvc_jax.bitstream.nvc import NvcHeader, NvcReader
from nvc_jax.errors import BitstreamError


def summarise(reader: DcvcReader | NvcReader) -> dict[str, Any]:
    """Everything that can be told, ready for JSON; under `frame_list` one object per frame.

    qps are those of the frames, offsets of the hierarchy included.

    Raises:
        BitstreamError: the stream is damaged or holds no frame.
    """
    units = [unit for unit in reader if isinstance(unit, FrameUnit)]
    if not units:
        raise BitstreamError("the stream holds no frame.")
    first = units[0]
    kinds, qps = [unit.kind for unit in units], [unit.qp for unit in units]
    total = sum(unit.size_bytes for unit in units) + reader.trailer_bytes
    return {
        "container": "dcvc" if reader.header is None else "nvc",
        **({} if reader.header is None else _header(reader.header)),
        "width": first.width,
        "height": first.height,
        "frames": len(units),
        "intra_frames": kinds.count("I"),
        "refreshes": sum(unit.kind == "P" and unit.refresh for unit in units),
        "dialect": first.dialect,
        "frame_qp_range": [min(qps), max(qps)],
        "bytes": total,
        "bpp": 8 * total / (len(units) * first.width * first.height),
        "frame_list": [
            {"index": u.index, "type": u.kind, "qp": u.qp, "refresh": u.refresh}
            | {"offset": u.offset, "bytes": u.size_bytes, "payload_bytes": len(u.payload)}
            for u in units
        ],
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
