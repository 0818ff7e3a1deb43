"""The frame of all commands and tools with a parser of their own: options, errors, exit codes."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence

from nvc_jax.errors import NvcError
from nvc_jax.io.files import accept_any_name

EXIT_OK, EXIT_BAD_INPUT = 0, 1  # 2, usage, is argparse's


def run_command(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
    intermixed: bool = False,
) -> int:
    """Run a command: parse its arguments, do its work, and show an error of ours in one line.

    Args:
        parser: of its options; --debug is added.
        work: does it; gives the exit code, None for 0.
        argv: arguments; None for those of the process.
        intermixed: options may stand between the words of one list.

    Returns:
        The exit code: that of `work`, 1 after an error of ours, 2 for usage.
    """
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    try:
        options = parser.parse_intermixed_args(argv) if intermixed else parser.parse_args(argv)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    accept_any_name()
    try:
        return work(options) or EXIT_OK
    except NvcError as error:
        if options.debug:
            raise
        show_error(parser.prog, error)
        return EXIT_BAD_INPUT


def show_error(prog: str, error: NvcError) -> None:
    """Print an error on stderr as one line."""
    text = with_options(str(error))
    print(f"{prog}: {text}{'' if text.endswith(('.', '?')) else '.'}", file=sys.stderr)


def with_options(sentence: str) -> str:
    """Spell the arguments that a sentence of the library names, in backticks, as the options that give them."""
    return re.sub(r"`([a-z_]+)`", lambda name: "--" + name[1].replace("_", "-"), sentence)
