"""`nvc-jax report`: result files on one HTML page, with curves, BD-rates, frames, crops, complexity and speed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nvc_jax.cli.program import run_command
from nvc_jax.evaluation.compare_command import ANCHOR_HELP
from nvc_jax.evaluation.report import make_report
from nvc_jax.evaluation.results import find_anchor, read_results, short_names
from nvc_jax.io.files import atomic_output, make_folder


def main(argv: Sequence[str] | None = None, prog: str = "nvc-jax report") -> int:
    """Make the page; returns the exit code: 0 success, 1 bad input, 2 usage."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Report result files on one HTML page: curves, BD-rates, frames, crops, complexity and speed.",
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS.json", help="shown by their names")
    parser.add_argument("--anchor", required=True, metavar="NAME|FILE", help=ANCHOR_HELP)
    parser.add_argument("--stream-dir", type=Path, metavar="DIR", help="of the evaluation, for crops")
    parser.add_argument("--sequence", metavar="CLASS/NAME", help="shown frame by frame; the first by default")
    parser.add_argument("--output", required=True, type=Path, metavar="REPORT.html")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also write the pictures as PNG files")
    return run_command(parser, _report, argv)


def _report(options: argparse.Namespace) -> None:
    anchor = find_anchor(options.anchor, options.results)
    names = short_names(list(dict.fromkeys([*options.results, anchor])))
    results = {name: read_results(path) for path, name in names.items()}
    report = make_report(results, names[anchor], options.stream_dir, options.sequence)
    files = {options.output: report.html.encode(errors="backslashreplace")}
    if options.pictures:
        make_folder(options.pictures)
        files |= {options.pictures / name: data for name, data in report.pictures.items()}
    for path, data in files.items():
        with atomic_output(path) as file:
            file.write(data)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    print(options.output)
