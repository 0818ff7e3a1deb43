"""Count parameters and multiply-accumulates of a codec by module, in the traced model.

python tools/complexity.py dcvc_rt [--size 1920x1080] [--xla] [--json]
"""

import argparse
import dataclasses
import json

from rich.console import Console
from rich.table import Table

from nvc_jax.cli.arguments import parse_size
from nvc_jax.cli.program import run_command
from nvc_jax.codec.descriptions import find_codec
from nvc_jax.errors import ConfigError
from nvc_jax.evaluation.complexity import packet_complexity
from nvc_jax.models.codecs import CONFIGS


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "codec", metavar="NAME|DIR|FILE.json", help=f"model directory, configuration, or one of: {', '.join(CONFIGS)}"
    )
    parser.add_argument("--size", default="1920x1080", metavar="WxH", help="of the picture; it is padded for coding")
    parser.add_argument("--xla", action="store_true", help="also compile, for XLA's own counts")
    parser.add_argument("--json", action="store_true", help="for scripts")
    return run_command(parser, count)


def count(options):
    """Count and print.

    Raises:
        NvcError: there is no such codec, or no picture.
    """
    config = find_codec(options.codec)
    size = parse_size(options.size)
    if min(size) < 1:
        raise ConfigError(f"--size {options.size}: width and height must be at least 1.")
    complexities = {name: packet_complexity(config, name, *size, options.xla) for name, _ in config.networks}
    if options.json:
        print(json.dumps({name: as_json(complexity) for name, complexity in complexities.items()}, indent=1))
    else:
        for name, complexity in complexities.items():
            print_table(f"{config.name}, {name} network, {options.size}", complexity)


def as_json(complexity):
    """Convert a complexity to plain objects."""
    modules = {name: dataclasses.asdict(module) for name, module in complexity.modules.items()}
    return {"total": dataclasses.asdict(complexity.total), "modules": modules, "xla": dict(complexity.xla)}


def print_table(title, complexity):
    """Print a row per module."""
    table = Table("module", "parameters", "encode, kMAC/pixel", "decode, kMAC/pixel", title=title)
    for name, module in [*complexity.modules.items(), ("total", complexity.total)]:
        table.add_row(
            name, f"{module.parameters:,}", *(f"{macs / 1000:.3f}" for macs in (module.encode, module.decode))
        )
    Console().print(table)
    for name, value in complexity.xla.items():
        print(f"XLA, {name.replace('_', ' ')} per pixel: {value:,.0f}")


if __name__ == "__main__":
    raise SystemExit(main())
