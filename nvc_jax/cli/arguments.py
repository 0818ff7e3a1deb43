"""Commands and options of `nvc-jax`."""

import argparse
from collections.abc import Sequence
from fractions import Fraction

from nvc_jax import __version__
from nvc_jax.errors import ConfigError
from nvc_jax.spec import (
    DEFAULT_MODEL,
    DEFAULT_PRESET,
    DEFAULT_QP,
    DEFAULT_RDOQ,
    DEFAULT_SKIP_THRESHOLD,
    FILE_PRECISION,
    PRECISION_NAMES,
    PRESETS,
    SCALE_MAX,
)


def parse_threshold(text: str) -> float | None:
    """Parse `--skip-threshold`; `none` is None.

    Raises:
        ConfigError: it is neither `none` nor in the range of scales.
    """
    if text == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= SCALE_MAX:
        raise ConfigError(f"--skip-threshold {text} is neither none nor a number from 0 to {SCALE_MAX:g}.")
    return value


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """Parse an option of this program or of the tools to (width, height).

    Raises:
        ConfigError: it is not WIDTHxHEIGHT.
    """
    width, times, height = text.partition("x")
    if not (times and width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"{option} {text} is not of the form WIDTHxHEIGHT, for example 352x288.")
    return int(width), int(height)


def parse_rate(text: str | None) -> Fraction | None:
    """Parse `--fps`.

    Raises:
        ConfigError: it is not a positive rational number.
    """
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise ConfigError(f"--fps {text} is not a frame rate, for example 25, 29.97 or 30000/1001.")
    return rate


def parse_bitrate(text: str | None) -> float | None:
    """Parse `--bitrate` to bits per second.

    Raises:
        ConfigError: it is no number, with k or M behind it or not.
    """
    if text is None:
        return None
    factor = {"k": 1e3, "M": 1e6}.get(text[-1:], 1.0)
    try:
        return factor * float(text[:-1] if factor > 1 else text)
    except ValueError:
        raise ConfigError(f"--bitrate {text} is not a bitrate, for example 500k, 1.5M or 64000.") from None


def parse_range(text: str | None) -> tuple[float, float] | None:
    """Parse `--qp-range`.

    Raises:
        ConfigError: it is not LOW:HIGH.
    """
    if text is None:
        return None
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        raise ConfigError(f"--qp-range {text} is not of the form LOW:HIGH, for example 10:50.") from None
    return low, high


def check_count(frames: int | None) -> int | None:
    """Check `--frames`.

    Raises:
        ConfigError: it is below 1.
    """
    if frames is not None and frames < 1:
        raise ConfigError(f"--frames is {frames}; it must be at least 1.")
    return frames


# Commands with a parser of their own: the module of their `main(argv, prog)`, the extra it needs, what they do.
OWN_PARSERS = {
    "train": ("nvc_jax.training.command", "train", "Train a codec, or resume a run."),
    "prepare": ("nvc_jax.preparation.command", "", "Cut long videos into training sequences."),
    "evaluate": ("nvc_jax.evaluation.command", "eval", "Measure rate and distortion of models and other encoders."),
    "compare": ("nvc_jax.evaluation.compare_command", "eval", "Compute BD-rates of results against an anchor."),
    "report": ("nvc_jax.evaluation.report_command", "eval", "Show results on one HTML page."),
    "search": ("nvc_jax.search.command", "eval,train", "Search a smaller architecture for a codec's decoder."),
    "bench": ("nvc_jax.benchmark.command", "eval", "Measure the speed of a codec and its parts."),
    "compile": ("nvc_jax.benchmark.compile_command", "compile", "Compile a codec for absent GPUs and TPUs."),
}


def with_own_parser(argv: Sequence[str]) -> tuple[str, list[str]] | None:
    """Split a command line of `OWN_PARSERS` into the command and its arguments; None for another command."""
    options = [argument for argument in argv[:1] if argument == "--debug"]
    rest = list(argv[len(options) :])
    return (rest[0], options + rest[1:]) if rest and rest[0] in OWN_PARSERS else None


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; `command` of the result names the command. SystemExit: usage error, or help."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command == "convert" and options.int16 != (options.third is None):
        parser.error("convert takes two names with --int16 (a model, the directory to make), three without")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nvc-jax", description="Neural video coding in JAX.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"nvc-jax {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def command(name: str, help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_, description=help_, allow_abbrev=False)
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        sub.add_argument("--json", action="store_true", help="print the result as one JSON object")
        return sub

    model_help = "a packaged model (see nvc-jax models) or a model directory"

    def coding_options(sub: argparse.ArgumentParser, model: str | None, default: str, precision: str) -> None:
        sub.add_argument("--model", default=model, metavar="NAME|DIR", help=f"{model_help} (default: {default})")
        sub.add_argument(
            "--skip-threshold",
            default=str(DEFAULT_SKIP_THRESHOLD),
            metavar="T|none",
            help="skip symbols with a scale of at most T; to decode a .bin file, the T of encode is needed "
            "(default %(default)s)",
        )
        sub.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
        sub.add_argument(
            "--precision", metavar="|".join(PRECISION_NAMES), help=f"of the arithmetic (default: {precision})"
        )  # fmt: skip
        sub.add_argument("--report", metavar="FILE.json", help="write rate, quality and hash of every frame")

    encode = command("encode", "Code a video.")
    encode.add_argument("input", metavar="INPUT", help="video, folder of PNGs, raw .yuv (with --size), or - for y4m")
    encode.add_argument("output", metavar="OUTPUT", help="stream: *.nvc, *.bin (official), or -")
    coding_options(
        encode, DEFAULT_MODEL, DEFAULT_MODEL, f"{FILE_PRECISION}, which decodes to the same bits on every machine; "
        "that of the model in the official container"
    )  # fmt: skip
    encode.add_argument(
        "--qp", type=float, metavar="Q", help=f"quality, 0 to 63, larger is better (default {DEFAULT_QP})"
    )
    encode.add_argument(
        "--bitrate", metavar="R", help="bits per second to follow, without --qp, in one pass: 500k, 1.5M or 64000"
    )
    encode.add_argument(
        "--buffer", type=float, metavar="S",
        help="with --bitrate: seconds that the channel takes to empty the buffer before it (default 1)",
    )  # fmt: skip
    encode.add_argument(
        "--psnr",
        type=float,
        metavar="DB",
        help="mean PSNR (6:1:1) to follow, without --qp; it takes some 16 frames to settle",
    )
    encode.add_argument(
        "--qp-range", metavar="LOW:HIGH", help="with --bitrate or --psnr: qps of all frames lie in it (default 0:63)"
    )
    encode.add_argument(
        "--intra-qp",
        type=float,
        metavar="Q",
        help="quality of intra frames (default: --qp and the offset of the model)",
    )
    encode.add_argument(
        "--intra-period", type=int, default=-1, metavar="N", help="distance of intra frames, -1: only one (default)"
    )
    encode.add_argument(
        "--reset-interval", type=int, default=64, metavar="N",
        help="every N frames the memory of earlier frames is renewed; 0: never (default %(default)s)",
    )  # fmt: skip
    encode.add_argument(
        "--rdoq", type=float, metavar="S",
        help="rate-distortion optimised quantisation: what a bit is worth, in squared quantisation steps, 0 to 1; "
        "0 rounds to the nearest "
        f"(default {DEFAULT_RDOQ}; 0 for .bin of models without motion, to write what the official encoder writes)",
    )  # fmt: skip
    encode.add_argument(
        "--skip-blocks", action=argparse.BooleanOptionalAction, default=True,
        help="do not code blocks that are not worth their bits; models without motion have none (default: skip)",
    )  # fmt: skip
    encode.add_argument(
        "--preset", choices=PRESETS, default=DEFAULT_PRESET,
        help="medium codes pictures with motion twice, and skips blocks by what coding them saved: 8 %% fewer bits "
        "for half as much time again; nothing without motion or with --no-skip-blocks (default %(default)s)",
    )  # fmt: skip
    encode.add_argument("--size", metavar="WxH", help="size of a raw source")
    encode.add_argument("--fps", metavar="R", help="frame rate, for example 30000/1001 (default: that of the source)")
    encode.add_argument("--track", type=int, metavar="N", help="video track of the source, from 0 (default: FFmpeg's)")
    encode.add_argument(
        "--container", choices=("auto", "nvc", "dcvc"), default="auto",
        help="format of the stream; auto: dcvc, the official one, for *.bin, else nvc (default %(default)s)",
    )  # fmt: skip

    decode = command("decode", "Decode a stream.")
    decode.add_argument("input", metavar="INPUT", help="stream, or -")
    decode.add_argument(
        "output", metavar="OUTPUT", help="*.y4m, *.yuv, *.mp4, *.mkv, *.webm, a folder for PNGs, or - for y4m"
    )
    coding_options(
        decode, None, f"that of the stream, {DEFAULT_MODEL} for a .bin file",
        "that of the stream; the official container does not say it: that of encode is needed",
    )  # fmt: skip
    decode.add_argument("--start", type=int, default=0, metavar="F", help="start at frame F (default %(default)s)")
    decode.add_argument("--keep-partial", action="store_true", help="keep the frames before damage")
    decode.add_argument(
        "--conceal", action="store_true", help="repeat a picture where frames are lost, up to the next intra frame"
    )
    decode.add_argument("--ignore-identity", action="store_true", help="accept a --model of another identity")

    info = command("info", "Show header and frames of a stream.")
    info.add_argument("file", metavar="FILE", help="stream, or -")
    info.add_argument("--frames", action="store_true", help="list the frames too")

    repair = command("repair", "Copy the intact frames of a damaged .nvc file, with a new index.")
    repair.add_argument("input", metavar="INPUT", help="damaged .nvc file")
    repair.add_argument("output", metavar="OUTPUT", help="new .nvc file, or -")

    command("models", "List the models that ship with the package.")

    convert = command("convert", "Convert official checkpoints to a model directory, or back.")
    convert.usage = (
        "%(prog)s [options] IMAGE.pth VIDEO.pth DIR\n       %(prog)s [options] DIR IMAGE.pth VIDEO.pth\n"
        "       %(prog)s --int16 [--calibrate CLIP ...] NAME|DIR OUT"
    )
    convert.add_argument("first", metavar="IMAGE.pth|DIR", help="image checkpoint, or model directory to export")
    convert.add_argument("second", metavar="VIDEO.pth|IMAGE.pth", help="video checkpoint, or image checkpoint to write")
    convert.add_argument(
        "third", nargs="?", metavar="DIR|VIDEO.pth", help="model directory or video checkpoint to write"
    )
    convert.add_argument("--int16", action="store_true", help="make the int16 model OUT of a model (docs/INT16.md)")
    convert.add_argument(
        "--calibrate", action="append", default=[], metavar="CLIP",
        help="with --int16: code the first frames of a video and name the layers that saturate",
    )  # fmt: skip
    convert.add_argument(
        "--architecture", default="dcvc_rt", metavar="NAME", help="of the checkpoints (default %(default)s)"
    )
    convert.add_argument("--tables", metavar="FILE", help="official z tables, made by tools/official_tables.py")

    for name, (_, _, help_) in OWN_PARSERS.items():
        commands.add_parser(name, help=help_)

    demo = command("demo", "Code a moving picture at three qualities and show the result.")
    demo.add_argument("--video", metavar="FILE", help="your own video instead of the built-in one")
    demo.add_argument("--track", type=int, metavar="N", help="video track of --video, from 0 (default: FFmpeg's)")
    demo.add_argument("--out", default="demo", metavar="DIR", help="folder of the results (default %(default)s)")
    demo.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help=f"{model_help} (default %(default)s)")
    return parser
