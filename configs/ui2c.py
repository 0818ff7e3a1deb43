"""UI2C: one network for all pictures, two at a time, trained with blank, true and noisy references.

Run: python train.py --config configs/ui2c.py --workdir DIR data.source=FOLDER
Or, with a blank reference only late in training, as microsoft/mlvc has it: --config configs/ui2c.py:late_blank

The authors train on Vimeo-90k septuplets and then on longer clips, and publish neither schedule nor shares of the
references: the learning rates are those of DCVC-RT's recipe, each kind of reference gets a third. A clip begins with
the picture that is only predicted from, so septuplets hold three packets. Meant for several GPUs. Not run so far.
"""

import functools

from nvc_jax.models.codecs import ui2c
from nvc_jax.training.config import Data, Evaluation, Logging, Stage, TrainConfig
from nvc_jax.training.references import with_references

# (epochs, learning rate, frames, size, batch)
CASCADED = (
    (5, 5e-5, 17, 256, 8),
    (15, 5e-5, 33, 256, 8),
    (14, 5e-5, 33, 512, 8),
    (7, 2e-5, 49, 512, 8),
    (7, 5e-6, 65, 512, 8),
    (2, 2e-6, 97, 512, 4),
)


LATE = 4  # stages: those of the last 30 epochs


def get_config(references: str = "hybrid") -> TrainConfig:
    """Configure the run; references: a key of `REFERENCES`."""
    plain = functools.partial(Stage, mode="plain", learning_rate=1e-4, size=256, batch=16)
    cascaded = (
        Stage(f"cascaded_{i}", frames, epochs=epochs, learning_rate=rate, size=size, batch=batch, remat=True)
        for i, (epochs, rate, frames, size, batch) in enumerate(CASCADED)
    )
    stages = (plain("pairs", 3, epochs=10), plain("septuplets", 7, epochs=45, carry_optimiser=True), *cascaded)
    return TrainConfig(
        codec=ui2c,
        stages=with_references(stages, references, LATE),
        data=Data(epoch="clips", threads=16, prefetch=8),
        evaluation=Evaluation(frames=32),
        logging=Logging(checkpoint_steps=1000),
    )
