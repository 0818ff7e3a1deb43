"""`nvc-jax evaluate` and eval.py: rate and distortion from real streams."""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nvc_jax.cli.arguments import parse_size, parse_threshold
from nvc_jax.cli.program import run_command, with_options
from nvc_jax.codec.model import PRECISIONS
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import ConfigError, NvcError
from nvc_jax.evaluation.baselines import BASELINES
from nvc_jax.evaluation.coders import Coder, ModelCoder
from nvc_jax.evaluation.estimate import EstimatingCoder
from nvc_jax.evaluation.progress import PointProgress
from nvc_jax.evaluation.results import Point, collect, write_json
from nvc_jax.evaluation.runner import Job, find_existing, run_all
from nvc_jax.evaluation.sequences import Video, from_files, read_config
from nvc_jax.io.files import make_folder
from nvc_jax.spec import (
    DEFAULT_MODEL,
    DEFAULT_PRESET,
    DEFAULT_RDOQ,
    DEFAULT_SKIP_THRESHOLD,
    FILE_PRECISION,
    PRESETS,
    QP_LEVELS,
)

DEFAULT_QPS = 0, 13, 26, 39, 52, 63


def main(argv: Sequence[str] | None = None, prog: str = "nvc-jax evaluate") -> int:
    """Evaluate; returns the exit code: 0 success, 1 failed points or bad input, 2 usage."""
    return run_command(_parser(prog), _evaluate, argv)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Rate and distortion from real streams, in the JSON of the official DCVC-RT test.",
    )
    parser.set_defaults(prog=prog)
    parser.add_argument(
        "--model",
        nargs="+",
        default=[DEFAULT_MODEL],
        metavar="NAME|DIR",
        help=f"packaged models, model directories, or conventional encoders: {', '.join(BASELINES)}",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, metavar="DATASETS.json", help="official dataset configuration")
    source.add_argument("--videos", nargs="+", metavar="GLOB", help="video files; their folder is their class")
    parser.add_argument("--root", type=Path, metavar="DIR", help="overrides root_path of the configuration")
    rates = parser.add_mutually_exclusive_group()
    rates.add_argument("--qps", type=int, nargs="+", metavar="Q", help=f"of models (default: {_shown(DEFAULT_QPS)})")
    rates.add_argument("--rate-num", type=int, metavar="N", help="this many qps from 0 to 63")
    parser.add_argument("--size", metavar="WxH", help="size of raw videos; other videos must have it too")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames of every video")
    parser.add_argument("--track", type=int, metavar="N", help="video track of every video, from 0 (default: FFmpeg's)")
    parser.add_argument("--intra-period", type=int, metavar="N", help="overrides the configuration; -1: one I frame")
    parser.add_argument("--reset-interval", type=int, default=64, metavar="N")
    parser.add_argument(
        "--skip-threshold",
        default=str(DEFAULT_SKIP_THRESHOLD),
        metavar="T|none",
        help="skip symbols with a scale of at most T (default %(default)s)",
    )
    parser.add_argument(
        "--container",
        choices=("nvc", "dcvc"),
        default="nvc",
        help="of the streams; dcvc: the official one, with the settings of the official test (default %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help=f"of the arithmetic (default: {FILE_PRECISION}; that of the model in the official container)",
    )
    parser.add_argument(
        "--rdoq",
        type=float,
        metavar="S",
        help=f"see nvc-jax encode (default: {DEFAULT_RDOQ}; 0 in the official container for models without motion)",
    )
    parser.add_argument(
        "--skip-blocks", action=argparse.BooleanOptionalAction, default=True, help="see nvc-jax encode (default: skip)"
    )
    parser.add_argument(
        "--preset", choices=PRESETS, default=DEFAULT_PRESET, help="see nvc-jax encode (default %(default)s)"
    )
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="take the pictures from the encoder: the same bytes, no stream kept, nothing decoded",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes, spread over the devices")
    parser.add_argument("--check-existing", action="store_true", help="keep points that are already in --stream-dir")
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="measure part I of N, from 1; run all N with the same options and folders, at once or one after another",
    )
    parser.add_argument(
        "--stream-dir", type=Path, metavar="DIR", help="streams, points and pictures; by default beside the output"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="OUT.json", help="results; with several models a folder for them"
    )
    return parser


def _evaluate(options: argparse.Namespace) -> int:
    intra_period = -1 if options.intra_period is None else options.intra_period
    Schedule(intra_period=intra_period, reset_interval=options.reset_interval)  # an error here, not at each point
    coders, videos = _coders(options), _videos(options)
    if options.workers < 1:
        raise ConfigError(f"--workers is {options.workers}; it must be at least 1.")
    shard, shards = _shard(options.shard)
    several = len(coders) > 1
    if several == (options.output.suffix == ".json"):
        raise ConfigError(
            f"--output {options.output}: give a folder for the results of several models, OUT.json for those of one."
        )
    folder = options.stream_dir or options.output.with_name(options.output.stem + "_streams")
    make_folder(options.output if several else options.output.parent)
    make_folder(folder)
    every = [
        Job(coder, video, rate_index, folder)
        for coder in coders
        for video in videos
        for rate_index in range(len(coder.qps))
    ]
    jobs = dict(list(enumerate(every))[shard - 1 :: shards])
    points = find_existing(jobs) if options.check_existing else {}
    print(_plan(coders, videos, len(jobs), len(points), options.shard), file=sys.stderr)
    failures = _measure({n: job for n, job in jobs.items() if n not in points}, points, options)
    others = {number: job for number, job in enumerate(every) if number not in jobs}
    points |= find_existing(others)
    for number in sorted(jobs.keys() & points.keys()):
        print(_line(every[number], points[number]))
    if others.keys() <= points.keys():
        for coder in coders:
            path = options.output / f"{coder.name}.json" if several else options.output
            if found := [points[number] for number in sorted(points) if every[number].coder is coder]:
                write_json(path, collect(found))
            else:
                print(f"{options.prog}: {path}: not written, no point of {coder.name} was measured", file=sys.stderr)
    else:
        print(
            f"{options.prog}: {len(points)} of {len(every)} points are in {folder}; the shard that ends last writes "
            "the results, or the same command with --check-existing instead of --shard.",
            file=sys.stderr,
        )
    if failures:
        failed = sum(map(len, failures.values()))
        print(f"{options.prog}: {failed} of {len(jobs)} points failed:", file=sys.stderr)
        print(*map(with_options, _failed_points(failures)), sep="\n", file=sys.stderr)
    return 1 if failures else 0


def _measure(jobs: Mapping[int, Job], points: dict[int, Point], options: argparse.Namespace) -> dict[str, list[Job]]:
    """Measure points into `points`; returns the failed ones by error."""
    failures: dict[str, list[Job]] = defaultdict(list)
    with PointProgress(len(jobs)) as progress:
        for number, outcome in run_all(jobs, options.workers):
            if isinstance(outcome, NvcError):
                failures[str(outcome)].append(jobs[number])
                if len(failures[str(outcome)]) == 1:  # once, though every qp may fail with it
                    progress.say(f"{options.prog}: {jobs[number]}: {outcome}")
            else:
                points[number] = outcome
            progress.advance(str(jobs[number]))
    return failures


def _plan(coders: Sequence[Coder], videos: Sequence[Video], points: int, existing: int, shard: str | None) -> str:
    """Say what will be measured."""
    names = ", ".join(f"{coder.name} at {_shown(coder.qps)}" for coder in coders)
    part = f", those of shard {shard}" if shard else ""
    kept = f", {existing} of them kept" if existing else ""
    return f"points to measure: {points}{part}{kept}; videos: {len(videos)}; qps: {names}"


def _shard(text: str | None) -> tuple[int, int]:
    """Parse `--shard`."""
    if text is None:
        return 1, 1
    part, slash, count = text.partition("/")
    if not (slash and part.isdecimal() and count.isdecimal() and 1 <= int(part) <= int(count)):
        raise ConfigError(f"--shard {text} is not of the form I/N with I from 1 to N, for example 1/4.")
    return int(part), int(count)


def _shown(qps: Sequence[int]) -> str:
    return " ".join(map(str, qps))


def _failed_points(failures: Mapping[str, Sequence[Job]]) -> list[str]:
    """A line for every coder and video with failed qps; the errors were printed as they came."""
    qps: dict[str, list[int]] = defaultdict(list)
    for job in (job for jobs in failures.values() for job in jobs):
        qps[f"{job.coder.name}: {job.video}"].append(job.qp)
    return [f"  {name}, qp {' '.join(map(str, found))}" for name, found in qps.items()]


def _line(job: Job, point: Point) -> str:
    rate, psnr, msssim = (point[f"ave_all_frame_{what}"] for what in ("bpp", "psnr", "msssim"))
    similarity = "too small for MS-SSIM" if msssim is None else f"{msssim:.4f}"
    if msssim is not None and point["msssim_planes"] == "y":
        similarity += " (luma: chroma is too small for MS-SSIM)"
    return f"{job.coder.name:12} {job.video!s:40} qp {job.qp:>2}  {rate:.4f} bpp  {psnr:.2f} dB  {similarity}"


def _coders(options: argparse.Namespace) -> list[Coder]:
    qps = _qps(options)
    threshold = parse_threshold(options.skip_threshold)
    coder_type = EstimatingCoder if options.estimate else ModelCoder
    coders: list[Coder] = []
    for name in options.model:
        if name in BASELINES:
            coders.append(BASELINES[name])
            continue
        coders.append(
            coder_type.described(
                name,
                qps,
                options.reset_interval,
                container=options.container,
                precision=options.precision,
                skip_threshold=threshold,
                rdoq=options.rdoq,
                skip_blocks=options.skip_blocks,
                preset=options.preset,
            )
        )
    for name, count in Counter(coder.name for coder in coders).items():
        if count > 1:
            raise ConfigError(f"{count} models are called {name}; streams and results are named after them.")
    return coders


def _qps(options: argparse.Namespace) -> tuple[int, ...]:
    if options.rate_num is not None:
        if not 2 <= options.rate_num <= QP_LEVELS:
            raise ConfigError(f"--rate-num is {options.rate_num}; it must be from 2 to {QP_LEVELS}.")
        step = (QP_LEVELS - 1) / (options.rate_num - 1)
        return tuple(int(index * step + 0.5) for index in range(options.rate_num))
    qps = tuple(options.qps or DEFAULT_QPS)
    for qp in qps:
        if not 0 <= qp < QP_LEVELS:
            raise ConfigError(f"--qps has {qp}; qps are from 0 to {QP_LEVELS - 1}.")
    if len(set(qps)) < len(qps):
        raise ConfigError("--qps names a qp twice.")
    return qps


def _videos(options: argparse.Namespace) -> list[Video]:
    videos = from_files(options.videos) if options.videos else read_config(options.config, options.root)
    if options.size is not None:
        if options.config:
            raise ConfigError("--size is for --videos; a dataset configuration has the sizes.")
        videos = [replace(video, size=parse_size(options.size)) for video in videos]
    if options.frames is not None:
        if options.frames < 1:
            raise ConfigError(f"--frames is {options.frames}; it must be at least 1.")
        videos = [replace(v, frames=min(options.frames, v.frames or options.frames)) for v in videos]
    if options.track is not None:
        videos = [replace(video, track=options.track) for video in videos]
    if options.intra_period is not None:
        videos = [replace(video, intra_period=options.intra_period) for video in videos]
    return videos
