"""The command line of train.py."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from nvc_jax.codec.runtime import prepare_process
from nvc_jax.errors import ConfigError, NvcError, TrainingError
from nvc_jax.training.config import TrainConfig
from nvc_jax.training.processes import join
from nvc_jax.training.settings import load_config, override

if TYPE_CHECKING:
    from nvc_jax.training.run import Outcome


def main(argv: Sequence[str] | None = None) -> int:
    """Train; returns the exit code (0 well, 1 bad input, 2 usage, 128 + N stopped by signal N)."""
    parser = _parser()
    try:
        options = parser.parse_intermixed_args(argv)  # settings may stand anywhere
    except SystemExit as exit_:
        return int(exit_.code or 0)
    many = False
    try:
        many = join(options.coordinator, options.num_processes, options.process_id)
        outcome = _train(options)
    except NvcError as error:
        print(f"train.py: {error}", file=sys.stderr, flush=True)
        return _leave(many)
    except Exception:
        if not many:
            raise
        traceback.print_exc()
        return _leave(many)
    place = f"{outcome.model}: the model of " if outcome.model else ""
    if outcome.signal is not None:
        print(
            f"train.py: stopped by {outcome.signal.name} at step {outcome.step} of {outcome.steps}; the same command "
            "goes on from there.",
            file=sys.stderr,
        )
        return 128 + outcome.signal
    print(f"{place}step {outcome.step} of {outcome.steps}")
    return 0


def _leave(many: bool) -> int:
    """The exit code; where there are other processes, leave at once rather than wait for them as they wait for this."""
    if many:
        sys.stderr.flush()
        os._exit(1)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Train a codec, or go on with a run. The same command resumes a run that was stopped or killed.",
    )
    parser.add_argument("--config", type=Path, required=True, help="Python file with get_config() -> TrainConfig")
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the run: metrics, checkpoints, model")
    parser.add_argument("--steps", type=_positive, help="stop when the run has this many steps; its schedule stays")
    parser.add_argument(
        "--seconds",
        type=_positive,
        metavar="N",
        help="train for N seconds, start and compilation included, all calls of the run together: the stages share out "
        "this time instead of their steps, and end their decay in it (for data.on_device=true)",
    )
    parser.add_argument("--init", help="start from a model directory or a packaged model (the same as init=DIR)")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, for a run of several processes")
    parser.add_argument("--num-processes", type=_positive, metavar="N", help="how many processes the run has")
    parser.add_argument("--process-id", type=int, metavar="I", help="number of this process, from 0")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="a setting of the configuration, such as stages.0.steps=10"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def configured(options: argparse.Namespace) -> TrainConfig:
    """The configuration that the arguments ask for.

    Raises:
        ConfigError: there is none, or an override does not fit.
    """
    overrides = [*options.overrides, *([f"init={options.init}"] if options.init else [])]
    config = load_config(options.config)
    if options.init and config.transform_init:
        overrides.insert(0, "transform_init=false")
    return override(config, overrides)


def _train(options: argparse.Namespace) -> Outcome:
    config = configured(options)
    prepare_process()
    try:
        from nvc_jax.training.run import train  # needs what only training needs
    except ImportError as error:
        raise ConfigError(f'{error}; pip install "nvc-jax[train]".') from None
    try:
        return train(
            config,
            options.workdir,
            options.steps,
            lambda text: print(f"train.py: {text}", file=sys.stderr),
            options.seconds,
        )
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise TrainingError(
            "not enough memory; set a smaller batch or size, stages.N.remat=true, or a smaller data.memory_mb."
        ) from None
