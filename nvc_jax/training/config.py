"""A training run as data."""

import dataclasses

from nvc_jax.errors import ConfigError
from nvc_jax.models.config import CodecConfig
from nvc_jax.spec import QP_OFFSETS


@dataclasses.dataclass(frozen=True)
class Stage:
    """Part of a run.

    Attributes:
        steps: optimiser steps.
        frames: frames of a clip, the intra frame included.
        batch: clips per step.
        size: side of the square crops, a multiple of 16.
    """

    steps: int
    frames: int
    batch: int = 8
    size: int = 128

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or self.frames < 2 or self.size < 16 or self.size % 16:
            raise ConfigError(f"{self}: steps and batch must be at least 1, frames 2, size a multiple of 16.")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What `train.py` runs.

    Loss and surrogates are the official ones (training spec 2). The loop is not: one Adam for both codecs, no weight
    decay, its own clip and schedule, clips in 4:2:0.

    Attributes:
        codec: architecture.
        stages: one after the other, parameters carried over.
        intra_lambda: weight of the distortion at qp 0 and 63, intra frames.
        inter_lambda: the same for inter frames.
        transform_init: start as a transform codec (transform_init.py) rather than from random parameters.
        balance: every sample's loss is divided by lambda to this power. 0 is the official loss, where large qps
            dominate the gradient; 0.5 lets every qp count alike.
        learning_rate: peak; warmed up linearly, then decayed by a cosine.
        warmup_steps: steps of the warm-up.
        decay_from: share of the run after which the decay begins.
        final_learning_rate: share of the peak at the end.
        clip_norm: limit of the global gradient norm.
        average_decay: decay of the exponential moving average of the parameters, which is what is kept.
        frame_weights: (qp offset, weight of the distortion) of inter frames.
        significant_bits: of the parameters that are kept; 24 is float32, fewer make a smaller model directory.
        seed: of parameters, crops and noise.
    """

    codec: CodecConfig
    stages: tuple[Stage, ...]
    intra_lambda: tuple[float, float] = (10.0, 2048.0)
    inter_lambda: tuple[float, float] = (1.0, 768.0)
    transform_init: bool = False
    balance: float = 0.0
    learning_rate: float = 1e-4
    warmup_steps: int = 100
    decay_from: float = 0.6
    final_learning_rate: float = 0.02
    clip_norm: float = 1.0
    average_decay: float = 0.999
    frame_weights: tuple[tuple[int, float], ...] = ((0, 0.5), (8, 1.2), (4, 0.9))
    significant_bits: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("a training run needs at least one stage.")
        missing = set(QP_OFFSETS) - dict(self.frame_weights).keys()
        if missing:
            raise ConfigError(f"frame_weights has no weight for the qp offsets {sorted(missing)}.")

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)
