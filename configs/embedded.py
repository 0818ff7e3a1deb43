"""The embedded model, the default: two and a half hours on two CPU cores (AVX-512), by the time of its steps.

Run: python train.py --config configs/embedded.py --workdir DIR data.source=FOLDER_OF_VIDEOS

Starts as a transform codec (nvc_jax/training/transform_init.py). The last stage trains for int8 kernels. Run from end
to end with 40 % of the steps; the packaged weights come from those of embedded_v1, see docs/MODELS.md.
"""

import functools

from nvc_jax.models.codecs import embedded
from nvc_jax.training.config import Data, Loss, Optimiser, Stage, TrainConfig
from nvc_jax.training.transform_init import SCALES


def get_config() -> TrainConfig:
    """Configure the run."""
    stage = functools.partial(Stage, clip_norm=1.0)
    video = functools.partial(stage, frames=4, batch=6, warmup_steps=100, skip=True)
    return TrainConfig(
        codec=embedded,
        stages=(
            stage(
                "pictures",
                frames=1,
                train="intra",
                steps=7000,
                batch=8,
                learning_rate=6e-4,
                warmup_steps=100,
                decay_from=0.3,
                final_share=0.3,
            ),
            video("video_4", train="inter", steps=2500, learning_rate=4e-4),
            video("together_4", steps=3000, learning_rate=3e-4),
            stage(
                "int8",
                frames=7,
                steps=2600,
                batch=4,
                learning_rate=3e-4,
                decay_from=0.1,
                final_share=0.02,
                skip=True,
                rounded=True,
                carry_optimiser=True,
            ),
        ),
        data=Data(skip=3, reverse=0.4, flip=0.5, flip_vertical=0.25, scale=(1.0, 1.7), memory_mb=8192),
        # Above the official ranges: a small model is used at the rates of conventional real-time encoders.
        loss=Loss((8.0, 4096.0), (4.0, 2048.0), intra_qp_offset=8, balance=0.5, random_position=True),
        optimiser=Optimiser("adam", beta2=0.995, scales=SCALES, row_reach=6.0),
        transform_init=True,
        average_decay=0.998,
        significant_bits=11,
        int8_kernels=True,
    )
