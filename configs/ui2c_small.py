"""A small UI2C, for CPUs: what `rt_small` costs per picture, its data, learning rates, and about as many pictures.

Run: python train.py --config configs/ui2c_small.py --workdir DIR data.source=FOLDER_OF_VIDEOS

Starts as a transform codec too. The stage of pictures of `rt_small` is one of single pairs here, as there is no intra
network.
"""

import functools

from nvc_jax.models.codecs import ui2c_small
from nvc_jax.training.config import Data, Logging, Loss, Optimiser, Stage, TrainConfig
from nvc_jax.training.transform_init import scales_of


def get_config() -> TrainConfig:
    """Configure the run."""
    video = functools.partial(Stage, batch=8, clip_norm=1.0, carry_optimiser=True)
    return TrainConfig(
        codec=ui2c_small,
        stages=(
            video("pairs", 3, steps=1500, learning_rate=4e-4, warmup_steps=60, carry_optimiser=False),
            video("video_5", 5, steps=1000, learning_rate=4e-4),
            video("video_9", 9, steps=300, learning_rate=3e-4, decay_from=0.2, final_share=0.02),
            video("int8", 5, steps=250, learning_rate=1e-4, final_share=0.02, rounded=True),
        ),
        data=Data(skip=2, reverse=0.4, flip=0.5, flip_vertical=0.25, memory_mb=8192),
        loss=Loss(balance=0.5, random_position=True),
        optimiser=Optimiser("adam", beta2=0.995, scales=scales_of(ui2c_small), row_reach=6.0),
        logging=Logging(checkpoint_steps=500),
        transform_init=True,
        average_decay=0.99,
        significant_bits=8,
        int8_kernels=True,
    )
