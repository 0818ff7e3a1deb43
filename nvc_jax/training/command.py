"""`nvc-jax train` and train.py. JAX is imported once the arguments are parsed, so that --help is instant."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nvc_jax.cli.program import EXIT_BAD_INPUT, EXIT_OK, run_command, show_error
from nvc_jax.errors import ConfigError, NvcError, TrainingError

if TYPE_CHECKING:
    from nvc_jax.training.config import TrainConfig
    from nvc_jax.training.run import Outcome


def main(argv: Sequence[str] | None = None, prog: str = "nvc-jax train") -> int:
    """Train; the exit code is 0 on success, 1 for bad input, 2 for usage, 128 + N after signal N."""
    return run_command(_parser(prog), _join, argv, intermixed=True)  # settings may stand anywhere


def _join(options: argparse.Namespace) -> int:
    """Train with the other processes; after an error exit at once, as they would wait for this one and it for them."""
    from nvc_jax.training.processes import join

    many = join(options.coordinator, options.num_processes, options.process_id)
    try:
        return _report(options, _train(options))
    except Exception as error:
        if not many:
            raise
        if isinstance(error, NvcError):
            show_error(options.prog, error)
        else:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(EXIT_BAD_INPUT)


def _report(options: argparse.Namespace, outcome: Outcome) -> int:
    """Say where the run is; gives the exit code."""
    place = f"{outcome.model}: the model of " if outcome.model else ""
    if outcome.signal is not None:
        print(
            f"{options.prog}: stopped by {outcome.signal.name} at step {outcome.step} of {outcome.steps}; the same "
            "command resumes from there.",
            file=sys.stderr,
        )
        return 128 + outcome.signal
    print(f"{place}step {outcome.step} of {outcome.steps}")
    return EXIT_OK


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train a codec. The same command resumes a run that was stopped or killed.",
    )
    parser.add_argument(
        "--config", required=True, metavar="NAME|FILE.py",
        help="packaged configuration (smoke, dcvc_rt, ...), or a Python file with get_config() -> TrainConfig",
    )  # fmt: skip
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the run: metrics, checkpoints, model")
    parser.add_argument("--steps", type=_positive, help="stop at this step of the run, without changing its schedule")
    parser.add_argument(
        "--seconds",
        type=_positive,
        metavar="N",
        help="train for N seconds, startup and compilation included, over all calls of the run: stages share this time "
        "instead of counting steps, and complete their decay in it (needs data.on_device=true)",
    )
    parser.add_argument("--init", help="start from a model directory or a packaged model (the same as init=DIR)")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0 of several")
    parser.add_argument("--num-processes", type=_positive, metavar="N", help="number of processes")
    parser.add_argument("--process-id", type=int, metavar="I", help="index of this process, from 0")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="a setting of the configuration, e.g. stages.0.steps=10"
    )
    parser.set_defaults(prog=prog)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def configured(options: argparse.Namespace) -> TrainConfig:
    """Load the configuration and apply the overrides.

    Raises:
        ConfigError: the configuration does not load, or an override does not fit.
    """
    from nvc_jax.training.settings import load_config, override

    overrides = [*options.overrides, *([f"init={options.init}"] if options.init else [])]
    config = load_config(options.config)
    if options.init and config.transform_init:
        overrides.insert(0, "transform_init=false")
    return override(config, overrides)


def _train(options: argparse.Namespace) -> Outcome:
    import jax

    from nvc_jax.codec.runtime import prepare_process

    config = configured(options)
    prepare_process()
    try:
        from nvc_jax.training.run import train  # needs the extra packages of training
    except ImportError as error:
        raise ConfigError(f'{error}; pip install "nvc-jax[train]".') from None
    try:
        return train(
            config,
            options.workdir,
            options.steps,
            lambda text: print(f"{options.prog}: {text}", file=sys.stderr),
            options.seconds,
            lambda line: print(line, file=sys.stderr, flush=True),
        )
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise TrainingError(
            "not enough memory; set a smaller batch or size, stages.N.remat=true, or a smaller data.memory_mb."
        ) from None
