"""The model that ships with the package: from videos to a model in some minutes of one GPU.

Run: python train.py --config configs/embedded.py --workdir DIR --seconds 300 data.source=FOLDER_OF_VIDEOS

Starts as a transform codec (nvc_jax/training/transform_init.py). Without --seconds it makes the steps that are given
here; on two CPU cores that takes days, with stages.N.steps=... and stages.N.batch=... any part of them. Its card:
docs/MODELS.md.
"""

import functools

from nvc_jax.models.config import embedded
from nvc_jax.training.config import Data, Logging, Loss, Optimiser, Stage, TrainConfig

# Measured: how much the loss grows when a parameter is disturbed differs a hundredfold between kernels that carry the
# transform from the start and those of the blocks, which start at zero and have far to go.
SCALES = (
    ("vectors", 0.5),
    ("inter/q_", 0.15),
    ("z_prior", 10.0),
    ("intra/decoder_up/up", 0.1),
    ("intra/decoder_out/adaptor/kernel", 0.15),
    ("intra/encoder_in/adaptor", 0.5),
    ("intra/encoder_down", 0.5),
    ("intra/spatial_out", 0.5),
    ("inter/decoder_up", 0.1),
    ("inter/recon_out/kernel", 0.2),
    ("inter/temporal_prior/down", 0.3),
    ("inter/fusion_out", 0.3),
    ("inter/fusion_blocks_0/adaptor", 0.3),
    ("inter/spatial_blocks_0/adaptor/kernel", 0.2),
    ("inter/spatial_out", 0.4),
    ("ffn/kernel_out", 2.5),
    ("pointwise_out/kernel", 2.5),
)


def get_config() -> TrainConfig:
    """The run. Steps are about what an H100 makes of 270 seconds."""
    video = functools.partial(Stage, train="inter", clip_norm=1.0, skip=True)
    return TrainConfig(
        codec=embedded,
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
        # Higher than the official ranges: a small model is used at the rates of conventional real-time coders. All
        # frames of a sequence are predicted from the first one, which is why it is worth four times as much.
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
        significant_bits=8,
    )
