"""A small DCVC-RT without block motion, for CPUs: to compare with `ui2c_small`, and as a teacher of distilled students.

Run: python train.py --config configs/rt_small.py --workdir DIR data.source=FOLDER_OF_VIDEOS

Starts as a transform codec. The official loss, lambdas, offsets and weights, with crops of 128x128. A position of the
8-cycle is drawn for each clip, because short ones would only train its first. The last stage trains for int8 kernels.
"""

import functools

from nvc_jax.models.codecs import rt_small
from nvc_jax.training.config import Data, Logging, Loss, Optimiser, Stage, TrainConfig
from nvc_jax.training.transform_init import SCALES


def get_config() -> TrainConfig:
    """Configure the run."""
    video = functools.partial(Stage, train="inter", batch=8, clip_norm=1.0, carry_optimiser=True)
    return TrainConfig(
        codec=rt_small,
        stages=(
            Stage(
                "pictures",
                1,
                train="intra",
                steps=2000,
                batch=8,
                learning_rate=5e-4,
                warmup_steps=60,
                decay_from=0.5,
                final_share=0.02,
                clip_norm=1.0,
            ),
            video(
                "video_2",
                2,
                first_reference="original",
                steps=1000,
                learning_rate=4e-4,
                warmup_steps=60,
                carry_optimiser=False,
            ),
            video("video_4", 4, steps=1200, learning_rate=4e-4),
            video("video_8", 8, steps=400, learning_rate=3e-4, decay_from=0.2, final_share=0.02),
            video("int8", 4, train="all", steps=250, learning_rate=1e-4, final_share=0.02, rounded=True),
        ),
        data=Data(skip=2, reverse=0.4, flip=0.5, flip_vertical=0.25, memory_mb=8192),
        loss=Loss(balance=0.5, random_position=True),
        optimiser=Optimiser("adam", beta2=0.995, scales=SCALES, row_reach=6.0),
        logging=Logging(checkpoint_steps=500),
        transform_init=True,
        average_decay=0.99,
        significant_bits=8,
        int8_kernels=True,
    )
