"""`nvc-jax compare`: BD-rates of result files against an anchor, per sequence, class and on average."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from nvc_jax.cli.program import run_command
from nvc_jax.errors import NvcError
from nvc_jax.evaluation.bd_rate import METHODS, QUALITIES, RATES, BdRate, Comparison, compare
from nvc_jax.evaluation.results import find_anchor, read_results, short_names
from nvc_jax.evaluation.tables import BdTable, bd_table, bd_title, luma_note

DESCRIPTION = """Compute BD-rates of result files against an anchor, per sequence, class and on average.

The exit code is 1 if a BD-rate is not defined; the reason is printed.
"""

ANCHOR_HELP = "of the BD-rates: one of the results, by name without .json, or another result file"

_WIDE = 1000  # columns of a file or a pipe: no line is folded


def main(argv: Sequence[str] | None = None, prog: str = "nvc-jax compare") -> int:
    """Compare and print; returns the exit code: 0 success, 1 bad input or an undefined BD-rate, 2 usage."""
    parser = argparse.ArgumentParser(
        prog=prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS.json")
    parser.add_argument("--anchor", required=True, metavar="NAME|FILE", help=ANCHOR_HELP)
    parser.add_argument("--quality", choices=QUALITIES, default="psnr")
    parser.add_argument("--rate", choices=RATES, default="all", help="payload: coded pictures without headers")
    parser.add_argument("--method", choices=METHODS, default=METHODS[0])
    parser.add_argument("--json", action="store_true", help="for scripts")
    return run_command(parser, _compare, argv)


def _compare(options: argparse.Namespace) -> int:
    anchor = find_anchor(options.anchor, options.results)
    names = short_names(list(dict.fromkeys([*options.results, anchor])))
    results = {path: read_results(path) for path in names}
    comparisons = {}
    for path in options.results:
        try:
            comparisons[path] = compare(results[anchor], results[path], options.method, options.quality, options.rate)
        except NvcError as error:
            raise type(error)(f"{path}: {error}") from None
    if options.json:
        print(json.dumps({path: as_json(comparison) for path, comparison in comparisons.items()}, indent=1))
    else:
        title = bd_title(names[anchor], results.values(), options.quality, options.rate, options.method)
        shown = {names[path]: comparison for path, comparison in comparisons.items()}
        print_table(bd_table(title, shown, digits=2))
        if options.quality == "msssim":
            print(*luma_note(results), sep="\n")
    return 0 if all(isinstance(v, BdRate) for c in comparisons.values() for v in c.sequences.values()) else 1


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Convert a comparison to plain objects."""
    sequences = {
        f"{dataset}/{name}": {"percent": value.percent, "overlap": value.overlap}
        if isinstance(value, BdRate)
        else {"error": str(value)}
        for (dataset, name), value in comparison.sequences.items()
    }
    absent = ["/".join(key) for key in comparison.absent]
    means = {"classes": dict(comparison.classes), "average": comparison.average}
    return {"sequences": sequences} | means | {"not_in_the_results": absent}


def print_table(table: BdTable) -> None:
    """Print a column per result file, and the notes."""
    shown = Table(Column("sequence", overflow="fold"))
    for column in table.columns:
        shown.add_column(column, justify="right", no_wrap=True)
    for row in table.rows:
        shown.add_row(row.label, *row.cells, end_section=row.is_mean)
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    print(table.title)  # not as a title of the table, which is folded to its width
    console.print(shown)
    for note in table.notes:
        print(note if note.startswith("*") else f"- {note}")
