"""`nvc-jax search` and tools/search.py: AE-NAS. JAX is imported once the arguments are parsed."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from nvc_jax.cli.arguments import parse_size
from nvc_jax.cli.program import run_command
from nvc_jax.errors import ConfigError

DESCRIPTION = """Search a smaller architecture for the decoder of a trained codec.

Every variant of a module alone takes the place of the teacher's, is trained shortly, timed in turns with the teacher,
and evaluated; the architecture of the best speed-up per loss among those that reach the target is computed from these
figures. The same command goes on with a search that was stopped. Writes search.json, search.md, plots, and for each
chosen architecture its configuration and a model to start from, so that training it is:
nvc-jax train --config RECIPE --workdir DIR codec=OUTPUT/students/NAME.json init=OUTPUT/students/NAME \
    teacher.model=TEACHER data.source=FOLDER
"""


def main(argv: Sequence[str] | None = None, prog: str = "nvc-jax search") -> int:
    """Search; returns the exit code: 0 success, 1 bad input or a missed target, 2 usage, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = _parser(prog, required="--list" not in arguments)
    return run_command(parser, functools.partial(_run, prog), arguments)


def _run(prog: str, options: argparse.Namespace) -> int:
    if options.list:
        return _list(options)
    try:
        result = _search(options, lambda line: print(line, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; the same command goes on from there.", file=sys.stderr)
        return 130
    print(result["markdown"])
    for sentence in result.get("missed", []):
        print(f"{prog}: {sentence}", file=sys.stderr)
    return 1 if result.get("missed") else 0


def _parser(prog: str, required: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="NAME|DIR", help="the teacher")
    parser.add_argument(
        "--videos", required=required, nargs="+", metavar="GLOB", help="to evaluate on; few, of one size, are fastest"
    )
    parser.add_argument("--data", required=required, metavar="FOLDER", help="training clips")
    parser.add_argument(
        "--target-speedup",
        type=float,
        nargs="+",
        default=[0.6, 1.0],
        metavar="S",
        help="of decoding, 0.6 for 60 %% (default: 0.6 and 1.0)",
    )
    parser.add_argument("--output", required=required, type=Path, metavar="DIR", help="folder of the search")
    parser.add_argument(
        "--list", action="store_true", help="only list the candidates of --model, or of a codec, and exit"
    )
    parser.add_argument(
        "--check",
        type=int,
        default=0,
        metavar="N",
        help="also train N whole architectures shortly, to compare their losses with the predicted ones, and uniform "
        "reductions of the speed of those chosen",
    )
    training = parser.add_argument_group("short training of a candidate")
    training.add_argument(
        "--recipe", metavar="NAME|FILE.py", help="for loss and optimiser (default: the teacher's name)"
    )
    training.add_argument("--steps", type=int, metavar="N")
    training.add_argument("--batch", type=int, metavar="N", help="clips in a step")
    training.add_argument("--clip-frames", type=int, metavar="N", help="pictures in a clip")
    training.add_argument("--crop", type=int, metavar="PIXELS", help="side of its pictures")
    training.add_argument("--learning-rate", type=float, metavar="R")
    training.add_argument(
        "--start",
        choices=("slices", "random"),
        help="of layers whose shape changed: slices of the teacher's weights (default), or random values",
    )
    training.add_argument("--seed", type=int, metavar="N")
    measuring = parser.add_argument_group("measurements")
    measuring.add_argument("--qps", type=int, nargs="+", metavar="Q", help="of the curves, at least four")
    measuring.add_argument("--frames", type=int, metavar="N", help="of every video")
    measuring.add_argument("--precision", metavar="NAME", help="of timing and evaluation")
    measuring.add_argument("--speed-size", metavar="WxH", help="of the pictures for timing")
    measuring.add_argument("--runs", type=int, metavar="N", help="of every timed part")
    return parser


def _search(options: argparse.Namespace, note: Any) -> dict[str, Any]:
    from nvc_jax.codec.runtime import prepare_process

    prepare_process()
    try:
        from nvc_jax.evaluation.sequences import from_files
        from nvc_jax.search.report import write_report
        from nvc_jax.search.run import Task, search
        from nvc_jax.search.settings import Settings
    except ImportError as error:
        raise ConfigError(f'{error}; pip install "nvc-jax[eval,train]".') from None
    given = {
        field.name: getattr(options, field.name)
        for field in fields(Settings)
        if getattr(options, field.name, None) is not None
    }
    if options.qps is not None:
        given["qps"] = tuple(options.qps)
    if options.speed_size is not None:
        given["speed_size"] = parse_size(options.speed_size, "--speed-size")
    settings = Settings(**given)
    videos = tuple(replace(video, frames=settings.frames) for video in from_files(options.videos))
    task = Task(options.model, videos, options.output, tuple(options.target_speedup), options.check, settings)
    result = search(task, note)
    return result | {"markdown": write_report(options.output, result)}


def _list(options: argparse.Namespace) -> int:
    from nvc_jax.codec.descriptions import find_codec
    from nvc_jax.search.report import candidate_table

    print(candidate_table(find_codec(options.model)))
    return 0
