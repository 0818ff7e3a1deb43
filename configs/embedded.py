"""The embedded model: some hours on two CPU cores; not run from end to end so far.

Run: python train.py --config configs/embedded.py --workdir DIR data.source=FOLDER_OF_VIDEOS

Starts as a transform codec (nvc_jax/training/transform_init.py). The weights in the package were trained in
slices; see their model card, docs/MODELS.md.
"""

import functools

from nvc_jax.models.config import embedded
from nvc_jax.training.config import Data, Loss, Optimiser, Stage, TrainConfig
from nvc_jax.training.transform_init import SCALES


def get_config() -> TrainConfig:
    """Configure the run."""
    video = functools.partial(Stage, train="inter", batch=6, clip_norm=1.0)
    return TrainConfig(
        codec=embedded,
        stages=(
            Stage(
                "pictures",
                train="intra",
                frames=1,
                steps=5000,
                batch=8,
                learning_rate=5e-4,
                warmup_steps=60,
                decay_from=0.5,
                final_share=0.02,
                clip_norm=1.0,
            ),
            video("video_4", frames=4, steps=1500, learning_rate=4e-4, warmup_steps=60),
            video(
                "video_8",
                frames=8,
                steps=2000,
                learning_rate=3e-4,
                decay_from=0.25,
                final_share=0.01,
                carry_optimiser=True,
            ),
        ),
        data=Data(skip=2, reverse=0.4, flip=0.5, flip_vertical=0.25, memory_mb=8192),
        # Above the official ranges: a small model is used at the rates of conventional real-time encoders.
        loss=Loss((8.0, 4096.0), (4.0, 2048.0), intra_qp_offset=8, balance=0.5, random_position=True),
        optimiser=Optimiser("adam", beta2=0.995, scales=SCALES, row_reach=6.0),
        transform_init=True,
        average_decay=0.998,
        significant_bits=11,
    )
