"""A training run as data."""

import dataclasses
from collections.abc import Mapping

from nvc_jax.models.config import CodecConfig


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


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What `train.py` runs. Values that are not given here are those of the official recipe (training spec 2).

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
        frame_weights: weight of an inter frame's distortion by its qp offset.
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
    frame_weights: Mapping[int, float] = dataclasses.field(default_factory=lambda: {0: 0.5, 8: 1.2, 4: 0.9})
    significant_bits: int = 24
    seed: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)
