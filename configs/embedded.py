"""The model that ships with the package.

Run: python train.py --config configs/embedded.py --workdir DIR data.source=FOLDER_OF_VIDEOS

Takes about an hour on two CPU cores; starts as a transform codec (nvc_jax/training/transform_init.py). The packaged
weights were made in two runs with these numbers, the second from the average of the first and with an average_decay of
0.99; then rows 51 to 63 of the intra banks and z prior were set to row 50.
"""

from nvc_jax.models.config import embedded
from nvc_jax.training.config import Data, Loss, Optimiser, Stage, TrainConfig


def get_config() -> TrainConfig:
    """The run."""
    return TrainConfig(
        codec=embedded,
        stages=(
            Stage(
                "short",
                frames=2,
                steps=1090,
                batch=8,
                size=128,
                learning_rate=2e-4,
                warmup_steps=100,
                decay_from=0.88,
                final_share=0.9,
                clip_norm=1.0,
            ),
            Stage(
                "longer",
                frames=4,
                steps=500,
                batch=4,
                size=128,
                learning_rate=1.5e-4,
                warmup_steps=100,
                decay_from=0.35,
                final_share=0.02,
                clip_norm=1.0,
            ),
        ),
        data=Data(memory_mb=8192),
        # Higher than the official ranges: a small model is used at the rates of conventional real-time coders.
        loss=Loss(intra_lambda=(8.0, 4096.0), inter_lambda=(4.0, 2048.0), balance=0.5, random_position=True),
        optimiser=Optimiser("adam"),
        transform_init=True,
        average_decay=0.999,
        significant_bits=8,
    )
