"""The command line of train.py."""

import argparse
import dataclasses
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import numpy.typing as npt

from nvc_jax.codec.store import make_model, save_model
from nvc_jax.errors import ConfigError, NvcError
from nvc_jax.models.params import ParamTree
from nvc_jax.training.config import TrainConfig
from nvc_jax.training.loop import train


def main(argv: Sequence[str] | None = None) -> int:
    """Train; returns the exit code (0 well, 1 bad input, 2 usage)."""
    parser = argparse.ArgumentParser(prog="train.py", description="Train a codec on one device.")
    parser.add_argument("--config", type=Path, required=True, help="Python file with get_config() -> TrainConfig")
    parser.add_argument("--data", type=Path, required=True, help="folder of videos")
    parser.add_argument("--workdir", type=Path, required=True, help="metrics.jsonl and the model directory go here")
    parser.add_argument("--steps", type=int, help="stop after this many steps")
    try:
        options = parser.parse_args(argv)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    try:
        config = load_config(options.config)
        if options.steps is not None:
            config = shortened(config, options.steps)
        source = f"trained by {options.config.name}"

        def save(params: ParamTree) -> None:
            kept = rounded(params, config.significant_bits)
            save_model(options.workdir / "model", make_model(config.codec, kept, source))

        train(config, options.data, options.workdir, save)
    except NvcError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    print(f"{options.workdir / 'model'}: use it with nvc-jax encode --model")
    return 0


def load_config(path: Path) -> TrainConfig:
    """Run a configuration file.

    Raises:
        ConfigError: there is no such file, or it gives no configuration.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"{path}: no such configuration; those of the project are in configs/.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config() if hasattr(module, "get_config") else None
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"{path}: get_config() must return a TrainConfig.")
    return config


def rounded(params: ParamTree, significant_bits: int) -> ParamTree:
    """Parameters rounded to a number of significant bits; compression takes out the zeros that follow."""

    def round_leaf(leaf: npt.ArrayLike) -> npt.NDArray[np.float32]:
        mantissa, exponent = np.frexp(np.asarray(leaf, np.float32))
        return np.ldexp(np.round(np.ldexp(mantissa, significant_bits)), exponent - significant_bits).astype(np.float32)

    return jax.tree.map(round_leaf, params)


def shortened(config: TrainConfig, steps: int) -> TrainConfig:
    """The same run cut after a number of steps; the learning rate follows the shorter run."""
    if steps < 1:
        raise ConfigError(f"--steps is {steps}; it must be at least 1.")
    stages, left = [], steps
    for stage in config.stages:
        if left > 0:
            stages.append(dataclasses.replace(stage, steps=min(stage.steps, left)))
            left -= stages[-1].steps
    return dataclasses.replace(config, stages=tuple(stages))
