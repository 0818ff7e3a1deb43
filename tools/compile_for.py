"""Compile the codec for absent chips, and report kernels, bytes, memory and roofline times.

python tools/compile_for.py --target h100 --target v5e [--model NAME|DIR] [--size WxH] [--precision P]
    [--programs encode,picture,decode] --output OUT.json

Writes OUT.json and the plot OUT.png. Needs `pip install '.[compile]'`, in a separate environment: with these packages
JAX would look for their devices first.
"""

import argparse
import dataclasses
import fnmatch
import functools
import json
import os
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nvc_jax.benchmark import targets
from nvc_jax.benchmark.compile_children import compiled_rows
from nvc_jax.cli.arguments import parse_size
from nvc_jax.errors import ConfigError, NvcError
from nvc_jax.io.files import atomic_output
from nvc_jax.spec import PRECISION_NAMES

if TYPE_CHECKING:
    from nvc_jax.benchmark.device_programs import DeviceProgram
    from nvc_jax.training.config import Stage

RECIPE = Path(__file__).resolve().parent.parent / "configs" / "dcvc_rt.py"

SETTINGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "JAX_OPTIMIZATION_LEVEL")  # user settings of XLA's compilers
GRIDS = ((1, 1), (2, 2), (4, 4))  # of chips that train together
TRAINING_PROGRAMS = "train_2*,train_6,train_32"
DEFAULT_PROGRAMS = "encode,picture,decode,decode_4,intra_*,stage_*"


def main() -> int:
    """Compile, write, and print."""
    if sys.argv[1:] == ["--child"]:
        return child()
    from nvc_jax.benchmark.compile_tables import plot, print_comparison, print_table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", required=True, metavar="CHIP[,CHIP]", help="h100, v5e, ...")
    parser.add_argument("--model", default="dcvc_rt", metavar="NAME|DIR", help="model or configuration")
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--precision", choices=PRECISION_NAMES, default="bfloat16")
    parser.add_argument("--strategy", help="kernel backend (default: xla, for int16 int8)")
    parser.add_argument(
        "--programs", default=DEFAULT_PROGRAMS, metavar="NAME,...", help="names or patterns (default: %(default)s)"
    )
    parser.add_argument("--training", action="store_true", help=f"add {TRAINING_PROGRAMS}")
    parser.add_argument("--config", default=str(RECIPE), metavar="FILE.py", help="recipe of the training steps")
    parser.add_argument("--batch", type=int, help="clips per chip (default: the stage's batch over all chips)")
    parser.add_argument("--limit", type=float, default=600.0, metavar="S", help="seconds for one program")
    parser.add_argument("--hlo", metavar="DIR", help="also write the optimised HLO of each program")
    parser.add_argument("--before", type=Path, metavar="OLD.json", help="an older result to compare with")
    parser.add_argument("--output", metavar="OUT.json")
    options = parser.parse_args()
    progress = Console(stderr=True)
    try:
        before = None if options.before is None else older_result(options.before)
        result = measure(options, progress)
        if options.output is not None:
            write(Path(options.output).with_suffix(".png"), plot(result))
    except NvcError as error:
        print(f"compile_for.py: {error}", file=sys.stderr)
        return 1
    console = Console(width=None if sys.stdout.isatty() else 170)
    print_table(result, console)
    if before is not None:
        print_comparison(before, result, console)
    return 0


def older_result(path: Path) -> dict[str, Any]:
    """Read a result of this program.

    Raises:
        ConfigError: the file is not such a result.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        result["targets"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path}: is not a result of compile_for.py ({error}).") from None
    return result


def measure(options: argparse.Namespace, progress: Console) -> dict[str, Any]:
    """Compile for one target after the other, and write the result after every program."""
    chosen = [targets.find(name) for names in options.target for name in names.split(",")]
    if options.limit <= 0:
        raise ConfigError(f"--limit is {options.limit:g}; it must be above 0.")
    if options.batch is not None and options.batch < 1:
        raise ConfigError(f"--batch is {options.batch}; it must be at least 1.")
    parse_size(options.size)
    for target in chosen:
        target.check_installed()
    request = {
        name: getattr(options, name) for name in ("model", "size", "precision", "strategy", "hlo", "config", "batch")
    }
    programs = options.programs.split(",") + (TRAINING_PROGRAMS.split(",") if options.training else [])
    found: dict[str, Any] = {}
    result = {
        "date": date.today().isoformat(),
        "command": " ".join(["python", "tools/compile_for.py", *sys.argv[1:]]),
        **{name: request[name] for name in ("model", "size", "precision", "strategy")},
        "environment": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "launch_us": 1e6 * targets.LAUNCH_S,
        "versions": targets.versions(),
        "targets": found,
    }
    for target in chosen:
        about = {"bandwidth": target.bandwidth, "memory_bytes": target.memory_bytes}
        found[target.name] = {"peaks": dict(target.peaks), **about, "programs": {}}
        for name, row in compiled_rows(
            [sys.executable, str(Path(__file__).resolve()), "--child"],
            request | {"target": target.name, "programs": programs},
            target.environment(),
            options.limit,
            lambda name, target=target: progress.print(f"{target.name}: {name}"),
        ):
            found[target.name]["programs"][name] = row
            if options.output is not None:
                write(Path(options.output), (json.dumps(result, indent=1) + "\n").encode())
    return result


def write(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_output(path) as file:
        file.write(data)


def child() -> int:
    """Compile for one target, as the child of `compiled_rows`."""
    from nvc_jax.benchmark.compiled import compile_for
    from nvc_jax.benchmark.device_programs import coding_programs
    from nvc_jax.benchmark.subject import load
    from nvc_jax.benchmark.targets import find

    request = json.loads(sys.stdin.read())
    answers = sys.stdout
    sys.stdout = sys.stderr

    def answer(**line: Any) -> None:
        print(json.dumps(line), file=answers, flush=True)

    try:
        target = find(request["target"])
        target.devices()
        strategy = request["strategy"] or ("int8" if request["precision"] == "int16" else "xla")
        programs: dict[str, DeviceProgram] = {}
        if not all(pattern.startswith("train") for pattern in request["programs"]):
            codec, _ = load(
                request["model"], request["precision"], strategy, {"cuda": "gpu"}.get(target.platform, target.platform)
            )
            programs = coding_programs(codec, *parse_size(request["size"]))
        steps = training_steps(request)
        names = selected([*programs, *steps], request["programs"])
    except NvcError as error:
        answer(error=str(error))
        return 1
    answer(names=names)
    for name in names:
        hlo = Path(request["hlo"]) / f"{target.name}_{name}.hlo" if request["hlo"] else None
        try:
            row = compile_for(programs[name] if name in programs else steps[name](), target, hlo)
        except NvcError as error:
            row = {"failed": str(error)}
        answer(program=name, row=row)
    return 0


def training_steps(request: dict[str, Any]) -> dict[str, Callable[[], "DeviceProgram"]]:
    """Prepare the steps of a recipe by name, on one chip and on grids, to be made when needed."""
    from nvc_jax.benchmark.device_programs import DeviceProgram
    from nvc_jax.training.abstract import abstract_step, distinct_stages
    from nvc_jax.training.processes import DEVICES
    from nvc_jax.training.settings import load_config

    if request["precision"] not in ("float32", "bfloat16"):
        return {}
    config = dataclasses.replace(load_config(Path(request["config"])), precision=request["precision"])

    def step(stage: "Stage", grid: tuple[int, int]) -> "DeviceProgram":
        chips = grid[0] * grid[1]
        made = abstract_step(config, stage, chips, request["batch"])
        axis = DEVICES if chips > 1 else ""
        return DeviceProgram(made.step, (made.state, made.batch), (0,), grid, axis, split=(1,))

    return {
        name + (f"@{grid[0]}x{grid[1]}" if grid != (1, 1) else ""): functools.partial(step, stage, grid)
        for name, stage in distinct_stages(config)
        for grid in GRIDS
    }


def selected(names: list[str], patterns: list[str]) -> list[str]:
    """Select the names that match a pattern.

    Raises:
        ConfigError: a pattern matches none.
    """
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ConfigError(f"unknown program {pattern!r}; available: {', '.join(names)}.")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


if __name__ == "__main__":
    raise SystemExit(main())
