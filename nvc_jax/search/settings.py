"""Budget and conditions of a search."""

import dataclasses
from typing import Literal

from nvc_jax.codec.model import PRECISIONS
from nvc_jax.errors import ConfigError
from nvc_jax.evaluation.bd_rate import MIN_POINTS
from nvc_jax.models.config import CodecConfig
from nvc_jax.spec import FILE_PRECISION, QP_LEVELS
from nvc_jax.training.config import Data, Loss, Optimiser, TrainConfig
from nvc_jax.training.settings import load_config, packaged_configs


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that the figures of a search depend on, beside model and videos.

    Attributes:
        data: folder of training clips, or "demo".
        recipe: training configuration whose loss, optimiser and augmentation are taken; "" is the packaged one of the
            teacher's name, or the defaults.
        steps: of the short training of each candidate.
        batch: clips in a step.
        clip_frames: pictures in a clip.
        crop: side of its square pictures.
        learning_rate: peak of the short training.
        qps: of the rate-distortion curves.
        frames: of every video, at most.
        precision: of timing and evaluation.
        speed_size: (width, height) of the pictures for timing.
        runs: of every timed part.
        start: of layers whose shape changed: "slices" of the teacher's weights, or "random" values.
        seed: of initial values and training.
    """

    data: str
    recipe: str = ""
    steps: int = 120
    batch: int = 4
    clip_frames: int = 4
    crop: int = 128
    learning_rate: float = 4e-4
    qps: tuple[int, ...] = (0, 21, 42, 63)
    frames: int = 9
    precision: str = FILE_PRECISION
    speed_size: tuple[int, int] = (640, 360)
    runs: int = 15
    start: Literal["slices", "random"] = "slices"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "frames", "runs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` is {getattr(self, name)}; it must be at least 1.")
        if self.clip_frames < 2 or self.crop < 16 or self.crop % 16:
            raise ConfigError(
                f"`clip_frames` is {self.clip_frames} and `crop` {self.crop}; at least 2, and a multiple of 16."
            )
        if not self.learning_rate > 0 or self.seed < 0:
            raise ConfigError(
                f"`learning_rate` is {self.learning_rate} and `seed` {self.seed}; above 0, and at least 0."
            )
        if len(set(self.qps)) < max(MIN_POINTS, len(self.qps)) or not all(0 <= qp < QP_LEVELS for qp in self.qps):
            raise ConfigError(
                f"`qps` needs {MIN_POINTS} or more different qps from 0 to {QP_LEVELS - 1}, for a BD-rate."
            )
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision {self.precision!r} is not known; choose from {', '.join(PRECISIONS)}.")
        if min(self.speed_size) < 1:
            raise ConfigError("`speed_size` must be at least 1x1.")

    def training(self, codec: CodecConfig) -> tuple[Data, Loss, Optimiser]:
        """How the teacher was trained, as far as a short training takes it over.

        Raises:
            ConfigError: there is no such recipe.
        """
        name = self.recipe or (codec.name if codec.name in packaged_configs() else "")
        if not name:
            return Data(self.data), Loss(), Optimiser()
        config: TrainConfig = load_config(name)
        data = dataclasses.replace(config.data, source=self.data, on_device=False)
        return data, config.loss, config.optimiser
