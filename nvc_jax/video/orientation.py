"""How a picture asks to be turned or mirrored: display matrices of containers, and EXIF of single pictures."""

from __future__ import annotations

import struct

_MATRIX = struct.Struct("=9i")
_ORIENTATION, _SHORT = 0x0112, 3  # of EXIF: a tag and a type
_EXIF = {
    2: "mirrored left to right",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored and turned",
    6: "turned by -90 degrees",
    7: "mirrored and turned",
    8: "turned by 90 degrees",
}


def matrix_wish(matrix: bytes | None, rotation: int) -> str | None:
    """What a display matrix asks for; None if nothing.

    Args:
        matrix: nine numbers in the byte order of the machine, as FFmpeg has them; None if only the rotation is known.
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
    return _EXIF[3] if abs(rotation) == 180 else f"turned by {rotation} degrees"


def exif_wish(exif: bytes) -> str | None:
    """What the orientation in EXIF data, which begins like a TIFF file, asks for; None if nothing."""
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
    """What the EXIF data within the beginning of a JPEG file asks for; None if nothing."""
    at = data.find(b"Exif\0\0")
    return None if at < 0 else exif_wish(data[at + 6 :])


def orientation_note(wish: str) -> str:
    """The sentence for the user."""
    return f"the source asks to be shown {wish}: that is not carried"
