"""Does training work here? Run: python train.py --config configs/smoke.py --workdir runs/smoke.

Two minutes on two CPU cores, most of them compiling; needs no data, but scikit-image for its photographs
(pip install "nvc-jax[train,demo]"). Both codecs of the smallest size learn one moving picture: the mean loss of the
last 20 steps is below a fifth of that of the first 20.
"""

from nvc_jax.models.config import tiny
from nvc_jax.training.config import DEMO, Data, Logging, Loss, Optimiser, Stage, TrainConfig


def get_config() -> TrainConfig:
    """The run."""
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
