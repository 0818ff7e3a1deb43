"""Random crops from a folder of clips, held in memory as 8-bit 4:2:0."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nvc_jax.errors import ConfigError
from nvc_jax.video import YuvFrame, open_video

Planes = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def load_clips(folder: Path, frames: int) -> list[Planes]:
    """Read every video of a folder.

    Returns:
        For each clip of at least `frames` frames: y [T, H, W], u and v [T, H/2, W/2].

    Raises:
        ConfigError: the folder holds no such clip.
    """
    clips = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        with open_video(path) as reader:
            planes = [(f.y, f.u, f.v) for f in reader if isinstance(f, YuvFrame)]
        if len(planes) >= frames:
            y, u, v = (np.stack(plane) for plane in zip(*planes, strict=True))
            clips.append((y, u, v))
    if not clips:
        raise ConfigError(f"no 4:2:0 clip of at least {frames} frames in {folder}; name a folder of videos.")
    return clips


def random_crops(clips: list[Planes], batch: int, frames: int, size: int, rng: np.random.Generator) -> Iterator[Planes]:
    """Endless batches: y [T, B, size, size], u and v [T, B, size/2, size/2]; flipped left to right half of the time.

    Clips are drawn in proportion to their number of pixels.

    Raises:
        ConfigError: no clip is large and long enough.
    """
    usable = [clip for clip in clips if min(clip[0].shape[1:]) >= size and len(clip[0]) >= frames]
    if not usable:
        raise ConfigError(f"no clip is at least {size}x{size} with {frames} frames; use smaller crops.")
    weights = np.array([clip[0].size for clip in usable], float)
    weights /= weights.sum()
    while True:
        crops = []
        for number in rng.choice(len(usable), batch, p=weights):
            y, u, v = usable[number]
            t = rng.integers(0, len(y) - frames + 1)
            top, left = (2 * rng.integers(0, (n - size) // 2 + 1) for n in y.shape[1:])
            half = (slice(t, t + frames), slice(top // 2, (top + size) // 2), slice(left // 2, (left + size) // 2))
            full = (half[0], slice(top, top + size), slice(left, left + size))
            crop = (y[full], u[half], v[half])
            crops.append([plane[:, :, ::-1] for plane in crop] if rng.random() < 0.5 else crop)
        y, u, v = (np.stack(planes, axis=1) for planes in zip(*crops, strict=True))
        yield y, u, v
