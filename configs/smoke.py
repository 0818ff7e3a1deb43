"""Test that training works: python train.py --config configs/smoke.py --workdir runs/smoke.

Two minutes on two CPU cores, mostly compilation; needs no data, but scikit-image for its photographs
(pip install "nvc-jax[train,demo]"). The smallest intra and inter codecs learn one moving picture: the mean loss of the
last 20 steps is below a fifth of the first 20's.
"""

from nvc_jax.models.codecs import tiny
from nvc_jax.training.config import DEMO, Data, Logging, Loss, Optimiser, Stage, TrainConfig


def get_config() -> TrainConfig:
    """Configure the run."""
    return TrainConfig(
        codec=tiny,
        stages=(
            Stage("pictures", train="intra", frames=1, steps=150, batch=8, size=32, learning_rate=2e-3, clip_norm=1.0),
            Stage("video", train="inter", frames=3, steps=150, batch=8, size=32, learning_rate=2e-3, clip_norm=1.0),
        ),
        data=Data(source=DEMO),
        loss=Loss(balance=0.5),
        optimiser=Optimiser("adam"),
        logging=Logging(checkpoint_steps=25),
    )
