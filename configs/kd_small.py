"""Students of `rt_small`, as KD-NVC's are of DCVC-RT, on a CPU: a recipe to compare kinds of distillation with.

Run: python train.py --config configs/kd_small.py:s --workdir DIR data.source=FOLDER_OF_VIDEOS teacher.model=TEACHER

TEACHER is `rt_small`, whose data, loss and crops are used, or a model of its recipe. `teacher.kind=none` trains the
same student from the same parameters without a teacher; `tools/distillation_study.py` runs all kinds and compares them.

About 15 minutes of two cores. Run with a sixth of the steps only: docs/DISTILLATION.md.
"""

import dataclasses
import functools

from nvc_jax.errors import ConfigError
from nvc_jax.models.codecs import kd_small_s, kd_small_t
from nvc_jax.training.config import Logging, Stage, TrainConfig
from nvc_jax.training.settings import load_config

STUDENTS = {"s": kd_small_s, "t": kd_small_t}


def get_config(student: str = "s") -> TrainConfig:
    """Configure the run of a student, `s` or `t`."""
    if student not in STUDENTS:
        raise ConfigError(f"unknown student {student!r}; available: {', '.join(STUDENTS)}.")
    video = functools.partial(Stage, frames=4, train="inter", batch=8, clip_norm=0.5)
    return dataclasses.replace(
        load_config("rt_small"),
        codec=STUDENTS[student],
        stages=(
            video("distil", steps=600, learning_rate=3e-4, warmup_steps=50, distil=1.0),
            video("finish", steps=300, learning_rate=3e-4, decay_from=0.1, final_share=0.02, carry_optimiser=True),
        ),
        logging=Logging(checkpoint_steps=300),
        transform_init=False,  # from the teacher's parameters
        average_decay=0.99,
        significant_bits=11,
        int8_kernels=False,
    )
