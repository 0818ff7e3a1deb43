"""A codec that overfits one clip."""

import dataclasses
import itertools
from fractions import Fraction

import pytest
import synthetic

from nvc_jax.codec.store import load_model
from nvc_jax.models.codecs import embedded
from nvc_jax.training.config import Data, Evaluation, Logging, Loss, Optimiser, Stage, TrainConfig
from nvc_jax.training.evaluate import evaluate
from nvc_jax.training.run import train
from nvc_jax.video import VideoInfo, create_video

QPS = (0, 9, 18, 27, 36, 45, 54, 63)
SIZE, FRAMES = 96, 6


@pytest.mark.slow
def test_one_clip(tmp_path):
    """The embedded codec on a smooth picture: rates and PSNRs rise strictly over 8 qps, beyond 38 dB at qp 63."""
    clip = tmp_path / "clips" / "clip.y4m"
    clip.parent.mkdir()
    with create_video(clip, VideoInfo(SIZE, SIZE, Fraction(25))) as writer:
        for frame in synthetic.moving_picture(SIZE, SIZE, FRAMES):
            writer.write(frame)
    stage = Stage("all", frames=3, steps=120, batch=4, size=64, learning_rate=2e-4, warmup_steps=20, clip_norm=1.0)
    config = TrainConfig(
        embedded,
        (dataclasses.replace(stage, decay_from=0.5, final_share=0.05),),
        Data(source=str(clip.parent), flip=0.0),
        Loss(intra_lambda=(8.0, 4096.0), inter_lambda=(4.0, 2048.0), balance=0.5, random_position=True),
        Optimiser("adam"),
        logging=Logging(tensorboard=False),
        transform_init=True,
        average_decay=0.98,
    )
    train(config, tmp_path / "run", None, lambda text: None)
    measured = Evaluation(source=str(clip.parent), frames=FRAMES, qps=QPS)
    points = list(evaluate(load_model(tmp_path / "run" / "model"), measured, tmp_path))
    for low, high in itertools.pairwise(points):
        assert low["bpp"] < high["bpp"]
        assert low["psnr_y"] < high["psnr_y"]
    assert points[-1]["psnr_y"] > 38.0
