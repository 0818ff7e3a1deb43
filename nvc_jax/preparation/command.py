"""`nvc-jax prepare`: a folder of long videos to training sequences."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from nvc_jax.cli.program import run_command, with_options
from nvc_jax.errors import ConfigError
from nvc_jax.preparation.cuts import CUT
from nvc_jax.preparation.prepare import Progress, prepare
from nvc_jax.preparation.sequences import Rules

DESCRIPTION = """Cut long videos into training sequences: consecutive frames of one scene, with some motion, downsampled
by whole numbers, stored losslessly in the folder that train.py reads (data.source). The same command goes on
after an interruption, and gives the same bytes with any number of workers."""
SECONDS = 10.0  # from line to line


def main(argv: Sequence[str] | None = None, prog: str = "nvc-jax prepare") -> int:
    """Prepare; returns the exit code: 0 success, 1 bad input or unreadable videos, 2 usage."""
    return run_command(_parser(prog), _prepare, argv)


def _prepare(options: argparse.Namespace) -> int:
    if options.workers < 1:
        raise ConfigError(f"--workers is {options.workers}; it must be at least 1.")
    rules = Rules(
        frames=options.frames,
        short_sides=tuple(options.short_sides),
        cut=options.cut,
        min_motion=options.min_motion,
        every=options.every,
        most=options.most,
        seed=options.seed,
    )
    with _shown() as progress:
        result = prepare(
            options.sources,
            options.output,
            rules,
            suffix=f".{options.format}",
            workers=options.workers,
            progress=progress,
            note=lambda sentence: print(f"note: {with_options(sentence)}", file=sys.stderr),
        )
    if not result.sequences:
        raise ConfigError(
            f"{options.output}: no sequence was found in {result.sources} files ({result.foreign} are no videos, "
            f"{result.still} sequences hardly move, {result.scenes} scenes); try fewer --frames or a lower "
            "--min-motion."
        )
    if options.json:
        print(json.dumps(asdict(result)))
    else:
        print(
            f"{options.output}: {result.sequences} sequences of {options.frames} frames, {result.bytes / 1e6:.0f} MB, "
            f"from {result.sources - result.foreign - result.failed} videos ({result.scenes} scenes; {result.still} "
            "sequences left out that hardly move)"
        )
    if result.foreign:
        print(f"note: {result.foreign} files are no videos", file=sys.stderr)
    return 1 if result.failed else 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rules = Rules()
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="videos, folders of PNGs, or folders of them")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the sequences")
    parser.add_argument("--frames", type=int, default=rules.frames, metavar="N", help="of a sequence (%(default)s)")
    parser.add_argument(
        "--short-sides", type=int, nargs="*", default=rules.short_sides, metavar="PIXELS",
        help="downsample by the whole number that brings the short side nearest to one of these, drawn for each "
        f"sequence ({' '.join(map(str, rules.short_sides))}); without a number keep the size",
    )  # fmt: skip
    parser.add_argument(
        "--cut", type=float, default=CUT, metavar="D",
        help="a scene cut is a mean luma difference of at least D of 255, and 2.5 times those beside it (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--min-motion", type=float, default=rules.min_motion, metavar="D",
        help="leave out sequences with a mean luma difference from frame to frame below D (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--every", type=int, default=rules.every, metavar="N", help="take each N-th frame")
    parser.add_argument("--most", type=int, metavar="N", help="sequences of a video (default: all)")
    parser.add_argument("--seed", type=int, default=rules.seed, help="of the drawing of sizes (%(default)s)")
    parser.add_argument(
        "--format", choices=("mkv", "y4m"), default="mkv", help="mkv: FFV1, lossless; y4m: larger, faster to read"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="videos read at once (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


@contextmanager
def _shown() -> Iterator[Callable[[Progress], Any]]:
    """Show progress on stderr: a bar on a terminal, else a line every ten seconds."""
    console = Console(stderr=True)
    began = last = time.monotonic()

    def text(state: Progress) -> str:
        fps = state.frames / max(1e-9, time.monotonic() - began)
        return f"{state.frames} frames, {state.sequences} sequences, {fps:.0f} fps"

    if console.is_terminal:
        columns = (MofNCompleteColumn(), TextColumn("videos"), TextColumn("{task.description}"), BarColumn())
        with Bar(*columns, TimeElapsedColumn(), console=console) as bar:
            task = bar.add_task("")

            def draw(state: Progress) -> None:
                bar.update(task, completed=state.done, total=state.sources, description=text(state))

            yield draw
        return

    def line(state: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS:
            last = time.monotonic()
            print(f"prepare: {state.done} of {state.sources} videos, {text(state)}", file=sys.stderr, flush=True)

    yield line
