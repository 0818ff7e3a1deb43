"""`nvc-jax bench`: modules, fusion and whole sequences of a codec, beside the official PyTorch code."""

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from nvc_jax.benchmark.result import PARTS, Options, measure
from nvc_jax.benchmark.sequence import DROPPED, LEAST_COUNTED
from nvc_jax.benchmark.tables import plot, print_tables
from nvc_jax.cli.arguments import parse_size
from nvc_jax.cli.program import run_command
from nvc_jax.codec.model import PRECISIONS
from nvc_jax.codec.runtime import prepare_process
from nvc_jax.errors import ConfigError
from nvc_jax.io.files import atomic_output

DESCRIPTION = """Benchmark a codec: modules, fusion and end to end, beside the official PyTorch code.

Writes OUT.json and the plot OUT.png. A configuration without weights, e.g. dcvc_rt, runs on random ones. The network
of a P frame is always measured; --parts selects the rest, as accelerators take minutes to compile single operations.
"""


def main(argv: Sequence[str] | None = None, prog: str = "nvc-jax bench", torch_worker: Path | None = None) -> int:
    """Measure, write, and print; returns the exit code: 0 success, 1 bad input or different results, 2 usage.

    Args:
        argv: arguments; None for those of the process.
        prog: name of the command in messages.
        torch_worker: default of --torch-worker.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run_command(_parser(prog, torch_worker), functools.partial(_bench, prog, arguments), arguments)


def _bench(prog: str, arguments: Sequence[str], options: argparse.Namespace) -> int:
    prepare_process()  # compilation is not timed, and cached for a second run
    result = _measure(options, Console(stderr=True))
    result["command"] = " ".join([prog, *arguments])
    for path, data in (
        (Path(options.output), (json.dumps(result, indent=1) + "\n").encode()),
        (Path(options.output).with_suffix(".png"), plot(result)),
    ):
        with atomic_output(path) as file:
            file.write(data)
    print_tables(result, Console())
    different = [name for name, row in result["fusion"].items() if not row["close"]]
    if different:
        print(f"{prog}: results differ from the codec's: {', '.join(different)}.", file=sys.stderr)
    return 1 if different else 0


def _parser(prog: str, torch_worker: Path | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="NAME|DIR", help="model or configuration")
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument(
        "--strategy",
        help="kernel backend: amx, avx512, avx2 or avx512_bf16 in C++; pallas or pallas_depthwise on GPUs; xla, or for "
        "int16 a product type of XLA (default: the fastest)",
    )
    parser.add_argument(
        "--beside",
        nargs="*",
        choices=PRECISIONS,
        default=[],
        metavar="PRECISION",
        help="measure the network in these precisions too, in turns",
    )
    parser.add_argument("--runs", type=int, default=5, help="repetitions of every part of the network")
    parser.add_argument(
        "--frames",
        type=int,
        default=DROPPED + LEAST_COUNTED,
        help=f"length of the sequence, at least {DROPPED + LEAST_COUNTED}; the first {DROPPED} frames are dropped",
    )
    parser.add_argument("--sequences", type=int, default=1, help="repetitions of the sequence")
    parser.add_argument(
        "--streams", type=int, nargs="*", default=[], metavar="N", help="also decode the sequence N times at once"
    )
    parser.add_argument("--clip", metavar="VIDEO", help="video to code, scaled to --size (default: random)")
    parser.add_argument(
        "--parts",
        nargs="*",
        choices=PARTS,
        default=PARTS,
        metavar="PART",
        help=f"measured beside the network: {', '.join(PARTS)} (default: all)",
    )
    parser.add_argument("--torch-reference", metavar="DIR", help="folder DCVC-family/DCVC-RT of an official checkout")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument(
        "--torch-worker", type=Path, default=torch_worker, metavar="FILE", help="tools/bench_torch.py of a checkout"
    )
    parser.add_argument("--output", required=True, metavar="OUT.json")
    return parser


def _measure(options: argparse.Namespace, errors: Console) -> dict[str, Any]:
    if min(options.runs, options.sequences, *options.streams) < 1:
        raise ConfigError("--runs, --sequences and --streams must be at least 1.")
    if "sequence" in options.parts and options.frames < DROPPED + LEAST_COUNTED:
        raise ConfigError(
            f"--frames {options.frames} is too few for a frame rate: the first {DROPPED} do not count, and at least "
            f"{LEAST_COUNTED} must; give {DROPPED + LEAST_COUNTED} or more, or --parts without sequence."
        )
    if options.torch_reference is not None and options.torch_worker is None:
        raise ConfigError(
            "--torch-reference needs the script that runs the official code; give --torch-worker tools/bench_torch.py "
            "of a checkout of nvc-jax."
        )
    return measure(
        Options(
            model=options.model,
            size=parse_size(options.size),
            precision=options.precision,
            strategy=options.strategy,
            beside=tuple(options.beside),
            runs=options.runs,
            frames=options.frames,
            sequences=options.sequences,
            streams=tuple(options.streams),
            clip=options.clip,
            parts=frozenset(options.parts),
            torch_reference=options.torch_reference,
            torch_python=options.torch_python,
            torch_worker=options.torch_worker,
        ),
        progress=errors.print,
    )
