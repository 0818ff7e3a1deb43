"""Activity of pictures, which says how many bits they will take."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.video import Frame, RgbFrame

_STRIDE = 2  # pixels in both directions: a quarter of them says as much


class Activity:
    """Measures pictures in their order."""

    def __init__(self) -> None:
        self._before: npt.NDArray[np.int16] | None = None

    def measure(self, frames: list[Frame]) -> tuple[float, float]:
        """Mean absolute difference of each picture to the one before, and of neighbouring pixels, of 8-bit luma.

        Args:
            frames: of a packet; of RGB, green stands for luma.
        """
        differences, textures = [], []
        for frame in frames:
            luma = frame.rgb[..., 1] if isinstance(frame, RgbFrame) else frame.y
            sampled = np.asarray(luma)[::_STRIDE, ::_STRIDE].astype(np.int16)
            differences.append(0.0 if self._before is None else _mean(sampled - self._before))
            textures.append(_mean(np.diff(luma[::_STRIDE].astype(np.int16), axis=1)))
            self._before = sampled
        return float(np.mean(differences)), float(np.mean(textures))


def _mean(values: npt.NDArray[Any]) -> float:
    return float(np.abs(values).mean()) if values.size else 0.0
