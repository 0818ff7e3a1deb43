"""The command line of eval.py: real streams, decoded again, measured on what was decoded."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from nvc_jax.codec.files import decode_file, encode_file
from nvc_jax.codec.model import PRECISIONS, Codec
from nvc_jax.codec.runtime import use_compilation_cache
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import BitstreamError, ConfigError, NvcError
from nvc_jax.files import atomic_output, make_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit code (0 well, 1 if a point failed, 2 usage)."""
    parser = argparse.ArgumentParser(prog="eval.py", description="Rate and distortion from real streams.")
    parser.add_argument("--model", default="embedded", help="packaged model or model directory")
    parser.add_argument("--videos", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--qps", type=int, nargs="+", default=[0, 21, 42, 63], metavar="Q")
    parser.add_argument("--frames", type=int, metavar="N", help="of every video; all by default")
    parser.add_argument("--intra-period", type=int, default=-1, metavar="N")
    parser.add_argument("--reset-interval", type=int, default=64, metavar="N")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--stream-dir", type=Path, required=True, help="streams and decoded videos go here")
    parser.add_argument("--output", required=True, metavar="OUT.json")
    try:
        options = parser.parse_args(argv)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    use_compilation_cache()
    failures = 0
    try:
        make_folder(options.stream_dir)
        twice = {video.stem for video in options.videos if [v.stem for v in options.videos].count(video.stem) > 1}
        if twice:
            raise ConfigError(f"several videos are called {', '.join(sorted(twice))}; streams are named after them.")
        codec = Codec.load(options.model, options.precision)
        points = []
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("points", total=len(options.videos) * len(options.qps))
            for video in options.videos:
                for qp in options.qps:
                    try:
                        points.append(_point(codec, video, qp, options))
                    except NvcError as error:
                        failures += 1
                        print(f"eval.py: {error}", file=sys.stderr)
                    progress.advance(task)
        with atomic_output(options.output) as file:
            file.write((json.dumps({"model": codec.stored.identity, "points": points}, indent=1) + "\n").encode())
    except NvcError as error:
        print(f"eval.py: {error}", file=sys.stderr)
        return 1
    for point in points:
        print(f"{point['video']:40} qp {point['qp']:>2}  {point['bpp']:.4f} bpp  {point['psnr']:.2f} dB")
    return 1 if failures else 0


def _point(codec: Codec, video: Path, qp: int, options: argparse.Namespace) -> dict[str, Any]:
    """Code, decode and compare one video at one qp.

    Raises:
        BitstreamError: the decoder got other pictures than the encoder.
    """
    stream = options.stream_dir / f"{video.stem}_qp{qp}.bin"
    schedule = Schedule(qp, qp, options.intra_period, options.reset_interval)
    coded = encode_file(codec, video, stream, schedule, frames=options.frames, reconstruct=True)
    decoded = decode_file(codec, stream, stream.with_suffix(".y4m"), hashes=True)
    for ours, theirs in zip(coded["frames"], decoded["frames"], strict=True):
        if ours["sha256"] != theirs["sha256"]:
            raise BitstreamError(f"{stream}: frame {ours['index']} decodes to another picture than the encoder had.")
    return {"video": video.name, "qp": qp, "encode_fps": coded["fps"], "decode_fps": decoded["fps"]} | {
        key: coded[key] for key in ("bpp", "kbps", "psnr_y", "psnr_u", "psnr_v", "psnr", "frame_count", "frames")
    }
