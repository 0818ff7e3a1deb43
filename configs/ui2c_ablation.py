"""The rows of UI2C's ablation (its Table 3) and two more: small codecs of one cost, at a tenth of the steps.

Run: python train.py --config configs/ui2c_ablation.py:ROW --workdir DIR data.source=FOLDER_OF_VIDEOS

A tenth of the steps of `ui2c_small`, with its data, loss and optimiser, and as many pictures in each row; none is
trained for int8 kernels.

| row | network | kMAC per pixel, encode / decode |
|---|---|---|
| separate | an intra network, and an inter one: `rt_small` | inter 24.3 / 23.2, intra 20.9 / 16.0 |
| unified | the inter network of `rt_small` alone, from a blank picture on | 24.3 / 23.2 |
| two_pictures | `ui2c_small`, whose first reference is always blank | 24.2 / 23.3 |
| hybrid | the full model: a blank, a true or a noisy one | 24.2 / 23.3 |
| late_blank | the true one first, a blank one with probability 0.5 in the last stage | 24.2 / 23.3 |
| separate_heads | as `hybrid`, a reconstruction of its own for each picture of a pair | 24.2 / 23.3 |

The first stage of `separate` is divided: half of its pictures train the intra network.
"""

import dataclasses

from nvc_jax.errors import ConfigError
from nvc_jax.models.codecs import rt_small, ui2c_small
from nvc_jax.models.config import CodecConfig, PairConfig, Stack, UnifiedConfig
from nvc_jax.training.config import Stage, TrainConfig
from nvc_jax.training.references import with_references
from nvc_jax.training.settings import load_config
from nvc_jax.training.transform_init import scales_of

SHARE = 10  # of the steps of `ui2c_small`: one in ten

UNIFIED = UnifiedConfig(**vars(rt_small["inter"]), adaptor=Stack(1, 128))
HEADS: PairConfig = dataclasses.replace(ui2c_small["pair"], heads=2, recon=Stack(2, 256))
CODECS = {
    "separate": dataclasses.replace(rt_small, name="ablation_separate"),
    "unified": CodecConfig("ablation_unified", (("unified", UNIFIED),), first="unified", rest="unified"),
    "two_pictures": dataclasses.replace(ui2c_small, name="ablation_two_pictures"),
    "hybrid": dataclasses.replace(ui2c_small, name="ablation_hybrid"),
    "late_blank": dataclasses.replace(ui2c_small, name="ablation_late_blank"),
    "separate_heads": dataclasses.replace(ui2c_small.replace("pair", HEADS), name="ablation_separate_heads"),
}
REFERENCES_OF = {"unified": "blank", "two_pictures": "blank", "late_blank": "late_blank"}


def get_config(row: str = "hybrid") -> TrainConfig:
    """Configure the run of a row."""
    if row not in CODECS:
        raise ConfigError(f"unknown row {row!r}; available: {', '.join(CODECS)}.")
    full = load_config("ui2c_small")
    stages = tuple(
        dataclasses.replace(stage, steps=max(1, stage.steps // SHARE), warmup_steps=stage.warmup_steps // SHARE)
        for stage in full.stages
        if not stage.rounded
    )
    if row == "separate":
        stages = tuple(_separate(stages))
    else:
        stages = with_references(stages, REFERENCES_OF.get(row, "hybrid"), late=1)
    codec = CODECS[row]
    optimiser = dataclasses.replace(full.optimiser, scales=scales_of(codec))
    exported = {"average_decay": 0.98, "significant_bits": 11, "int8_kernels": False}
    return dataclasses.replace(full, codec=codec, stages=stages, optimiser=optimiser, **exported)


def _separate(stages: tuple[Stage, ...]) -> list[Stage]:
    """The stages for an intra and an inter network, with as many pictures: a clip of `ui2c_small` codes all but one."""
    first, *others = stages
    coded = (first.frames - 1) // 2  # of a clip, by each of both
    batch = dataclasses.replace(first, batch=first.batch * coded)
    pictures = dataclasses.replace(batch, name="pictures", frames=1, train="intra")
    video = dataclasses.replace(batch, name="video_2", frames=2, train="inter", first_reference="original")
    return [pictures, video, *(dataclasses.replace(stage, train="inter") for stage in others)]
