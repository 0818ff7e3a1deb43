"""`nvc-jax compile`: the codec for absent chips, with kernels, bytes, memory and roofline times."""

import argparse
import functools
import json
import os
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console

from nvc_jax.benchmark import targets
from nvc_jax.benchmark.compile_children import compiled_rows
from nvc_jax.benchmark.compile_tables import plot, print_comparison, print_table
from nvc_jax.cli.arguments import parse_size
from nvc_jax.cli.program import run_command
from nvc_jax.errors import ConfigError
from nvc_jax.io.files import atomic_output
from nvc_jax.spec import PRECISION_NAMES

RECIPE = "dcvc_rt"
CHILD = ("-m", "nvc_jax.benchmark.compile_child")

SETTINGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "JAX_OPTIMIZATION_LEVEL")  # user settings of XLA's compilers
TRAINING_PROGRAMS = "train_2*,train_6,train_32"
DEFAULT_PROGRAMS = "encode,picture,decode,decode_4,intra_*,stage_*"


DESCRIPTION = """Compile the codec for absent chips, and report kernels, bytes, memory and roofline times.

Writes OUT.json and the plot OUT.png. Needs `pip install 'nvc-jax[compile]'`, in a separate environment: with these
packages JAX would look for their devices first.
"""


def main(argv: Sequence[str] | None = None, prog: str = "nvc-jax compile") -> int:
    """Compile, write, and print; returns the exit code: 0 success, 1 bad input, 2 usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run_command(_parser(prog), functools.partial(_compile, " ".join([prog, *arguments])), arguments)


def _compile(command: str, options: argparse.Namespace) -> None:
    before = None if options.before is None else older_result(options.before)
    result = measure(options, command, Console(stderr=True))
    if options.output is not None:
        write(Path(options.output).with_suffix(".png"), plot(result))
    console = Console(width=None if sys.stdout.isatty() else 170)
    print_table(result, console)
    if before is not None:
        print_comparison(before, result, console)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", action="append", required=True, metavar="CHIP[,CHIP]", help="h100, v5e, ...")
    parser.add_argument("--model", default="dcvc_rt", metavar="NAME|DIR", help="model or configuration")
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--precision", choices=PRECISION_NAMES, default="bfloat16")
    parser.add_argument("--strategy", help="kernel backend (default: xla, for int16 int8)")
    parser.add_argument(
        "--programs", default=DEFAULT_PROGRAMS, metavar="NAME,...", help="names or patterns (default: %(default)s)"
    )
    parser.add_argument("--training", action="store_true", help=f"add {TRAINING_PROGRAMS}")
    parser.add_argument("--config", default=RECIPE, metavar="NAME|FILE.py", help="recipe of the training steps")
    parser.add_argument("--teacher", metavar="NAME|DIR", help="architecture of the teacher of a distilling recipe")
    parser.add_argument("--batch", type=int, help="clips per chip (default: the stage's batch over all chips)")
    parser.add_argument("--limit", type=float, default=600.0, metavar="S", help="seconds for one program")
    parser.add_argument("--hlo", metavar="DIR", help="also write the optimised HLO of each program")
    parser.add_argument("--before", type=Path, metavar="OLD.json", help="an older result to compare with")
    parser.add_argument("--output", metavar="OUT.json")
    return parser


def older_result(path: Path) -> dict[str, Any]:
    """Read a result of this program.

    Raises:
        ConfigError: the file is not such a result.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        result["targets"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path}: is not a result of nvc-jax compile ({error}).") from None
    return result


def measure(options: argparse.Namespace, command: str, progress: Console) -> dict[str, Any]:
    """Compile for one target after the other, and write the result after every program."""
    chosen = [targets.find(name) for names in options.target for name in names.split(",")]
    if options.limit <= 0:
        raise ConfigError(f"--limit is {options.limit:g}; it must be above 0.")
    if options.batch is not None and options.batch < 1:
        raise ConfigError(f"--batch is {options.batch}; it must be at least 1.")
    parse_size(options.size)
    for target in chosen:
        target.check_installed()
    names = "model", "size", "precision", "strategy", "hlo", "config", "batch", "teacher"
    request = {name: getattr(options, name) for name in names}
    programs = options.programs.split(",") + (TRAINING_PROGRAMS.split(",") if options.training else [])
    found: dict[str, Any] = {}
    result = {
        "date": date.today().isoformat(),
        "command": command,
        **{name: request[name] for name in ("model", "size", "precision", "strategy")},
        "environment": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "launch_us": 1e6 * targets.LAUNCH_S,
        "versions": targets.versions(),
        "targets": found,
    }
    for target in chosen:
        about = {"bandwidth": target.bandwidth, "memory_bytes": target.memory_bytes}
        found[target.name] = {"peaks": dict(target.peaks), **about, "programs": {}}

        def show(program: str, chip: str = target.name) -> None:
            progress.print(f"{chip}: {program}")

        for name, row in compiled_rows(
            [sys.executable, *CHILD],
            request | {"target": target.name, "programs": programs},
            target.environment(),
            options.limit,
            show,
        ):
            found[target.name]["programs"][name] = row
            if options.output is not None:
                write(Path(options.output), (json.dumps(result, indent=1) + "\n").encode())
    return result


def write(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_output(path) as file:
        file.write(data)
