"""The students of KD-NVC, distilled from converted official weights of DCVC-RT: S decodes 1.7 times as fast, T 2.2.

Run: nvc-jax convert cvpr2025_image.pth.tar cvpr2025_video.pth.tar teacher
     python train.py --config configs/kd_nvc.py:s --workdir DIR data.source=FOLDER teacher.model=teacher

The student takes from its teacher whatever agrees: the intra network, which is not trained, encoder and entropy
model, and the first blocks of the modules that became smaller. The paper gives loss, features and beta, 1 in a first
stage and 0 afterwards; stages, learning rates and batches are ours, those of `dcvc_rt` in a shorter form. For a
search of another student see docs/SEARCH.md, for kinds of distillation and frozen parts docs/DISTILLATION.md.

Meant for several GPUs. Not run so far, so there are no results; the authors' are in the paper.
"""

import functools

from nvc_jax.errors import ConfigError
from nvc_jax.models.codecs import kd_nvc_s, kd_nvc_t
from nvc_jax.training.config import Data, Evaluation, Logging, Stage, TrainConfig

STUDENTS = {"s": kd_nvc_s, "t": kd_nvc_t}


def get_config(student: str = "s") -> TrainConfig:
    """Configure the run of a student, `s` or `t`."""
    if student not in STUDENTS:
        raise ConfigError(f"unknown student {student!r}; available: {', '.join(STUDENTS)}.")
    video = functools.partial(Stage, train="inter", size=256, carry_optimiser=True)
    cascaded = functools.partial(video, batch=8, remat=True)
    return TrainConfig(
        codec=STUDENTS[student],
        stages=(
            video(
                "efd_6",
                6,
                mode="plain",
                epochs=15,
                batch=16,
                learning_rate=1e-4,
                warmup_steps=1000,
                distil=1.0,
                carry_optimiser=False,
            ),
            cascaded("efd_16", 16, epochs=5, learning_rate=5e-5, distil=1.0),
            cascaded("finish_32", 32, epochs=10, learning_rate=5e-5),
            cascaded("finish_32_slow", 32, epochs=5, learning_rate=5e-6),
            cascaded("finish_33", 33, epochs=5, learning_rate=5e-6, size=512, carry_optimiser=False),
        ),
        data=Data(epoch="clips", threads=16, prefetch=8),
        evaluation=Evaluation(frames=32),
        logging=Logging(checkpoint_steps=1000),
    )
