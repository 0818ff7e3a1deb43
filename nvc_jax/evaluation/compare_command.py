"""`nvc-jax compare`: BD-rates of result files against an anchor, per sequence, class and on average."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nvc_jax.errors import NvcError
from nvc_jax.evaluation.bd_rate import LITTLE_OVERLAP, METHODS, QUALITIES, RATES, BdRate, Comparison, compare
from nvc_jax.evaluation.results import read_results
from nvc_jax.io.files import accept_any_name

DESCRIPTION = """Compute BD-rates of result files against an anchor, per sequence, class and on average.

The exit code is 1 if a BD-rate is not defined; the reason is printed.
"""


def main(argv: Sequence[str] | None = None, prog: str = "nvc-jax compare") -> int:
    """Compare and print; returns the exit code: 0 success, 1 bad input or an undefined BD-rate, 2 usage."""
    parser = argparse.ArgumentParser(
        prog=prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS.json")
    parser.add_argument("--anchor", required=True, metavar="ANCHOR.json")
    parser.add_argument("--quality", choices=QUALITIES, default="psnr")
    parser.add_argument("--rate", choices=RATES, default="all", help="payload: coded pictures without headers")
    parser.add_argument("--method", choices=METHODS, default=METHODS[0])
    parser.add_argument("--json", action="store_true", help="for scripts")
    try:
        options = parser.parse_args(argv)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    accept_any_name()
    try:
        anchor = read_results(options.anchor)
        comparisons = {}
        for path in options.results:
            try:
                comparisons[path] = compare(anchor, read_results(path), options.method, options.quality, options.rate)
            except NvcError as error:
                raise type(error)(f"{path}: {error}" if path not in str(error) else str(error)) from None
    except NvcError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({path: as_json(comparison) for path, comparison in comparisons.items()}, indent=1))
    else:
        print_table(comparisons)
    return 0 if all(isinstance(v, BdRate) for c in comparisons.values() for v in c.sequences.values()) else 1


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Convert a comparison to plain objects."""
    sequences = {
        f"{dataset}/{name}": {"percent": value.percent, "overlap": value.overlap}
        if isinstance(value, BdRate)
        else {"error": str(value)}
        for (dataset, name), value in comparison.sequences.items()
    }
    return {"sequences": sequences, "classes": dict(comparison.classes), "average": comparison.average}


def print_table(comparisons: Mapping[str, Comparison]) -> None:
    """Print a column per result file."""
    table = Table("BD-rate, %", *(Path(path).stem for path in comparisons))
    every = list(comparisons.values())
    reasons: list[str] = []

    def cell(value: BdRate | NvcError | None, path: str, row: str) -> str:
        if isinstance(value, BdRate):
            return f"{value.percent:+.2f}" + ("*" if value.overlap < LITTLE_OVERLAP else "")
        if value is not None:
            reasons.append(f"{Path(path).stem}: {row}: {value}")
        return "-"

    keys = list(dict.fromkeys(key for comparison in every for key in comparison.sequences))
    for dataset in dict.fromkeys(dataset for dataset, _ in keys):
        for key in (key for key in keys if key[0] == dataset):
            row = "/".join(key)
            table.add_row(row, *(cell(c.sequences.get(key), path, row) for path, c in comparisons.items()))
        means = (number(c.classes.get(dataset), c.missing(dataset)) for c in every)
        table.add_row(f"{dataset} (mean)", *means, end_section=True)
    missing = [sum(c.missing(dataset) for dataset in {dataset for dataset, _ in c.sequences}) for c in every]
    table.add_row("average of classes", *(number(c.average, m) for c, m in zip(every, missing, strict=True)))
    Console().print(table)
    if any(isinstance(v, BdRate) and v.overlap < LITTLE_OVERLAP for c in every for v in c.sequences.values()):
        print(f"* the curves share less than {LITTLE_OVERLAP:.0%} of their qualities")
    for reason in reasons:
        print(f"- {reason}")


def number(percent: float | None, missing: int) -> str:
    """Format a mean, with the number of sequences missing in it."""
    return ("-" if percent is None else f"{percent:+.2f}") + (f" (without {missing})" if missing else "")
