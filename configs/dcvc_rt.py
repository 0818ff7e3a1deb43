"""DCVC-RT, by the official recipe of its sibling codec with DCVC-RT's own qp offsets and distortion weights.

Run: python train.py --config configs/dcvc_rt.py --workdir DIR data.source=FOLDER

The authors train the picture stages on Open Images, the first video stages on Vimeo-90k, and from 8 frames on long
sequences cut from the original Vimeo videos. A run has one folder of data, so use either one folder of long sequences
for all stages (pictures are then frames of them), or several runs with `--init` of the previous model, each by a copy
of this file with its own stages. Short clips play back and forth.

Meant for several GPUs. Not run so far, so there are no results; the authors' are in the paper.
"""

from nvc_jax.models.codecs import dcvc_rt
from nvc_jax.training.config import Data, Evaluation, Logging, Stage, TrainConfig

# (epochs, learning rate, size)
PICTURES = (
    (45, 2e-4, 256), (25, 5e-5, 256), (20, 1e-5, 256),
    (5, 2e-4, 512), (4, 5e-5, 512), (4, 1e-5, 512), (2, 1e-6, 512),
)  # fmt: skip

# (epochs, learning rate, frames), size and batch of a stage
PLAIN = ((5, 1e-4, 2), (5, 1e-4, 3), (45, 1e-4, 6))
CASCADED = (
    (1, 256, 8, ((5, 5e-5, 8), (5, 5e-5, 16), (5, 5e-5, 24), (15, 5e-5, 32), (7, 5e-6, 32))),
    (2, 512, 8, ((14, 5e-5, 33), (4, 5e-6, 33), (7, 2e-5, 49), (2, 2e-6, 49), (7, 5e-6, 65), (6, 2e-6, 65))),
    (3, 512, 4, ((2, 2e-6, 97), (2, 5e-7, 129))),
)


def get_config() -> TrainConfig:
    """Configure the run."""
    pictures = [
        Stage(
            f"pictures_{i}",
            frames=1,
            train="intra",
            epochs=epochs,
            learning_rate=rate,
            size=size,
            batch=16,
            clip_norm=0.1,
            carry_optimiser=i > 0 and PICTURES[i - 1][2] == size,
        )
        for i, (epochs, rate, size) in enumerate(PICTURES)
    ]
    plain = [
        Stage(
            f"stage0_{frames}_frames",
            frames=frames,
            train="inter",
            mode="plain",
            epochs=epochs,
            learning_rate=rate,
            size=256,
            batch=16,
            first_reference="original" if frames == 2 else "coded",
            carry_optimiser=frames > 2,
        )
        for epochs, rate, frames in PLAIN
    ]
    cascaded = [
        Stage(
            f"stage{number}_{i}",
            frames=frames,
            train="inter",
            epochs=epochs,
            learning_rate=rate,
            size=size,
            batch=batch,
            remat=True,
            carry_optimiser=i > 0,
        )
        for number, size, batch, parts in CASCADED
        for i, (epochs, rate, frames) in enumerate(parts)
    ]
    return TrainConfig(
        codec=dcvc_rt,
        stages=(*pictures, *plain, *cascaded),
        data=Data(epoch="clips", threads=16, prefetch=8),
        evaluation=Evaluation(frames=32),
        logging=Logging(checkpoint_steps=1000),
    )
