"""Adapt the embedded model to own clips, within half an hour on two CPU cores.

Run: nvc-jax train --config fine_tune --workdir DIR data.source=FOLDER_OF_VIDEOS

Starts from the embedded model; --init DIR continues another model of the same architecture, and with codec=NAME one of
another. The loss, the qp offsets and the learning rates of single parameters are those of embedded.py, so that the
qps keep their meaning. For more data raise stages.N.steps.
"""

from nvc_jax.models.codecs import embedded
from nvc_jax.spec import DEFAULT_MODEL
from nvc_jax.training.config import Data, Logging, Loss, Optimiser, Stage, TrainConfig
from nvc_jax.training.transform_init import SCALES


def get_config() -> TrainConfig:
    """Configure the run."""
    return TrainConfig(
        codec=embedded,
        init=DEFAULT_MODEL,
        stages=(
            Stage(
                "pictures",
                train="intra",
                frames=1,
                steps=300,
                batch=8,
                learning_rate=1e-4,
                warmup_steps=20,
                decay_from=0.3,
                final_share=0.02,
                clip_norm=1.0,
            ),
            Stage(
                "video",
                train="inter",
                frames=4,
                steps=300,
                batch=4,
                learning_rate=1e-4,
                warmup_steps=20,
                decay_from=0.3,
                final_share=0.02,
                clip_norm=1.0,
            ),
        ),
        data=Data(flip=0.5),
        loss=Loss((8.0, 4096.0), (4.0, 2048.0), intra_qp_offset=8, balance=0.5, random_position=True),
        optimiser=Optimiser("adam", beta2=0.995, scales=SCALES, row_reach=6.0),
        logging=Logging(checkpoint_steps=100),
        average_decay=0.98,
    )
