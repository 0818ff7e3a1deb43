"""Downsample pictures by whole numbers, which removes the artefacts of compressed sources and adds none."""

import numpy as np
import numpy.typing as npt

from nvc_jax.video import Frame, RgbFrame, YuvFrame

U8 = npt.NDArray[np.uint8]


def box_for(size: tuple[int, int], short_side: int) -> int:
    """Choose the box that brings the short side of a (width, height) nearest to another one."""
    side = min(size)
    return min(range(1, side // short_side + 2), key=lambda box: (abs(side / box - short_side), box))


def reduced_size(size: tuple[int, int], box: int) -> tuple[int, int]:
    """Compute the even (width, height) that pictures of a size have after downsampling."""
    width, height = size
    return width // (2 * box) * 2, height // (2 * box) * 2


def reduced(frame: Frame, box: int) -> Frame:
    """Average over boxes of luma and of chroma samples, rounded; edges beyond whole boxes are cropped.

    Chroma that was sited left ends up (box - 1) / (2 box) of a pixel to the right of it, as if sited in the centre.
    """
    width, height = reduced_size(frame.size, box)
    if isinstance(frame, RgbFrame):
        return RgbFrame(_averaged(frame.rgb, width, height, box))
    chroma = (_averaged(plane, width // 2, height // 2, box) for plane in (frame.u, frame.v))
    return YuvFrame(_averaged(frame.y, width, height, box), *chroma)


def _averaged(plane: U8, width: int, height: int, box: int) -> U8:
    part = plane[: height * box, : width * box]
    if box == 1:
        return np.ascontiguousarray(part)
    shape = (height, box, width, box, *plane.shape[2:])
    total = part.reshape(shape).sum(axis=(1, 3), dtype=np.uint32)
    return np.asarray((total + box * box // 2) // (box * box), np.uint8)
