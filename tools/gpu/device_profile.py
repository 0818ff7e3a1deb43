"""Profile the kernels of a device in encoding and decoding a sequence.

python tools/gpu/device_profile.py --model NAME|DIR --size WxH --precision P [--clip VIDEO] --output OUT.json
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData

from nvc_jax.benchmark.sequence import encode, scaled_clip
from nvc_jax.benchmark.subject import QP, load, moving_picture
from nvc_jax.cli.arguments import parse_size
from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.runtime import prepare_process
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import NvcError
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD

_BEFORE = 6  # frames that compile and warm up
_TOP = 60  # kernels listed


def profile(items: Iterator[Any], frames: int) -> dict[str, Any]:
    """Profile the frames of an iterator after the first ones."""
    list(islice(items, _BEFORE))
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # it would slow the host down
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with jax.profiler.trace(folder, profiler_options=options):
            list(islice(items, frames))
        seconds = time.perf_counter() - start
        (file,) = Path(folder).glob("**/*.xplane.pb")
        return _table(ProfileData.from_file(str(file)), frames) | {"wall_us_per_frame": 1e6 * seconds / frames}


def _table(data: ProfileData, frames: int) -> dict[str, Any]:
    rows: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for event in _kernels(data):
        stats = dict(event.stats)
        row = rows[event.name, str(stats.get("hlo_module", "")), str(stats.get("hlo_op", ""))]
        row[0] += 1
        row[1] += event.duration_ns / 1e3
    names: dict[str, float] = defaultdict(float)
    modules: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for (name, module, _), (count, us) in rows.items():
        names[name] += us
        modules[module][0] += count
        modules[module][1] += us
    top = sorted(rows.items(), key=lambda row: -row[1][1])[:_TOP]
    return {
        "frames": frames,
        "kernels_per_frame": sum(count for count, _ in rows.values()) / frames,
        "device_us_per_frame": sum(us for _, us in rows.values()) / frames,
        "programs": {
            name: {"kernels_per_frame": count / frames, "us_per_frame": us / frames}
            for name, (count, us) in sorted(modules.items(), key=lambda row: -row[1][1])
        },
        "top": [
            {"kernel": name, "program": module, "op": op, "count": count, "total_us": us, "mean_us": us / count}
            for (name, module, op), (count, us) in top
        ],
    }


def _kernels(data: ProfileData) -> Iterator[Any]:
    """Iterate over device events: those of GPU streams, and on CPUs the instructions of programs."""
    for plane in data.planes:
        on_gpu = plane.name.startswith("/device:GPU")
        for line in plane.lines:
            if on_gpu and line.name.startswith("Stream"):
                yield from line.events
            elif not on_gpu and jax.default_backend() == "cpu":
                yield from (event for event in line.events if any(name == "hlo_op" for name, _ in event.stats))


def _lines(side: str, table: dict[str, Any]) -> list[str]:
    wall, device = table["wall_us_per_frame"], table["device_us_per_frame"]
    first = f"{side}: {device:.0f} us of kernels in {wall:.0f} us a frame, {table['kernels_per_frame']:.0f} kernels"
    programs = [
        f"{name.removeprefix('jit_') or 'copies'} {row['us_per_frame']:.0f} us ({row['kernels_per_frame']:.0f})"
        for name, row in list(table["programs"].items())[:12]
    ]
    frames = table["frames"]
    top = [
        f"  {row['total_us'] / frames:7.1f} us x{row['count'] / frames:<4.1f} {row['program'].removeprefix('jit_')} "
        f"{row['kernel'][:60]} {row['op'][:30]}"
        for row in table["top"][:8]
    ]
    return [first, "  " + ", ".join(programs), *top]


def main() -> None:
    """Profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", type=parse_size, required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--clip")
    parser.add_argument("--frames", type=int, default=8, help="profiled frames")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    prepare_process()
    count = _BEFORE + options.frames + 2  # the encoder runs ahead of its output
    try:
        codec, _ = load(options.model, options.precision)
        if options.clip:
            frames = scaled_clip(options.clip, options.size, count)
        else:
            frames = list(moving_picture(*options.size, count))
    except NvcError as error:
        sys.exit(f"device_profile.py: {error}")
    schedule = Schedule(QP, QP)
    packets, _ = encode(codec, [*frames, *frames], schedule)
    sides = {
        "encode": Encoder(codec, *options.size, schedule, DEFAULT_SKIP_THRESHOLD, "interleaved").packets(frames),
        "decode": Decoder(codec, DEFAULT_SKIP_THRESHOLD).frames(packets),
    }
    tables = {side: profile(items, options.frames) for side, items in sides.items()}
    title = "{} {}x{} {}".format(options.model, *options.size, options.precision)
    lines = [title, *(line for side, table in tables.items() for line in _lines(side, table))]
    options.output.write_text(json.dumps({"lines": lines, **tables}, indent=1) + "\n")


if __name__ == "__main__":
    main()
