"""Rough treatment of .nvc files. Every command ends with a count, or with the first thing that went wrong.

python tools/stress.py mutations CLIP.y4m --count 20000    # damaged files through the reader: frames or our errors
python tools/stress.py cuts CLIP.y4m --count 200           # frames before a cut are those of the whole file
python tools/stress.py kills CLIP.y4m --count 100          # killed encoders leave the old file or a whole one

The last two run the command line with the packaged model. The coder itself is fuzzed by native_coder/fuzz.
"""

import argparse
import collections
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
from nvc_jax.errors import NvcError

MEMORY = 1 << 30  # bytes that reading damaged files may add
SECONDS = 20  # for one damaged file


def run(*arguments):
    """The command line in a process of its own."""
    command = [str(Path(sys.executable).with_name("nvc-jax")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def encode(clip, target):
    """Make the file that is maltreated."""
    result = run("encode", clip, target, "--intra-period", 4, "--frames", 16)
    if result.returncode:
        raise SystemExit(result.stderr)
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


def decoded_hashes(stream, folder, *options):
    """Exit code, and the hash of every frame that was decoded."""
    report = folder / "d.json"
    report.unlink(missing_ok=True)
    code = run("decode", stream, folder / "d.y4m", "--report", report, *options).returncode
    return code, [frame["sha256"] for frame in json.loads(report.read_text())["frames"]] if report.exists() else []


def cuts(clip, count, folder):
    """Decode files that were cut anywhere after the first frame."""
    data = encode(clip, folder / "s.nvc")
    code, whole = decoded_hashes(folder / "s.nvc", folder)
    assert code == 0
    with open_reader(folder / "s.nvc") as reader:
        ends = [unit.offset + unit.size_bytes for unit in reader]
    (folder / "w.y4m").write_bytes((folder / "d.y4m").read_bytes())
    frame_bytes = ((folder / "w.y4m").stat().st_size - (folder / "w.y4m").read_bytes().index(b"\n") - 1) // len(whole)
    noise = random.Random(0)
    for number in range(count):
        cut = noise.randrange(ends[0], len(data))
        (folder / "cut.nvc").write_bytes(data[:cut])
        (folder / "d.y4m").unlink(missing_ok=True)
        result = run("decode", folder / "cut.nvc", folder / "d.y4m", "--keep-partial")
        assert result.returncode == 1, f"cut {number} at byte {cut}: exit code {result.returncode}"
        expected = (folder / "w.y4m").read_bytes()
        head = expected.index(b"\n") + 1
        frames = sum(end <= cut for end in ends)
        found = (folder / "d.y4m").read_bytes()
        assert found == expected[: head + frames * frame_bytes], f"cut {number} at byte {cut}: other frames"
    return {"cut, with every whole frame": count}


def kills(clip, count, folder):
    """Kill encoders at random moments; the target must be what it was, or whole."""
    target = folder / "s.nvc"
    start = time.monotonic()
    new = encode(clip, target)
    duration = time.monotonic() - start
    outcomes = collections.Counter()
    noise = random.Random(0)
    command = [str(Path(sys.executable).with_name("nvc-jax")), "encode", clip, target, "--intra-period", "4"]
    for _ in range(count):
        target.write_bytes(b"old")
        with subprocess.Popen(
            [*map(str, command), "--frames", "16"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) as process:
            time.sleep(noise.uniform(0, 1.1 * duration))
            process.kill()
        found = target.read_bytes()
        assert found in (b"old", new), "a damaged file"
        outcomes["old file" if found == b"old" else "whole new file"] += 1
    return dict(outcomes)


TREATMENTS = {function.__name__: function for function in (mutations, cuts, kills)}


def main():
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
    main()
