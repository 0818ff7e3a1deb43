"""The command `nvc-jax`. JAX is imported by the commands that need it, so that --help is instant."""

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from nvc_jax.cli.arguments import (
    OWN_PARSERS,
    check_count,
    parse,
    parse_bitrate,
    parse_range,
    parse_rate,
    parse_size,
    parse_threshold,
    with_own_parser,
)
from nvc_jax.cli.program import EXIT_BAD_INPUT, EXIT_OK, show_error, with_options
from nvc_jax.errors import BitstreamError, ConfigError, NvcError, OutputError
from nvc_jax.io.files import STDIO, accept_any_name, atomic_output, reason, same_file
from nvc_jax.spec import DEFAULT_QP

if TYPE_CHECKING:
    from nvc_jax.codec.files import Progress
    from nvc_jax.codec.report import Report

EXIT_INTERRUPTED, EXIT_CLOSED_PIPE, EXIT_TERMINATED = 130, 141, 143  # as shells report SIGINT, SIGPIPE, SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0 success, 1 bad input, 2 usage."""
    arguments = sys.argv[1:] if argv is None else argv
    if own := with_own_parser(arguments):
        return _run(*own)
    try:
        options = parse(arguments)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    try:
        _COMMANDS[options.command](options)
    except NvcError as error:
        if options.debug:
            raise
        show_error("nvc-jax", error)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt as stop:
        return _interrupted(stop)
    except _ClosedPipe:
        return EXIT_CLOSED_PIPE
    return EXIT_OK


def _run(name: str, arguments: Sequence[str]) -> int:
    """Run a command that has its own parser."""
    module, extra, _ = OWN_PARSERS[name]
    try:
        return int(import_module(module).main(arguments, f"nvc-jax {name}"))
    except ModuleNotFoundError as error:
        if not extra or (error.name or "").startswith("nvc_jax"):
            raise
        print(f'nvc-jax {name}: {error}; pip install "nvc-jax[{extra}]".', file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt as stop:
        return _interrupted(stop)
    except BrokenPipeError:  # a reader that has seen enough, e.g. head
        return EXIT_CLOSED_PIPE


def _interrupted(stop: KeyboardInterrupt) -> int:
    print("nvc-jax: interrupted", file=sys.stderr)
    return EXIT_TERMINATED if isinstance(stop, _Terminated) else EXIT_INTERRUPTED


def entry_point() -> None:
    """Console script."""
    _open_missing_streams()
    accept_any_name()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.unraisablehook = _report_unraisable
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)  # interpreter shutdown takes 0.4 s, and crashes after a signal during an XLA call


class _ClosedPipe(Exception):
    """The reader of the results has ended."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM; removes unfinished files as SIGINT does."""


def _stop(number: int, _: object) -> None:
    """Interrupt, and again after 5 s: an exception in a callback of XLA or of the collector is lost."""
    again = Timer(5.0, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
    raise KeyboardInterrupt if number == signal.SIGINT else _Terminated


def _report_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Suppress the report of an interrupt that was lost; `_stop` repeats it."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def _open_missing_streams() -> None:
    """Open /dev/null, read only, for closed standard streams, so that no other file gets their descriptors."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDONLY), number)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))


def _encode(options: argparse.Namespace) -> None:
    _check_source(options.input)
    from nvc_jax.codec.containers import container_of, default_precision
    from nvc_jax.codec.files import encode_file
    from nvc_jax.codec.model import Codec
    from nvc_jax.codec.rate_control import rate_control
    from nvc_jax.codec.schedule import Schedule

    schedule = Schedule(
        qp=DEFAULT_QP if options.qp is None else options.qp,
        intra_qp=options.intra_qp,
        intra_period=options.intra_period,
        reset_interval=options.reset_interval,
    )
    threshold = parse_threshold(options.skip_threshold)
    size = None if options.size is None else parse_size(options.size)
    fps, frames = parse_rate(options.fps), check_count(options.frames)
    rates = parse_bitrate(options.bitrate), options.buffer, options.psnr, parse_range(options.qp_range)
    control = None if rates == (None,) * len(rates) else rate_control(*rates)
    if control is not None and options.qp is not None:
        raise ConfigError("--qp sets a quality, --bitrate and --psnr choose it; give one of them.")
    container = container_of(options.output, options.container)
    with _report_file(options) as file:
        with _progress("encode") as progress:
            _prepare_jax()
            precision = default_precision(container) if options.precision is None else options.precision
            codec = Codec.load(options.model, precision)
            report = encode_file(
                codec,
                options.input,
                options.output,
                schedule,
                container=container,
                skip_threshold=threshold,
                rdoq=options.rdoq,
                skip_blocks=options.skip_blocks,
                preset=options.preset,
                size=size,
                fps=fps,
                frames=frames,
                track=options.track,
                reconstruct=file is not None,
                rate_control=control,
                progress=progress,
                note=_note,
            )
        _finish(options, report, file)


def _decode(options: argparse.Namespace) -> None:
    _check_source(options.input)
    from nvc_jax.codec.files import decode_file
    from nvc_jax.codec.model import Codec

    threshold, frames = parse_threshold(options.skip_threshold), check_count(options.frames)
    if options.start < 0:
        raise ConfigError(f"--start is {options.start}; frames are counted from 0.")
    damage: BitstreamError | None = None
    with _report_file(options) as file:
        with _progress("decode") as progress:
            _prepare_jax()
            try:
                report = decode_file(
                    lambda header: Codec.for_stream(header, options.model, options.precision, options.ignore_identity),
                    options.input,
                    options.output,
                    skip_threshold=threshold,
                    start=options.start,
                    frames=frames,
                    keep_partial=options.keep_partial,
                    conceal=options.conceal,
                    hashes=file is not None,
                    progress=progress,
                    note=_note,
                )
            except BitstreamError as error:
                if error.report is None:
                    raise
                damage, report = error, error.report
        if damage is None:
            _finish(options, report, file)
        else:
            _write_report(report, file)
    if damage is not None:
        raise damage


def _info(options: argparse.Namespace) -> None:
    _check_source(options.file)
    from nvc_jax.bitstream import open_reader
    from nvc_jax.bitstream.summary import summarise
    from nvc_jax.codec.descriptions import trained_identity

    with open_reader(options.file, conceal=True) as reader:
        result = summarise(reader)
    if "identity" in result:
        result["identity"] = trained_identity(result["identity"])
    frames = result.pop("frame_list")
    damage = result["damage"]
    if options.json:
        _show(json.dumps(result | ({"frame_list": frames} if options.frames else {})))
    else:
        _show("\n".join(_table(result, frames if options.frames else [])))
    if damage is not None and (not frames or result["container"] == "dcvc"):
        raise BitstreamError(f"{options.file}: {damage}")


def _table(result: Mapping[str, Any], frames: Sequence[Mapping[str, Any]]) -> list[str]:
    """Format what `info` shows, line by line."""
    lines = [f"{name.replace('_', ' '):>16}  {_plain(value)}" for name, value in result.items()]
    if frames:
        lines += ["", f"{'frame':>8} {'type':>4} {'qp':>8} {'refresh':>8} {'byte':>12} {'bytes':>10}"]
        lines += [
            f"{f['index']:>8} {f['type']:>4} {f['qp']:>8g} {'yes' if f['refresh'] else '':>8} "
            f"{f['offset']:>12} {f['bytes']:>10}"
            for f in frames
        ]
    return lines


def _plain(value: object) -> str:
    """Format a value of `info`."""
    if isinstance(value, dict):
        parts = ((name, "unspecified" if part is None else _plain(part)) for name, part in value.items())
        return ", ".join(f"{name.replace('_', ' ')} {part}" for name, part in parts)
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _repair(options: argparse.Namespace) -> None:
    from nvc_jax.bitstream import repair

    if same_file(options.input, options.output):
        raise OutputError(f"{options.output}: is the input itself; give the output another name.")
    with atomic_output(options.output) as file:
        result = repair(options.input, file)
    stream = sys.stderr if options.output == STDIO else sys.stdout
    if options.json:
        _show(json.dumps(dataclasses.asdict(result)), stream)
        return
    lost = f", {_plural(result.lost, 'frame')} lost" if result.lost else ""
    damage = f" ({result.damage})" if result.damage else "; the file was whole"
    _show(f"{options.output}: {_plural(result.frames, 'frame')}{lost}{damage}", stream)


def _models(options: argparse.Namespace) -> None:
    from nvc_jax.codec.descriptions import packaged_models, read_description
    from nvc_jax.models.codecs import CONFIGS

    models = {name: read_description(folder) for name, folder in packaged_models().items()}
    if options.json:
        _show(json.dumps({"models": models, "architectures": list(CONFIGS)}))
        return
    lines = [_describe(name, model["identity"], model["source"]) for name, model in models.items()]
    without = ", ".join(name for name in CONFIGS if name not in models)
    _show("\n".join([*lines, f"architectures without weights here: {without}"]))


def _convert(options: argparse.Namespace) -> None:
    from nvc_jax.convert.command import export_checkpoints, import_checkpoints

    if options.int16:
        _convert_to_int16(options)
        return
    first, second, third = Path(options.first), Path(options.second), Path(options.third)
    if first.is_dir():
        model = export_checkpoints(first, second, third)
    else:
        tables = None if options.tables is None else Path(options.tables)
        model = import_checkpoints(first, second, third, options.architecture, tables)
    result = {"model": model.config.name, "identity": model.identity, "source": model.source}
    _show(json.dumps(result | {"precision": model.precision}) if options.json else _describe(**result))


def _convert_to_int16(options: argparse.Namespace) -> None:
    from nvc_jax.convert.int16 import convert_to_int16

    model, report = convert_to_int16(options.first, Path(options.second), options.calibrate)
    result = {"model": model.config.name, "identity": model.identity, "source": model.source}
    if options.json:
        _show(json.dumps(result | {"precision": model.precision} | report.to_dict()))
        return
    _show("\n".join([_describe(**result), *report.sentences()]))


def _describe(model: str, identity: str, source: str) -> str:
    return f"{model}  identity {identity[:12]}  {source}"


def _demo(options: argparse.Namespace) -> None:
    from nvc_jax.codec.model import Codec
    from nvc_jax.demo.run import run_demo

    with _progress("demo") as progress:
        _prepare_jax()
        codec = Codec.load(options.model)
        results = run_demo(codec, Path(options.out), options.video, options.track, progress, _note)
    if options.json:
        _show(json.dumps(results))
        return
    lines = [f"{'qp':>4} {'bpp':>8} {'kbit/s':>8} {'PSNR dB':>8} {'encode fps':>11} {'decode fps':>11}"]
    lines += [
        f"{row['qp']:>4} {row['bpp']:>8.4f} {row['kbps']:>8.0f} {row['psnr']:>8.2f} "
        f"{row['encode_fps']:>11.1f} {row['decode_fps']:>11.1f}"
        for row in results["points"]
    ]
    _show("\n".join([*lines, f"streams, videos and {results['picture']} (source and each qp, last frame) are written"]))


def _check_source(path: str) -> None:
    """Check the input before JAX is imported, which takes seconds."""
    from nvc_jax.video import check_exists

    check_exists(path)


def _prepare_jax() -> None:
    from nvc_jax.codec.runtime import prepare_process

    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")  # then it just compiles
    prepare_process()


def _note(sentence: str) -> None:
    print(f"note: {with_options(sentence)}", file=sys.stderr)


def _show(text: str, file: TextIO | None = None) -> None:
    """Print a result, by default on standard output."""
    stream = file or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:  # a reader that has seen enough, e.g. head
        raise _ClosedPipe from None
    except OSError as error:
        name = "standard output" if stream is sys.stdout else "standard error"
        raise OutputError(f"{name}: cannot write the result ({reason(error)})") from None


@contextmanager
def _progress(verb: str) -> Iterator["Progress"]:
    """Show progress on stderr: a bar on a terminal, else a line every few seconds."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _PlainProgress(verb)
        return
    speed = TextColumn("{task.description}")
    columns = TextColumn(verb), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("getting ready; new picture sizes take longer", total=None)

        def update(report: "Report", frames: int | None) -> None:
            done = len(report.frames)
            bar.update(
                task, completed=done, total=frames, description=f"{report.fps['total']:.1f} fps  {report.bpp:.4f} bpp"
            )

        yield update


class _PlainProgress:
    """Progress as lines, for logs."""

    SECONDS = 5.0

    def __init__(self, verb: str) -> None:
        self._verb, self._last = verb, time.monotonic()

    def __call__(self, report: "Report", frames: int | None) -> None:
        if time.monotonic() - self._last < self.SECONDS:
            return
        self._last = time.monotonic()
        done, fps = len(report.frames), report.fps["total"]
        left = f", {(frames - done) / fps:.0f} s left" if frames and report.is_warm else ""
        of = f" of {frames}" if frames else ""
        print(f"{self._verb}: frame {done}{of}, {fps:.2f} fps, {report.bpp:.4f} bpp{left}", file=sys.stderr)


@contextmanager
def _report_file(options: argparse.Namespace) -> Iterator[BinaryIO | None]:
    """Open the file of --report before coding, so that an unwritable path fails at once."""
    if options.report is None:
        yield None
        return
    for path in (options.input, options.output):
        if options.report == path or same_file(options.report, path):
            raise OutputError(f"--report {options.report} is also the input or the output; give it a name of its own")
    with atomic_output(options.report) as file:
        yield file


def _finish(options: argparse.Namespace, report: dict[str, Any], file: BinaryIO | None) -> None:
    """Print the totals, on stderr if stdout has a stream, and write the report."""
    stream = sys.stderr if STDIO in (options.output, options.report) else sys.stdout
    if options.json:
        _show(json.dumps({key: value for key, value in report.items() if key != "frames"}), stream)
    else:
        quality = "" if report["psnr"] is None else f", PSNR {report['psnr']:.2f} dB"
        fps = report["fps"]
        _show(
            f"{options.output}: {_plural(report['frame_count'], 'frame')} {report['width']}x{report['height']}, "
            f"{report['bytes']} bytes, {report['bpp']:.4f} bpp, {report['kbps']:.1f} kbit/s{quality}, "
            f"{fps['total']:.2f} fps (network {fps['network']:.2f}, entropy {fps['entropy']:.1f}"
            f"{'' if report['fps_after_frames'] else '; with the start'})",
            stream,
        )
    _write_report(report, file)


def _write_report(report: dict[str, Any], file: BinaryIO | None) -> None:
    if file is not None:
        file.write((json.dumps(report, indent=1) + "\n").encode())


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_COMMANDS = {
    "encode": _encode,
    "decode": _decode,
    "info": _info,
    "repair": _repair,
    "models": _models,
    "convert": _convert,
    "demo": _demo,
}
