"""The model that ships with the package. Run: python train.py --config configs/embedded.py --data CLIPS --workdir DIR.

Takes about an hour on two CPU cores; starts as a transform codec (nvc_jax/training/transform_init.py). The packaged
weights were made in two runs: 1090 steps of the first stage, then, from their average, the second stage with a learning
rate of 1.5e-4, average_decay 0.99 and decay_from 0.35;
then rows 51 to 63 of the intra banks and z prior were set to row 50.
"""

from nvc_jax.models.config import embedded
from nvc_jax.training.config import Stage, TrainConfig


def get_config() -> TrainConfig:
    """The resolved configuration."""
    return TrainConfig(
        codec=embedded,
        stages=(Stage(steps=1100, frames=2), Stage(steps=500, frames=4, batch=4)),
        # Higher than the official ranges: a small model is used at the rates of conventional real-time coders.
        intra_lambda=(8.0, 4096.0),
        inter_lambda=(4.0, 2048.0),
        transform_init=True,
        balance=0.5,
        learning_rate=2e-4,
        significant_bits=8,
    )
