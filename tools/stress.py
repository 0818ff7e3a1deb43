"""Rough treatment of .nvc files. Every command ends with a count, or with the first thing that went wrong.

python tools/stress.py mutations CLIP.y4m --count 20000    # damaged files through the reader: frames or our errors
python tools/stress.py cuts CLIP.y4m --count 200           # frames before a cut are those of the whole file
python tools/stress.py kills CLIP.y4m --count 100          # killed encoders leave the old file or a whole one

All use the packaged model. The coder itself is fuzzed by native_coder/fuzz.
"""

import argparse
import collections
import contextlib
import io
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nvc_jax.bitstream import FrameUnit, NvcReader, open_reader
from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.cli import main
from nvc_jax.errors import NvcError
from nvc_jax.video import open_video

OPTIONS = "--intra-period", 4, "--frames", 16
MEMORY = 1 << 30  # bytes that reading damaged files may add
SECONDS = 20  # for one damaged file


def nvc(*arguments):
    """A command line in this process, where programs are compiled once. Returns its exit code."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return main([str(argument) for argument in arguments])


def encode(clip, target):
    """Make the file that is maltreated."""
    if nvc("encode", clip, target, *OPTIONS):
        raise SystemExit(f"{clip}: cannot be encoded")
    return target.read_bytes()


def mutated(data, noise):
    """A damaged copy: one to four of flipped bits, cuts, splices, noise and huge numbers."""
    damaged = bytearray(data)
    for _ in range(noise.randint(1, 4)):
        at, to = sorted(noise.randrange(len(damaged) + 1) for _ in range(2))
        match noise.randrange(6):
            case 0 if at < len(damaged):
                damaged[at] ^= 1 << noise.randrange(8)
            case 1:
                del damaged[at:]
            case 2:
                del damaged[at:to]
            case 3:
                damaged[at:at] = damaged[at:to]
            case 4:
                damaged[at:at] = noise.randbytes(noise.randrange(64))
            case _:
                damaged[at : at + 9] = b"\xff" * noise.randrange(9) + bytes([noise.randrange(128)])
    return bytes(damaged)


def mutations(clip, count, folder):
    """Read damaged files; every frame that is given must be one of the original's, at its place."""
    data = encode(clip, folder / "s.nvc")
    whole = {unit.index: unit.payload for unit in NvcReader(Cursor(io.BytesIO(data)))}
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MEMORY
    outcomes = collections.Counter()
    for seed in range(count):
        noise = random.Random(seed)
        damaged, conceal = mutated(data, noise), bool(noise.randrange(2))
        signal.alarm(SECONDS)
        try:
            for unit in NvcReader(Cursor(io.BytesIO(damaged)), conceal):
                assert not isinstance(unit, FrameUnit) or whole[unit.index] == unit.payload, f"seed {seed}: wrong frame"
            outcomes["read to the end"] += 1
        except NvcError as error:
            outcomes[type(error).__name__] += 1
        signal.alarm(0)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < limit, f"seed {seed}: memory"
    return dict(outcomes)


def pictures(stream, folder, *options):
    """Exit code of a decoder, and the frames that it wrote."""
    video = folder / "d.yuv"
    video.unlink(missing_ok=True)
    code = nvc("decode", stream, video, *options)
    with open_reader(stream) as reader:
        size = reader.header.width, reader.header.height
    with open_video(video, size=size) as frames:
        return code, [frame.tobytes() for frame in frames]


def cuts(clip, count, folder):
    """Decode files that were cut anywhere after the first frame."""
    data = encode(clip, folder / "s.nvc")
    code, whole = pictures(folder / "s.nvc", folder)
    assert code == 0
    with open_reader(folder / "s.nvc") as reader:
        ends = [unit.offset + unit.size_bytes for unit in reader]
    noise = random.Random(0)
    for _ in range(count):
        cut = noise.randrange(ends[0], len(data))
        (folder / "cut.nvc").write_bytes(data[:cut])
        code, found = pictures(folder / "cut.nvc", folder, "--keep-partial")
        assert code == 1, f"cut at byte {cut}: exit code {code}"
        assert found == whole[: sum(end <= cut for end in ends)], f"cut at byte {cut}: other frames"
    return {"with every whole frame": count}


def kills(clip, count, folder):
    """Kill encoders at random moments; the target must be what it was, or whole."""
    target = folder / "s.nvc"
    command = [Path(sys.executable).with_name("nvc-jax"), "encode", clip, target, *map(str, OPTIONS)]
    subprocess.run(command, check=True, capture_output=True)  # compiles
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    duration, new = time.monotonic() - start, target.read_bytes()
    outcomes = collections.Counter()
    noise = random.Random(0)
    for _ in range(count):
        target.write_bytes(b"old")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(noise.uniform(0, duration))
            process.kill()
        found = target.read_bytes()
        assert found in (b"old", new), "a damaged file"
        outcomes["old file" if found == b"old" else "whole new file"] += 1
    return dict(outcomes)


TREATMENTS = {function.__name__: function for function in (mutations, cuts, kills)}


def run():
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("treatment", choices=TREATMENTS)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = TREATMENTS[options.treatment](options.clip, options.count, Path(folder))
    print(json.dumps({options.treatment: options.count, **outcome}))


if __name__ == "__main__":
    run()
