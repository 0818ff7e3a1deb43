"""A small UI2C, for CPUs: what `rt_small` costs per picture, its data, learning rates, and about as many pictures.

Run: python train.py --config configs/ui2c_small.py --workdir DIR data.source=FOLDER_OF_VIDEOS

The stage of pictures of `rt_small` is one of single pairs here, as there is no intra network. Not run to its end so
far.
"""

import functools

from nvc_jax.models.config import ui2c_small
from nvc_jax.training.config import Data, Logging, Loss, Optimiser, Stage, TrainConfig


def get_config() -> TrainConfig:
    """Configure the run."""
    video = functools.partial(Stage, batch=8, clip_norm=0.5, carry_optimiser=True)
    return TrainConfig(
        codec=ui2c_small,
        stages=(
            video("pairs", 3, steps=2500, learning_rate=4e-4, warmup_steps=200, carry_optimiser=False),
            video("video_5", 5, steps=1300, learning_rate=3e-4),
            video("video_9", 9, steps=300, learning_rate=2e-4, decay_from=0.2, final_share=0.02),
        ),
        data=Data(skip=2, reverse=0.4, flip=0.5, flip_vertical=0.25, memory_mb=8192),
        loss=Loss(balance=0.5, random_position=True),
        optimiser=Optimiser("adamw", beta2=0.995, row_reach=6.0),
        logging=Logging(checkpoint_steps=500),
        average_decay=0.999,
        significant_bits=11,
    )
