"""A natural moving picture that needs no download, for `nvc-jax demo` and the tests.

The camera drifts and zooms over one photograph while a second one, cut out with a soft edge, moves across.
The photographs ship inside the scikit-image wheel (0.24 and later): coffee (Rachel Michetti, CC0) and chelsea
(Stefan van der Walt, CC0).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nvc_jax.errors import ConfigError
from nvc_jax.io.files import make_folder
from nvc_jax.video import Colour, RgbFrame, VideoInfo, YuvFrame, create_video, rgb_to_yuv
from nvc_jax.video.frame import check_size

if TYPE_CHECKING:
    from PIL.Image import Image

FPS = Fraction(25)
COLOUR = Colour(primaries=1, transfer=1, matrix=1, full_range=False, chroma_location="center")

_BACKGROUND = "coffee.png"  # 600x400
_FOREGROUND = "chelsea.png"  # 451x300
_FACE = (85, 20, 375, 280)  # the cat's face in it
_GRAIN = 1.2  # standard deviation, in 8-bit steps
_SEED = 20250


def demo_sequence(width: int = 352, height: int = 288, frames: int = 33) -> tuple[VideoInfo, Iterator[YuvFrame]]:
    """The sequence, limited-range BT.709; the same frames on every call.

    Raises:
        ConfigError: scikit-image is not installed, or a number is out of range.
    """
    try:
        check_size(width, height, "demo")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if frames < 1:
        raise ConfigError(f"demo: {frames} frames; ask for at least one")
    background, face = _photograph(_BACKGROUND), _photograph(_FOREGROUND).crop(_FACE)
    info = VideoInfo(width, height, FPS, COLOUR, frames)
    return info, (_frame(background, face, width, height, t) for t in range(frames))


def write_demo(path: Path, *shape: int) -> Path:
    """Write the sequence as a video, its folder made if needed; shape: see `demo_sequence`."""
    info, frames = demo_sequence(*shape)
    make_folder(path.parent)
    with create_video(path, info) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def _photograph(name: str) -> Image:
    try:
        from PIL import Image

        with (files("skimage") / "data" / name).open("rb") as file:
            return Image.open(file).convert("RGB")
    except (ImportError, FileNotFoundError):
        raise ConfigError(
            'the demonstration needs the photographs of scikit-image: pip install "nvc-jax[demo]"'
        ) from None


def _frame(background: Image, face: Image, width: int, height: int, t: int) -> YuvFrame:
    from PIL.Image import Resampling

    seconds = t / float(FPS)
    window = _camera(background, width, height, seconds)
    canvas = background.resize((width, height), Resampling.LANCZOS, box=window)
    picture = np.asarray(canvas, np.float32)
    side = 0.42 * min(width, height) * (1 + 0.06 * math.sin(1.7 * seconds))
    left = (0.08 + 0.2 * seconds) % 1.2 * width - 0.1 * side
    top = 0.5 * height - 0.4 * side + 0.07 * height * math.sin(2.3 * seconds)
    _paste(picture, face, left, top, side)
    rng = np.random.default_rng((_SEED, t))
    picture += rng.standard_normal((height, width, 1), np.float32) * np.float32(_GRAIN)
    return rgb_to_yuv(RgbFrame(np.clip(np.rint(picture), 0, 255).astype(np.uint8)), COLOUR)


def _camera(photo: Image, width: int, height: int, seconds: float) -> tuple[float, float, float, float]:
    """The window of the photograph that fills the frame: left, top, right, bottom."""
    zoom = 0.72 - 0.09 * math.sin(0.7 * seconds)
    scale = zoom * min(photo.width / width, photo.height / height)
    w, h = width * scale, height * scale
    x = (photo.width - w) * (0.5 + 0.32 * math.sin(0.5 * seconds - 0.7))
    y = (photo.height - h) * (0.5 + 0.40 * math.sin(0.4 * seconds + 0.3))
    return x, y, x + w, y + h


def _paste(picture: npt.NDArray[np.float32], face: Image, left: float, top: float, side: float) -> None:
    """Blend the face over the picture, in an ellipse with a soft edge, at a place in fractions of a pixel."""
    from PIL.Image import Resampling

    height, width = picture.shape[:2]
    x0, x1 = max(0, math.ceil(left)), min(width, math.floor(left + side))
    y0, y1 = max(0, math.ceil(top)), min(height, math.floor(top + side))
    if x1 <= x0 or y1 <= y0:
        return
    per_x, per_y = face.width / side, face.height / side
    box = ((x0 - left) * per_x, (y0 - top) * per_y, (x1 - left) * per_x, (y1 - top) * per_y)
    patch = np.asarray(face.resize((x1 - x0, y1 - y0), Resampling.LANCZOS, box=box), np.float32)
    x = (np.arange(x0, x1, dtype=np.float32) + 0.5 - left) / side * 2 - 1
    y = (np.arange(y0, y1, dtype=np.float32) + 0.5 - top) / side * 2 - 1
    radius = np.hypot(x[None, :], y[:, None])
    alpha = np.clip((0.98 - radius) / max(0.15, 3 / side), 0, 1)[..., None]
    region = picture[y0:y1, x0:x1]
    region += alpha * (patch - region)
