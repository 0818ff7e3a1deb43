"""Convert between YCbCr and RGB on the host, for files and pictures, not for coding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nvc_jax.video.frame import Colour, RgbFrame, VideoInfo, YuvFrame, chroma_size

BT709, BT601_625, BT601_525 = 1, 5, 6
SRGB = 13

_WEIGHTS = {  # H.273 matrix code -> (Kr, Kb)
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}

_CONSTANT_LUMINANCE = 10  # shares the weights of 9, but not its formulas
_NAMES = {
    1: "BT.709",
    4: "FCC",
    5: "BT.601",
    6: "BT.601",
    7: "SMPTE 240M",
    8: "YCgCo",
    9: "BT.2020",
    10: "BT.2020 constant luminance",
    11: "SMPTE 2085",
    12: "chromaticity-derived",
    13: "chromaticity-derived constant luminance",
    14: "ICtCp",
    15: "IPT-PQ-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}

_F32 = npt.NDArray[np.float32]


def matrix_name(matrix: int | None) -> str:
    """Name an H.273 matrix code."""
    return "unspecified" if matrix is None else _NAMES.get(matrix, f"{matrix} (H.273)")


def has_formula(matrix: int | None) -> bool:
    """Tell whether `yuv_to_rgb` implements a matrix code."""
    return matrix is None or (matrix in _WEIGHTS and matrix != _CONSTANT_LUMINANCE)


def matrix_key(colour: Colour, height: int) -> tuple[float, float] | int | None:
    """Make equal keys for equivalent matrices: (Kr, Kb), or the code of one that is not implemented."""
    return matrix_weights(colour, height) if has_formula(colour.matrix) else colour.matrix


def substitute_matrix(matrix: int | None, height: int) -> str:
    """Name the matrix that `yuv_to_rgb` falls back to for a code it does not implement."""
    if matrix == _CONSTANT_LUMINANCE:
        return _NAMES[9]
    return _NAMES[BT709 if height >= 576 else BT601_525]


def matrix_weights(colour: Colour, height: int) -> tuple[float, float]:
    """Look up (Kr, Kb); unspecified or unsupported codes are BT.709 from 576 rows on, BT.601 below."""
    fallback = BT709 if height >= 576 else BT601_525
    return _WEIGHTS.get(fallback if colour.matrix is None else colour.matrix, _WEIGHTS[fallback])


def coded_colour(info: VideoInfo) -> Colour:
    """Describe the colour of a video's YUV frames: its own, or full-range BT.709 for RGB sources."""
    if not info.is_rgb:
        return info.colour
    return replace(
        info.colour,
        primaries=info.colour.primaries or BT709,
        transfer=info.colour.transfer or SRGB,
        matrix=BT709,
        full_range=True,
        chroma_location="center",  # 2x2 average
    )


def yuv_to_rgb(frame: YuvFrame, colour: Colour) -> RgbFrame:
    """Convert by the colour description, limited range if unspecified, with nearest-neighbour chroma."""
    width, height = frame.size
    kr, kb = matrix_weights(colour, height)
    y = frame.y.astype(np.float32)
    cb, cr = (
        c.astype(np.float32).repeat(2, axis=0).repeat(2, axis=1)[:height, :width] - np.float32(128)
        for c in (frame.u, frame.v)
    )
    if not colour.full_range:
        y = (y - np.float32(16)) * np.float32(255 / 219)
        cb *= np.float32(255 / 224)
        cr *= np.float32(255 / 224)
    red = y + np.float32(2 * (1 - kr)) * cr
    blue = y + np.float32(2 * (1 - kb)) * cb
    green = (y - np.float32(kr) * red - np.float32(kb) * blue) / np.float32(1 - kr - kb)
    return RgbFrame(_to_u8(np.stack((red, green, blue), axis=-1)))


def rgb_to_yuv(frame: RgbFrame, colour: Colour) -> YuvFrame:
    """Convert by the colour description, limited range if unspecified; chroma is averaged 2x2."""
    kr, kb = matrix_weights(colour, frame.size[1])
    red, green, blue = (frame.rgb[..., i].astype(np.float32) for i in range(3))
    y = np.float32(kr) * red + np.float32(1 - kr - kb) * green + np.float32(kb) * blue
    cb = (blue - y) * np.float32(0.5 / (1 - kb))
    cr = (red - y) * np.float32(0.5 / (1 - kr))
    cb, cr = _average(cb), _average(cr)
    if not colour.full_range:
        y = y * np.float32(219 / 255) + np.float32(16)
        cb *= np.float32(224 / 255)
        cr *= np.float32(224 / 255)
    return YuvFrame(_to_u8(y), _to_u8(cb + np.float32(128)), _to_u8(cr + np.float32(128)))


def _average(plane: _F32) -> _F32:
    """Average 2x2 blocks, repeating the last row and column of odd sizes."""
    height, width = plane.shape
    columns, rows = chroma_size(width, height)
    padded = np.pad(plane, ((0, 2 * rows - height), (0, 2 * columns - width)), mode="edge")
    mean: _F32 = padded.reshape(rows, 2, columns, 2).mean(axis=(1, 3), dtype=np.float32)
    return mean


def _to_u8(values: _F32) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
