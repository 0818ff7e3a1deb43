"""Measure the grid of blocks in decoded clips: mean step of luma across edges of 16x16 blocks over that elsewhere.

python tools/block_grid.py --videos A.mkv B.mkv [--model embedded] [--deblocking 0 38] [--qps 10 32 54] [--frames 33]

With several strengths of deblocking the table says what each costs and gives: how those of packaged models were chosen.
"""

import argparse
import dataclasses
import json

from rich.console import Console
from rich.table import Table

from nvc_jax.cli.program import run_command
from nvc_jax.codec.store import load_model
from nvc_jax.evaluation.block_grid import measure


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", nargs="+", required=True, metavar="FILE", help="clips of 4:2:0 planes")
    parser.add_argument("--model", default="embedded", metavar="NAME|DIR", help="default: %(default)s")
    parser.add_argument("--deblocking", nargs="+", type=int, metavar="N", help="strengths; default: that of the model")
    parser.add_argument("--qps", nargs="+", type=int, default=[10, 32, 54], metavar="Q", help="default: 10 32 54")
    parser.add_argument("--frames", type=int, default=33, metavar="N", help="of each clip, default: %(default)s")
    parser.add_argument("--json", action="store_true", help="for scripts")
    return run_command(parser, run)


def run(options: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        NvcError: the model or a clip cannot be used.
    """
    model = load_model(options.model)
    own = getattr(model.config[model.config.rest], "deblocking", 0)
    points = list(measure(model, options.deblocking or [own], options.videos, options.qps, options.frames))
    if options.json:
        print(json.dumps([dataclasses.asdict(point) for point in points], indent=1))
        return
    table = Table("clip", "deblocking", "qp", "kbit/picture", "PSNR 6:1:1, dB", "index of the source", "decoded")
    for point in points:
        numbers = (f"{point.kbits:.2f}", f"{point.psnr:.2f}", f"{point.source:.3f}", f"{point.decoded:.3f}")
        table.add_row(point.video, str(point.deblocking), str(point.qp), *numbers)
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(main())
