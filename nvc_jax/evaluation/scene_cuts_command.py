"""tools/scene_cuts.py: codecs at scene cuts, and over many pictures without a refresh."""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nvc_jax.cli.arguments import parse_size
from nvc_jax.cli.program import run_command
from nvc_jax.codec.model import PRECISIONS
from nvc_jax.codec.report import machine, versions
from nvc_jax.codec.runtime import prepare_process
from nvc_jax.errors import ConfigError
from nvc_jax.evaluation.plots import cuts_figure
from nvc_jax.evaluation.results import Point
from nvc_jax.evaluation.scene_cuts import Run, check_loop, check_scenes, cuts_row, drift, drift_row, recoveries
from nvc_jax.evaluation.scenes import Scenes, demo_clips, read_clip, spliced
from nvc_jax.io.files import atomic_output
from nvc_jax.spec import DEFAULT_QP

DESCRIPTION = """Code clips in a row and measure every picture: how soon quality is back after a cut, and at what price.

Streams are real; the bits of a packet are shared between its pictures. Writes OUT.json and OUT.png, prints a table.
With --loop N one clip is played forwards and backwards for N pictures, to see whether quality drifts without a refresh.
"""


def main(argv: Sequence[str] | None = None, prog: str = "scene_cuts.py") -> int:
    """Measure; returns the exit code: 0 success, 1 bad input, 2 usage."""
    parser = argparse.ArgumentParser(
        prog=prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--clips", nargs="+", type=Path, metavar="CLIP", help="YUV videos, a scene of each")
    source.add_argument("--demo", type=int, metavar="N", help="N scenes that need no download")
    parser.add_argument(
        "--model",
        nargs="+",
        required=True,
        metavar="NAME|DIR[:reset=N][:intra=N][:qp=N]",
        help="reset: pictures from one refresh to the next (default 0: none); intra: intra period; qp: instead of --qp",
    )
    parser.add_argument("--qp", type=int, default=DEFAULT_QP, metavar="Q", help="base qp (default %(default)s)")
    parser.add_argument("--pictures", type=int, default=33, metavar="N", help="of each scene (default %(default)s)")
    parser.add_argument("--size", default="352x288", metavar="WxH", help="of --demo (default %(default)s)")
    parser.add_argument("--loop", type=int, metavar="N", help="one clip forwards and backwards, N pictures in all")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the arithmetic (default: int16)")
    parser.add_argument("--output", type=Path, required=True, metavar="OUT.json")
    return run_command(parser, _measure, argv)


def _measure(options: argparse.Namespace) -> None:
    runs = [Run.parse(text, options.qp) for text in options.model]
    for label, count in Counter(run.label for run in runs).items():
        if count > 1:
            raise ConfigError(f"{count} models are called {label}; tables and plots are made by name.")
    if options.output.suffix == ".png":
        raise ConfigError(f"--output {options.output}: give the JSON file; the plot is written beside it.")
    scenes = _scenes(options)
    prepare_process()
    points: dict[str, Point] = {}
    rows: dict[str, dict[str, str]] = {}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        video = scenes.write(Path(folder) / "scenes.y4m")
        for run in runs:
            point = points[run.label] = run.measure(video, Path(folder) / "scenes.nvc", options.precision)
            psnr, bits = point["frame_psnr"], point["frame_bits"]
            if options.loop:
                change = drift(psnr, scenes.sources)
                found[run.label] = {"drift": dataclasses.asdict(change) | {"change": change.change}}
                rows[run.label] = drift_row(point, change)
            else:
                cuts = recoveries(psnr, bits, scenes.cuts)
                found[run.label] = {"cuts": list(map(dataclasses.asdict, cuts))}
                rows[run.label] = cuts_row(point, cuts)
            print(f"measured {run.label}", file=sys.stderr)
    _print_table(rows)
    names = [path.name for path in options.clips] if options.clips else ["demo"]
    data = {
        "clips": names,
        "size": scenes.frames[0].size,
        "pictures": len(scenes.frames),
        "cuts": scenes.cuts,
        "machine": machine(),
        "versions": versions(),
        "runs": {label: found[label] | points[label] for label in points},
    }
    with atomic_output(options.output) as file:
        file.write((json.dumps(data) + "\n").encode())
    with atomic_output(options.output.with_suffix(".png")) as file:
        file.write(cuts_figure(points, scenes.cuts))


def _scenes(options: argparse.Namespace) -> Scenes:
    wanted = options.pictures if options.loop is None else options.loop
    if min(wanted, options.pictures) < 1:
        raise ConfigError(f"--pictures and --loop must be at least 1, not {min(wanted, options.pictures)}.")
    if options.demo is not None:
        clips = demo_clips(options.demo, options.pictures, parse_size(options.size))
    else:
        clips = [read_clip(path, options.pictures) for path in options.clips]
    if options.loop and len(clips) > 1:
        raise ConfigError(f"--loop plays one clip, not {len(clips)}.")
    if not options.loop and len(clips) < 2:
        raise ConfigError("there is no cut in one clip; give at least two, or --loop N.")
    scenes = spliced(clips, wanted)
    if options.loop:
        check_loop(options.loop)
    else:
        check_scenes(scenes)
    return scenes


def _print_table(rows: Mapping[str, Mapping[str, str]]) -> None:
    """Print a table in Markdown."""
    columns = ["model", *next(iter(rows.values()))]
    cells = [columns, ["---"] * len(columns), *([label, *row.values()] for label, row in rows.items())]
    for row in cells:
        print(f"| {' | '.join(row)} |")
