"""The model that ships with the package. Run: python train.py --config configs/embedded.py --data CLIPS --workdir DIR.

Takes about an hour on two CPU cores. Starts as a transform codec (nvc_jax/training/transform_init.py).
"""

from nvc_jax.models.config import embedded
from nvc_jax.training.config import Stage, TrainConfig


def get_config() -> TrainConfig:
    """The resolved configuration."""
    return TrainConfig(
        codec=embedded,
        stages=(
            Stage(steps=1600, frames=2),
            Stage(steps=600, frames=3, batch=6),
            Stage(steps=400, frames=4, batch=4),
        ),
        # Higher than the official ranges: a small model is used at the rates of conventional real-time coders.
        intra_lambda=(8.0, 4096.0),
        inter_lambda=(4.0, 2048.0),
        transform_init=True,
        balance=0.5,
        learning_rate=2e-4,
        warmup_steps=100,
        significant_bits=11,
    )
