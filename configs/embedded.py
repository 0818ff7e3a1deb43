"""The model that ships with the package: some hours on two CPU cores; not run from end to end so far.

Run: python train.py --config configs/embedded.py --workdir DIR data.source=FOLDER_OF_VIDEOS

Starts as a transform codec (nvc_jax/training/transform_init.py). What this file cannot know of the packaged weights,
which were trained in slices, is in their model card: docs/MODELS.md.
"""

import functools

from nvc_jax.models.config import embedded
from nvc_jax.training.config import Data, Loss, Optimiser, Stage, TrainConfig

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
    """The run."""
    video = functools.partial(Stage, train="inter", batch=6, clip_norm=1.0)
    return TrainConfig(
        codec=embedded,
        stages=(
            Stage(
                "pictures",
                train="intra",
                frames=1,
                steps=5000,
                batch=8,
                learning_rate=5e-4,
                warmup_steps=60,
                decay_from=0.5,
                final_share=0.02,
                clip_norm=1.0,
            ),
            video("video_4", frames=4, steps=1500, learning_rate=4e-4, warmup_steps=60),
            video(
                "video_8",
                frames=8,
                steps=2000,
                learning_rate=3e-4,
                decay_from=0.25,
                final_share=0.01,
                carry_optimiser=True,
            ),
        ),
        data=Data(skip=2, reverse=0.4, flip=0.5, flip_vertical=0.25, memory_mb=8192),
        # Higher than the official ranges: a small model is used at the rates of conventional real-time coders.
        loss=Loss(intra_lambda=(8.0, 4096.0), inter_lambda=(4.0, 2048.0), balance=0.5, random_position=True),
        optimiser=Optimiser("adam", beta2=0.995, scales=SCALES, row_reach=6.0),
        transform_init=True,
        average_decay=0.998,
        significant_bits=8,
    )
