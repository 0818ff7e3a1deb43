"""The first inter stages of the full recipe on a clip that needs no files, to measure how fast they train."""

import dataclasses
from pathlib import Path

from nvc_jax.training.config import DEMO, TrainConfig
from nvc_jax.training.settings import load_config

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "dcvc_rt.py"


def get_config() -> TrainConfig:
    """The stages that update once per frame, each by itself."""
    config = load_config(RECIPE)
    stages = tuple(
        dataclasses.replace(stage, carry_optimiser=False) for stage in config.stages if stage.name.startswith("stage0")
    )
    return dataclasses.replace(config, stages=stages, data=dataclasses.replace(config.data, source=DEMO))
