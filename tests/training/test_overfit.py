"""A codec that learns one clip by heart."""

import dataclasses
import itertools

import pytest

from nvc_jax.codec.store import load_model
from nvc_jax.models.config import embedded
from nvc_jax.training.config import DEMO, Data, Evaluation, Logging, Loss, Optimiser, Stage, TrainConfig
from nvc_jax.training.evaluate import evaluate
from nvc_jax.training.run import train

QPS = (0, 9, 18, 27, 36, 45, 54, 63)


@pytest.mark.slow
def test_one_clip(tmp_path):
    """The embedded codec on the demo clip: rates and PSNRs rise strictly over 8 qps.

    33.4 dB at qp 63 in these 150 steps; lambdas 16 times as large gave at most 35.1 dB in 300.
    """
    stage = Stage("all", frames=3, steps=150, batch=4, size=64, learning_rate=2e-4, warmup_steps=20, clip_norm=1.0)
    config = TrainConfig(
        embedded,
        (dataclasses.replace(stage, decay_from=0.5, final_share=0.05),),
        Data(source=DEMO, flip=0.0),
        Loss(intra_lambda=(8.0, 4096.0), inter_lambda=(4.0, 2048.0), balance=0.5, random_position=True),
        Optimiser("adam"),
        logging=Logging(tensorboard=False),
        transform_init=True,
        average_decay=0.98,
    )
    train(config, tmp_path / "run", None, lambda text: None)
    points = list(
        evaluate(load_model(tmp_path / "run" / "model"), Evaluation(source=DEMO, frames=4, qps=QPS), tmp_path)
    )
    for low, high in itertools.pairwise(points):
        assert low["bpp"] < high["bpp"]
        assert low["psnr_y"] < high["psnr_y"]
    assert points[-1]["psnr_y"] > 33.0
