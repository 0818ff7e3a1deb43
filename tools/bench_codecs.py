"""Time several codecs in turns: modules and network of a P frame, and whole sequences.

python tools/bench_codecs.py dcvc_rt kd_nvc_s kd_nvc_t --size 352x288 --precision int16 --output OUT.json
"""

import argparse
import json
import sys

from rich.console import Console

from nvc_jax.benchmark.beside import measure, print_table
from nvc_jax.benchmark.sequence import DROPPED, LEAST_COUNTED
from nvc_jax.cli.arguments import parse_size
from nvc_jax.cli.program import run_command
from nvc_jax.codec.model import PRECISIONS
from nvc_jax.codec.runtime import prepare_process
from nvc_jax.errors import ConfigError
from nvc_jax.io.files import atomic_output

LEAST = DROPPED + LEAST_COUNTED  # frames


def main() -> int:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codecs", nargs="+", metavar="NAME|DIR", help="models or architectures; the first is the base")
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--precision", choices=PRECISIONS, default="int16")
    parser.add_argument("--runs", type=int, default=5, help="of every part of a P frame")
    parser.add_argument(
        "--frames",
        type=int,
        default=LEAST,
        help=f"of a sequence, at least {LEAST}; the first {DROPPED} do not count, 0: none",
    )
    parser.add_argument("--sequences", type=int, default=1, help="repetitions of the sequence")
    parser.add_argument("--output", required=True, metavar="OUT.json")
    return run_command(parser, report)


def report(options: argparse.Namespace) -> None:
    """Measure, write and print.

    Raises:
        ConfigError: an option is out of its range.
    """
    prepare_process()
    if min(options.runs, options.sequences) < 1 or 0 != options.frames < LEAST:
        raise ConfigError(f"--runs and --sequences must be at least 1, --frames 0 or at least {LEAST}.")
    arguments = parse_size(options.size), options.precision, options.runs, options.frames, options.sequences
    result = measure(options.codecs, *arguments, lambda text: print(text, file=sys.stderr))
    result["command"] = " ".join(["bench_codecs.py", *sys.argv[1:]])
    with atomic_output(options.output) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())
    print_table(result, Console())


if __name__ == "__main__":
    raise SystemExit(main())
