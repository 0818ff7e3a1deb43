"""The command `nvc-jax`. JAX is imported by the commands that need it, so that --help is instant."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvc_jax import __version__
from nvc_jax.errors import ConfigError, NvcError
from nvc_jax.files import STDIO, atomic_output
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD, SCALE_MAX

if TYPE_CHECKING:
    from nvc_jax.codec.files import Progress
    from nvc_jax.codec.model import Codec
    from nvc_jax.codec.report import Report

DEFAULT_MODEL = "embedded"
PRECISIONS = ("float32", "bfloat16")

EXIT_OK, EXIT_BAD_INPUT, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code (0 well, 1 bad input, 2 usage)."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    try:
        options.run(options)
        sys.stdout.flush()
    except NvcError as error:
        if options.debug:
            raise
        print(f"nvc-jax: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("nvc-jax: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_OK


def entry_point() -> None:
    """Console script."""
    sys.exit(main())


def _encode(options: argparse.Namespace) -> None:
    from nvc_jax.codec.files import encode_file
    from nvc_jax.codec.schedule import Schedule

    if options.container == "auto" and Path(options.output).suffix == ".nvc":
        raise ConfigError(f"{options.output}: this version writes the official container only; name the output *.bin.")
    schedule = Schedule(
        qp=options.qp,
        intra_qp=options.qp if options.intra_qp is None else options.intra_qp,
        intra_period=options.intra_period,
        reset_interval=options.reset_interval,
    )
    with _progress("encode") as progress:
        report = encode_file(
            _codec(options),
            options.input,
            options.output,
            schedule,
            skip_threshold=_threshold(options.skip_threshold),
            size=_size(options.size),
            fps=_rate(options.fps),
            frames=_count(options.frames),
            reconstruct=options.report is not None,
            progress=progress,
            note=_note,
        )
    _finish(options, report)


def _decode(options: argparse.Namespace) -> None:
    from nvc_jax.codec.files import decode_file

    with _progress("decode") as progress:
        report = decode_file(
            _codec(options),
            options.input,
            options.output,
            skip_threshold=_threshold(options.skip_threshold),
            frames=_count(options.frames),
            hashes=options.report is not None,
            progress=progress,
            note=_note,
        )
    _finish(options, report)


def _info(options: argparse.Namespace) -> None:
    from nvc_jax.bitstream.dcvc import DcvcReader
    from nvc_jax.codec.files import open_stream

    with open_stream(options.file) as file:
        units = [(u.kind, u.qp, u.size_bytes, u.header) for u in DcvcReader(file)]
    header = units[0][3]
    kinds = [kind for kind, _, _, _ in units]
    total = sum(size for _, _, size, _ in units)
    result = {
        "container": "dcvc",
        "width": header.width,
        "height": header.height,
        "frames": len(units),
        "intra_frames": kinds.count("I"),
        "refreshes": sum(header.use_adaptor_i for _, _, _, header in units),
        "two_streams": header.two_streams,
        "qp_range": [min(qp for _, qp, _, _ in units), max(qp for _, qp, _, _ in units)],
        "bytes": total,
        "bpp": 8 * total / (len(units) * header.width * header.height),
    }
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name.replace('_', ' '):>14}  {value:.4f}" if name == "bpp" else f"{name.replace('_', ' '):>14}  {value}")


def _models(options: argparse.Namespace) -> None:
    from nvc_jax.codec.store import packaged_models, read_description
    from nvc_jax.models.config import CONFIGS

    models = {name: read_description(folder) for name, folder in packaged_models().items()}
    if options.json:
        print(json.dumps({"models": models, "architectures": list(CONFIGS)}))
        return
    for name, description in models.items():
        print(f"{name}  identity {description['identity'][:12]}  {description['source']}")
    print(f"architectures without weights: {', '.join(name for name in CONFIGS if name not in models)}")


def _convert(options: argparse.Namespace) -> None:
    from nvc_jax.convert.command import export_checkpoints, import_checkpoints

    paths = [Path(path) for path in options.paths]
    if len(paths) != 3:
        raise ConfigError("convert takes IMAGE.pth VIDEO.pth DIR, or DIR IMAGE.pth VIDEO.pth.")
    if paths[0].is_dir():
        model = export_checkpoints(*paths)
    else:
        model = import_checkpoints(
            *paths, architecture=options.architecture, tables=None if options.tables is None else Path(options.tables)
        )
    result = {"model": model.config.name, "identity": model.identity, "source": model.source}
    print(json.dumps(result) if options.json else f"{model.config.name}  identity {model.identity[:12]}  {model.source}")


def _demo(options: argparse.Namespace) -> None:
    from nvc_jax.demo import run_demo

    with _progress("demo") as progress:
        results = run_demo(_codec(options), Path(options.out), options.video, progress)
    if options.json:
        print(json.dumps(results))
        return
    print(f"{'qp':>4} {'bpp':>8} {'kbps':>8} {'PSNR dB':>8} {'encode fps':>11} {'decode fps':>11}")
    for row in results["points"]:
        print(
            f"{row['qp']:>4} {row['bpp']:>8.4f} {row['kbps']:>8.0f} {row['psnr']:>8.2f} "
            f"{row['encode_fps']:>11.1f} {row['decode_fps']:>11.1f}"
        )
    print(f"streams, videos and a side-by-side picture are in {options.out}")


def _codec(options: argparse.Namespace) -> "Codec":
    from nvc_jax.codec.model import Codec
    from nvc_jax.codec.runtime import use_compilation_cache

    use_compilation_cache()
    return Codec.load(options.model, getattr(options, "precision", "float32"))


def _note(sentence: str) -> None:
    print(f"note: {sentence}", file=sys.stderr)


@contextmanager
def _progress(verb: str) -> Iterator["Progress"]:
    """Frame, fps, bpp and time left on stderr: a bar on a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _PlainProgress(verb)
        return
    columns = TextColumn(verb), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)

        def update(report: "Report", frames: int | None) -> None:
            done = len(report.frames)
            bar.update(
                task, completed=done, total=frames, description=f"{report.fps['total']:.1f} fps  {report.bpp:.4f} bpp"
            )

        yield update


class _PlainProgress:
    """Progress for logs."""

    SECONDS = 5.0

    def __init__(self, verb: str) -> None:
        self._verb, self._last = verb, time.monotonic()

    def __call__(self, report: "Report", frames: int | None) -> None:
        if time.monotonic() - self._last < self.SECONDS:
            return
        self._last = time.monotonic()
        done, fps = len(report.frames), report.fps["total"]
        left = f", {(frames - done) / fps:.0f} s left" if frames and fps else ""
        of = f" of {frames}" if frames else ""
        print(f"{self._verb}: frame {done}{of}, {fps:.2f} fps, {report.bpp:.4f} bpp{left}", file=sys.stderr)


def _finish(options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Write the report file; print the totals, on stderr when the output itself goes to stdout."""
    if options.report is not None:
        with atomic_output(options.report) as file:
            file.write((json.dumps(report, indent=1) + "\n").encode())
    totals = {key: value for key, value in report.items() if key != "frames"}
    stream = sys.stderr if options.output == STDIO else sys.stdout
    if options.json:
        print(json.dumps(totals), file=stream)
        return
    quality = "" if report["psnr"] is None else f", PSNR {report['psnr']:.2f} dB"
    fps = report["fps"]
    print(
        f"{options.output}: {report['frame_count']} frames {report['width']}x{report['height']}, "
        f"{report['bytes']} bytes, {report['bpp']:.4f} bpp, {report['kbps']:.1f} kbit/s{quality}, {fps['total']:.2f} fps "
        f"(network {fps['network']:.2f}, entropy {fps['entropy']:.1f})",
        file=stream,
    )


def _threshold(text: str) -> float | None:
    if text == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= SCALE_MAX:
        raise ConfigError(f"--skip-threshold {text} is neither none nor a number from 0 to {SCALE_MAX:g}.")
    return value


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, times, height = text.partition("x")
    if not (times and width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"--size {text} is not of the form WIDTHxHEIGHT, such as 352x288.")
    return int(width), int(height)


def _rate(text: str | None) -> Fraction | None:
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise ConfigError(f"--fps {text} is not a frame rate such as 25, 29.97 or 30000/1001.")
    return rate


def _count(frames: int | None) -> int | None:
    if frames is not None and frames < 1:
        raise ConfigError(f"--frames is {frames}; it must be at least 1.")
    return frames


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nvc-jax", description="Neural video coding in JAX.")
    parser.add_argument("--version", action="version", version=f"nvc-jax {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_, description=help_)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print the result as one JSON object")
        return sub

    def coding_options(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="packaged model or model directory")
        sub.add_argument(
            "--skip-threshold", default=str(DEFAULT_SKIP_THRESHOLD), metavar="T|none",
            help="do not code symbols whose scale is at most T; the same for encode and decode (default %(default)s)",
        )
        sub.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
        sub.add_argument(
            "--precision", default="float32", metavar="|".join(PRECISIONS), help="arithmetic, the same on both sides"
        )
        sub.add_argument("--report", metavar="FILE.json", help="write what is known of every frame")

    encode = command("encode", _encode, "Code a video.")
    encode.add_argument("input", help="video file, folder of PNGs, raw .yuv (with --size), or - for y4m")
    encode.add_argument("output", help="stream (*.bin), or -")
    coding_options(encode)
    encode.add_argument("--qp", type=float, default=32, metavar="Q", help="quality, 0 to 63, larger is better (32)")
    encode.add_argument("--intra-qp", type=float, metavar="Q", help="quality of intra frames (as --qp)")
    encode.add_argument("--intra-period", type=int, default=-1, metavar="N", help="-1: only the first frame is intra (-1)")
    encode.add_argument("--reset-interval", type=int, default=64, metavar="N", help="frames between refreshes, 0: none (64)")
    encode.add_argument("--size", metavar="WxH", help="size of a raw source")
    encode.add_argument("--fps", metavar="R", help="frame rate, such as 25 or 30000/1001")
    encode.add_argument("--container", choices=("auto", "dcvc"), default="auto", help="file format (auto)")

    decode = command("decode", _decode, "Decode a stream.")
    decode.add_argument("input", help="stream, or -")
    decode.add_argument("output", help="*.y4m, *.yuv, *.mp4, *.mkv, *.webm, a folder for PNGs, or - for y4m")
    coding_options(decode)

    info = command("info", _info, "Say what a stream holds.")
    info.add_argument("file")

    command("models", _models, "List the models that ship with the package.")

    convert = command("convert", _convert, "Official checkpoints to a model directory, or back.")
    convert.add_argument("paths", nargs="+", metavar="SRC", help="IMAGE.pth VIDEO.pth DIR, or DIR IMAGE.pth VIDEO.pth")
    convert.add_argument("--architecture", default="dcvc_rt", help="what the checkpoints are (default %(default)s)")
    convert.add_argument("--tables", metavar="FILE", help="official z tables, made by tools/official_tables.py")

    demo = command("demo", _demo, "Code a moving picture at three qualities and show the result.")
    demo.add_argument("--video", metavar="FILE", help="your own video instead of the built-in one")
    demo.add_argument("--out", default="demo", metavar="DIR", help="where results go (default %(default)s)")
    demo.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="packaged model or model directory")
    return parser
