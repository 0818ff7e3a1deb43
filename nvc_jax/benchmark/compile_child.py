"""The child of `nvc-jax compile`, which compiles for one target: python -m nvc_jax.benchmark.compile_child."""

import dataclasses
import fnmatch
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvc_jax.benchmark.compiled import compile_for
from nvc_jax.benchmark.device_programs import DeviceProgram, coding_programs
from nvc_jax.benchmark.subject import load
from nvc_jax.benchmark.targets import find
from nvc_jax.cli.arguments import parse_size
from nvc_jax.codec.descriptions import find_codec
from nvc_jax.errors import ConfigError, NvcError
from nvc_jax.models.params import ParamTree
from nvc_jax.training.abstract import abstract_step, distinct_stages
from nvc_jax.training.config import Stage
from nvc_jax.training.data import Batch
from nvc_jax.training.processes import DEVICES
from nvc_jax.training.settings import load_config
from nvc_jax.training.step import Metrics, TrainState

GRIDS = ((1, 1), (2, 2), (4, 4))  # of chips that train together


def main() -> int:
    """Compile for one target, as the child of `compiled_rows`."""
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


def training_steps(request: dict[str, Any]) -> dict[str, Callable[[], DeviceProgram]]:
    """Prepare the steps of a recipe by name, on one chip and on grids, to be made when needed."""
    if request["precision"] not in ("float32", "bfloat16"):
        return {}
    config = dataclasses.replace(load_config(request["config"]), precision=request["precision"])
    given = request.get("teacher") or config.teacher.model
    teacher = find_codec(given) if given else None

    def step(stage: Stage, grid: tuple[int, int]) -> DeviceProgram:
        chips = grid[0] * grid[1]
        made = abstract_step(config, stage, chips, request["batch"], teacher)

        def taught(state: TrainState, batch: Batch, teacher: ParamTree | None) -> tuple[TrainState, Metrics]:
            return made.step(state, batch, teacher=teacher)

        axis = DEVICES if chips > 1 else ""
        return DeviceProgram(taught, (made.state, made.batch, made.teacher), (0,), grid, axis, split=(1,))

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
