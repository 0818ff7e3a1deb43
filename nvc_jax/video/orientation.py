"""Display orientation: matrices of containers, and EXIF data of single pictures."""

from __future__ import annotations

import struct

_MATRIX = struct.Struct("=9i")
_ORIENTATION, _SHORT = 0x0112, 3  # EXIF tag and type
_EXIF = {
    2: "mirrored left to right",
    3: "rotated by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored and rotated",
    6: "rotated by -90 degrees",
    7: "mirrored and rotated",
    8: "rotated by 90 degrees",
}


def matrix_wish(matrix: bytes | None, rotation: int) -> str | None:
    """Describe the orientation in a display matrix; None for upright.

    Args:
        matrix: nine integers in native byte order, as FFmpeg has them; None if only the rotation is known.
        rotation: degrees counterclockwise.
    """
    if matrix is not None and len(matrix) == _MATRIX.size:
        a, b, _, c, d, *_ = _MATRIX.unpack(matrix)
        if a * d - b * c < 0:
            if b == c == 0:
                return _EXIF[2 if a < 0 else 4]
            return _EXIF[5]
    if not rotation:
        return None
    return _EXIF[3] if abs(rotation) == 180 else f"rotated by {rotation} degrees"


def exif_wish(exif: bytes) -> str | None:
    """Describe the orientation in EXIF data, which starts with a TIFF header; None for upright."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for number in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * number)
            if (tag, kind) == (_ORIENTATION, _SHORT):
                return _EXIF.get(value)
    except struct.error:
        pass
    return None


def jpeg_wish(data: bytes) -> str | None:
    """Describe the EXIF orientation in the beginning of a JPEG file; None for upright."""
    at = data.find(b"Exif\0\0")
    return None if at < 0 else exif_wish(data[at + 6 :])


def orientation_note(wish: str) -> str:
    """Write the note for the user."""
    return f"the source is to be shown {wish}: that is not carried"
