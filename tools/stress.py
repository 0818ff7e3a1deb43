"""Stress-test .nvc files. Every command ends with a count, or with the first failure.

python tools/stress.py mutations CLIP.y4m --count 20000    # damaged files, half with valid checks, through the reader
python tools/stress.py cuts CLIP.y4m --count 200           # frames before a cut are those of the whole file
python tools/stress.py kills CLIP.y4m --count 100          # killed encoders leave the old file or a whole one

All use the default model. The entropy coder itself is fuzzed by native_coder/fuzz.
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

import xxhash

from nvc_jax.bitstream import NvcReader, Packet, open_reader
from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.cli.command import main
from nvc_jax.errors import NvcError
from nvc_jax.video import open_video

OPTIONS = "--intra-period", 4, "--frames", 16
MEMORY = 100 << 20  # bytes that reading damaged files may allocate
SECONDS = 20  # for one damaged file


def nvc(*arguments):
    """Run a command line in this process, where programs compile once; give its exit code."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return main([str(argument) for argument in arguments])


def encode(clip, target):
    """Make the file to damage."""
    if nvc("encode", clip, target, *OPTIONS):
        raise SystemExit(f"{clip}: cannot be encoded")
    return target.read_bytes()


def mutated(data, noise):
    """Damage a copy by one to four flipped bits, cuts, splices, noise and huge numbers."""
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


def varint(value):
    """Encode seven bits a byte, least significant first."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def numbers(data):
    """Parse the varints at the start of bytes."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0


def checked(data, more=b""):
    """Append the check of bytes."""
    return bytes(data) + xxhash.xxh3_64_digest(bytes(data) + more)[:3:-1]


def forged(data, packets, noise):
    """Forge a copy with valid checks, but one to four damaged fields or misplaced records."""
    begin, end = 12 + int.from_bytes(data[10:12], "little"), packets[-1].offset + packets[-1].size_bytes
    header = bytearray(data[12:begin])
    records = [bytearray(data[max(begin + 4, one.offset) : one.offset + one.size_bytes - 4]) for one in packets]
    trailer = [*numbers(data[end + 1 : -12])][1:]
    for _ in range(noise.randint(1, 4)):
        number = noise.choice([0, 1, 127, 1 << noise.randrange(64), (1 << 17) + 1, noise.randrange(1 << 20)])
        record = noise.choice(records)
        match noise.randrange(7):
            case 0:
                header[noise.randrange(len(header))] = number & 255
            case 1:
                record[noise.randrange(min(6, len(record)))] = number & 255
            case 2:
                at = noise.randrange(1, 4)  # the number of the frame, or the length
                record[at : at + noise.randrange(3)] = varint(number)
            case 3:
                trailer[noise.randrange(len(trailer))] = number
            case 4:
                trailer[len(trailer) : len(trailer)] = [number, number >> 20] * noise.randrange(4)
                trailer[1] = (len(trailer) - 2) // 2
            case 5:
                records.insert(noise.randrange(len(records)), record)
            case _:
                records.insert(noise.randrange(len(records)), bytearray([0x80 | number & 127, 3, *b"new"]))
    whole = checked(data[:12] + header)
    index = -1
    for record in records:
        if record[0] < 0x80:
            fraction = record[0] >> 5 & 1
            index = next(numbers(record[2 + fraction :]), 0) if record[0] & ~0x20 == ord("I") else index + 1
        whole += checked(record, b"" if record[0] >= 0x80 else (index % (1 << 64)).to_bytes(8, "little"))
    fields = b"".join(map(varint, trailer))
    last = checked(b"E" + varint(len(fields)) + fields)
    return whole + last + len(last).to_bytes(4, "little") + data[-4:]


@contextlib.contextmanager
def limits(seed):
    """Limit time and memory for one damaged file; exceeding them names its seed."""

    def out_of_time(*_):
        raise AssertionError(f"seed {seed}: more than {SECONDS} s")

    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(SECONDS)
    try:
        yield
    except MemoryError:
        raise AssertionError(f"seed {seed}: more than {MEMORY >> 20} MiB") from None
    finally:
        signal.alarm(0)


def mutations(clip, count, folder):
    """Read damaged files; frames must equal the original's, except where checks were forged."""
    return read_damaged(encode(clip, folder / "s.nvc"), count)


def read_damaged(data, count):
    """Count the outcomes of reading damaged files."""
    packets = list(NvcReader(Cursor(io.BytesIO(data))))
    whole = {packet.index: packet.payload for packet in packets}
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    outcomes = collections.Counter()
    for seed in range(count):
        noise = random.Random(seed)
        forge, conceal = seed % 2 == 1, bool(noise.randrange(2))
        damaged = forged(data, packets, noise) if forge else mutated(data, noise)
        with limits(seed):
            try:
                for found in NvcReader(Cursor(io.BytesIO(damaged)), conceal):
                    right = forge or not isinstance(found, Packet) or whole[found.index] == found.payload
                    assert right, f"seed {seed}: wrong frame"
                outcome = "read to the end"
            except NvcError as error:
                outcome = type(error).__name__
        outcomes[outcome + " (forged)" * forge] += 1
    resource.setrlimit(resource.RLIMIT_AS, before)
    return dict(outcomes)


def pictures(stream, folder, *options):
    """Decode; give the exit code and the frames written."""
    video = folder / "d.yuv"
    video.unlink(missing_ok=True)
    code = nvc("decode", stream, video, *options)
    with open_reader(stream) as reader:
        size = reader.header.width, reader.header.height
    with open_video(video, size=size) as frames:
        return code, [frame.tobytes() for frame in frames]


def cuts(clip, count, folder):
    """Decode files truncated anywhere after the first frame."""
    data = encode(clip, folder / "s.nvc")
    code, whole = pictures(folder / "s.nvc", folder)
    assert code == 0
    with open_reader(folder / "s.nvc") as reader:
        ends = [packet.offset + packet.size_bytes for packet in reader]
    noise = random.Random(0)
    for _ in range(count):
        cut = noise.randrange(ends[0], len(data))
        (folder / "cut.nvc").write_bytes(data[:cut])
        code, found = pictures(folder / "cut.nvc", folder, "--keep-partial")
        assert code == 1, f"cut at byte {cut}: exit code {code}"
        assert found == whole[: sum(end <= cut for end in ends)], f"cut at byte {cut}: other frames"
    return {"with every whole frame": count}


def kills(clip, count, folder):
    """Kill encoders at random moments; the target must be the old file or a whole new one."""
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
    """Run one of the tests."""
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
