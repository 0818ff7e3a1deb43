"""The first inter stages of the full recipe on the demo clip, to benchmark training."""

import dataclasses
from pathlib import Path

from nvc_jax.training.config import DEMO, TrainConfig
from nvc_jax.training.settings import load_config

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "dcvc_rt.py"


def get_config() -> TrainConfig:
    """Select the stages that update once per frame, each standing alone."""
    config = load_config(RECIPE)
    stages = tuple(
        dataclasses.replace(stage, carry_optimiser=False) for stage in config.stages if stage.name.startswith("stage0")
    )
    return dataclasses.replace(config, stages=stages, data=dataclasses.replace(config.data, source=DEMO))
