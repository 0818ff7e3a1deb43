"""A wider relative of the embedded model: planned for five minutes of one GPU.

Run: python train.py --config configs/embedded_v2.py --workdir DIR --seconds 300 data.source=FOLDER_OF_VIDEOS

Starts as a transform codec (nvc_jax/training/transform_init.py). Without --seconds it trains the steps given here, days
on two CPU cores; stages.N.steps=... and stages.N.batch=... select a part of them.

Not run on a GPU so far, and no weights of it exist. The only attempt, on an H200 with JAX 0.11.2 and
XLA_FLAGS=--xla_gpu_enable_triton_gemm=false, ended before its first step: "INTERNAL: cublasLtMatmul(...): the requested
functionality is not supported". Run it without that flag first. The 300 seconds, compilation included, are a plan for
an H100.
"""

import functools

from nvc_jax.models.codecs import embedded_v2
from nvc_jax.training.config import Data, Logging, Loss, Optimiser, Stage, TrainConfig
from nvc_jax.training.transform_init import SCALES


def get_config() -> TrainConfig:
    """Configure the run. The steps are an estimate for 270 seconds of an H100."""
    video = functools.partial(Stage, train="inter", clip_norm=1.0, skip=True)
    return TrainConfig(
        codec=embedded_v2,
        stages=(
            Stage(
                "pictures",
                train="intra",
                frames=1,
                steps=10000,
                share=0.25,
                batch=64,
                learning_rate=6e-4,
                warmup_steps=400,
                decay_from=0.3,
                final_share=0.01,
                clip_norm=1.0,
            ),
            video("video_4", frames=4, steps=3000, share=0.25, batch=48, learning_rate=5e-4, warmup_steps=400),
            video(
                "video_8",
                frames=8,
                steps=3000,
                share=0.5,
                batch=48,
                learning_rate=4e-4,
                decay_from=0.2,
                final_share=0.01,
                carry_optimiser=True,
            ),
        ),
        data=Data(on_device=True, skip=3, reverse=0.4, flip=0.5, flip_vertical=0.25, scale=(1.0, 2.0), memory_mb=8192),
        # Above the official ranges: a small model is used at the rates of conventional real-time encoders. The first
        # frame, from which all others are predicted, weighs four times as much as they do.
        loss=Loss(
            intra_lambda=(16.0, 8192.0),
            inter_lambda=(4.0, 2048.0),
            qp_offsets=(0,) * 8,
            frame_weights=((0, 1.0),),
            balance=0.5,
        ),
        optimiser=Optimiser("adam", beta2=0.995, scales=SCALES, row_reach=6.0),
        logging=Logging(checkpoint_steps=2500, tensorboard=False),
        transform_init=True,
        average_decay=0.998,
        significant_bits=11,
    )
