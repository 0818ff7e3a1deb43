"""Find scene cuts and measure motion, on small luma pictures."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nvc_jax.video import Frame, RgbFrame

SMALL_SIDE = 48  # pixels at least, the short side of the pictures that are compared
CUT = 12.0  # mean luma difference at a cut, in 8-bit steps; unrelated pictures differ by 20 to 100
_RATIO = 2.5  # of a difference at a cut to those beside it, which tells a cut from fast motion
_REACH = 2  # frames on either side that are compared with
_LUMA = np.array([54, 183, 19])  # BT.709 in 1/256


class Step(NamedTuple):
    """A frame and how it follows the one before.

    Attributes:
        frame: the frame.
        difference: mean absolute difference of small luma from the frame before, in 8-bit steps; 0 for the first.
        is_cut: a scene begins with it.
    """

    frame: Frame
    difference: float
    is_cut: bool


def steps(frames: Iterable[Frame], cut: float = CUT) -> Iterator[Step]:
    """Compare each frame with the one before.

    A cut is a difference that is large in itself and large beside those of the two frames before or after it, since a
    missed cut does more harm than a scene in two parts.

    Args:
        frames: of a video.
        cut: smallest difference at a cut.
    """
    ahead: deque[tuple[Frame, float | None]] = deque()
    past: deque[float] = deque(maxlen=_REACH)
    before = None
    for frame in frames:
        small = small_luma(frame)
        ahead.append((frame, None if before is None else float(np.mean(np.abs(small - before)))))
        before = small
        if len(ahead) > _REACH:
            yield _decided(ahead, past, cut)
    while ahead:
        yield _decided(ahead, past, cut)


def _decided(ahead: deque[tuple[Frame, float | None]], past: deque[float], cut: float) -> Step:
    frame, difference = ahead.popleft()
    if difference is None:  # the first frame
        return Step(frame, 0.0, False)
    sides = (list(past), [later for _, later in ahead if later is not None])
    calm = min(sum(side) / len(side) for side in sides if side) if any(sides) else 0.0
    is_cut = difference >= cut and difference >= _RATIO * calm
    past.append(difference)
    return Step(frame, difference, is_cut)


def small_luma(frame: Frame) -> npt.NDArray[np.float64]:
    """Average luma over square boxes, to a short side of `SMALL_SIDE` pixels or a little more."""
    luma = (frame.rgb @ _LUMA) >> 8 if isinstance(frame, RgbFrame) else frame.y
    height, width = luma.shape
    box = max(1, min(height, width) // SMALL_SIDE)
    rows, columns = height // box, width // box
    small = luma[: rows * box, : columns * box].reshape(rows, box, columns, box).mean((1, 3))
    return np.asarray(small, np.float64)
