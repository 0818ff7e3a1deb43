"""Real processes: pipes, signals, closed streams, limits, and decoding where nothing of the encoder is left."""

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
import synthetic
from command_line import FRAMES, HEIGHT, WIDTH, hashes, planes, read_report, unchanged, wait_for

from nvc_jax.video import Colour, VideoInfo, create_video
from nvc_jax.video.frame import frame_bytes

Y4M_FRAME = len(b"FRAME\n") + frame_bytes(WIDTH, HEIGHT)


def refusal(process):
    """The sentence of a process that failed, after notes."""
    *notes, sentence = process.stderr.decode().splitlines()
    assert process.returncode == 1, process.stderr.decode()
    assert all(line.startswith(("note: ", "encode: frame", "decode: frame")) for line in notes), process.stderr.decode()
    return sentence


def test_another_process_decodes_the_same(nvc_process, coded, work):
    stream, report = coded
    process = nvc_process("decode", stream, "d.y4m", "--report", "d.json", "--json")
    assert process.returncode == 0, process.stderr.decode()
    assert hashes(read_report("d.json")) == hashes(report)
    assert {path.name for path in work.iterdir()} == {"d.y4m", "d.json"}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(17, 33), (130, 98)])
def test_another_process_smooths_the_same_edges(nvc_process, work, size):
    """The embedded model has deblocking; decoded from the middle, too."""
    with create_video(work / "clip.y4m", VideoInfo(*size, Fraction(25), Colour(1, 1, 1, False), 6)) as writer:
        for frame in synthetic.moving_picture(*size, 6):
            writer.write(frame)
    reports = []
    for arguments in (
        ("encode", "clip.y4m", "s.nvc", "--intra-period", "4"), ("decode", "s.nvc", "d.y4m"),
        ("decode", "s.nvc", "end.y4m", "--start", "5"),
    ):  # fmt: skip
        process = nvc_process(*arguments, "--model", "embedded", "--report", "r.json")
        assert process.returncode == 0, process.stderr.decode()
        reports.append(hashes(read_report("r.json")))
    assert reports[0] == reports[1]
    assert reports[2] == reports[0][5:]


def test_pipes(nvc_command, clip, coded):
    """y4m in by a pipe, the stream through a pipe, y4m out by a pipe: nothing but pictures on standard output."""
    with clip.open("rb") as source:
        encoder = subprocess.Popen(
            nvc_command("encode", "-", "-", "--reset-interval", 3, "--json"),
            stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    decoder = subprocess.Popen(
        nvc_command("decode", "-", "-"), stdin=encoder.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    encoder.stdout.close()
    pictures, notes = decoder.communicate(timeout=120)
    totals = encoder.stderr.read()
    encoder.stderr.close()
    assert (encoder.wait(), decoder.returncode) == (0, 0), notes
    assert f'"frame_count": {FRAMES}'.encode() in totals
    assert f"-: {FRAMES} frames".encode() in notes
    with open("piped.y4m", "wb") as file:
        file.write(pictures)
    sizes = [len(data) for data in planes("piped.y4m")]
    assert sizes == [frame_bytes(WIDTH, HEIGHT)] * FRAMES


def test_demo_of_a_pipe_is_refused(nvc, nvc_process, work):
    os.mkfifo(work / "pipe.y4m")
    sentence = "{}: the demo reads its video several times, and a pipe only once; give a file."
    assert nvc("demo", "--video", "pipe.y4m").refusal() == sentence.format("pipe.y4m")
    process = nvc_process("demo", "--video", "-", stdin=subprocess.DEVNULL)
    assert refusal(process) == "nvc-jax: " + sentence.format("standard input")


def test_cut_pipe_gives_the_whole_frames(nvc_process, coded):
    stream, _ = coded
    process = nvc_process("decode", "-", "-", input=stream.read_bytes()[:-1])
    assert process.stdout.count(b"FRAME\n") == FRAMES - 1
    assert len(process.stdout) == process.stdout.index(b"FRAME\n") + (FRAMES - 1) * Y4M_FRAME
    assert refusal(process).startswith(f"nvc-jax: -: frame {FRAMES - 1}: payload needs")


def test_reader_that_leaves(nvc_command, stream):
    command = nvc_command("decode", stream, "-", "--frames", 1)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "nvc-jax: standard output: the program that reads this output has ended."


def test_results_for_a_reader_that_leaves(nvc_command, stream):
    """As in info | head."""
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(nvc_command("info", stream), stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (process.returncode, process.stderr) == (128 + signal.SIGPIPE, b"")


def test_results_that_cannot_be_printed(nvc_process, stream):
    with open("/dev/full", "wb") as full:
        process = nvc_process("info", stream, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert refusal(process) == "nvc-jax: standard output: cannot write the result (No space left on device)."


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf_8(nvc_process, clip, work):
    name = os.fsdecode(b"caf\xe9")
    (work / f"{name}.y4m").write_bytes(clip.read_bytes())
    process = nvc_process("encode", f"{name}.y4m", f"{name}.nvc", "--frames", 1)
    assert process.returncode == 0, process.stderr.decode()
    assert process.stdout.startswith(rb"caf\udce9.nvc: 1 frame ")
    assert (work / f"{name}.nvc").stat().st_size
    missing = nvc_process("info", f"{name}.bin")
    assert refusal(missing) == r"nvc-jax: caf\udce9.bin: no such file."


def closed(command, *numbers):
    """A command line run by the shell with some standard streams closed."""
    return ["/bin/sh", "-c", f'exec "$@" {" ".join(f"{number}>&-" for number in numbers)}', "sh", *command]


def test_closed_streams(nvc_command, stream, work):
    """Never a traceback, and never a file that takes the place of a closed stream."""
    with unchanged(work):
        for arguments, sentence in (
            (["info", "-"], "nvc-jax: -: the file is empty."),
            (["encode", "-", "s.bin"], "nvc-jax: standard input: is empty."),
        ):
            command = closed(nvc_command(*arguments), 0)
            assert refusal(subprocess.run(command, capture_output=True, check=False)) == sentence
        process = subprocess.run(closed(nvc_command("info", stream), 1), stderr=subprocess.PIPE, check=False)
        assert refusal(process).startswith("nvc-jax: standard output: cannot write the result")
    everything = closed(nvc_command("decode", stream, "d.y4m", "--frames", 1), 0, 1, 2)
    assert subprocess.run(everything, check=False).returncode in (0, 1)  # the result may have nowhere to go
    assert len(planes("d.y4m")) == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_signals(nvc_command, clip, work, number, code):
    """A source that never ends, stopped in the middle: nothing is left behind, nothing was lost."""
    (work / "s.bin").write_bytes(b"old")
    os.mkfifo(work / "source.y4m")
    before = set(work.iterdir())
    command = nvc_command("encode", "source.y4m", "s.bin", "--report", "r.json")
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process, (work / "source.y4m").open("r+b", 0) as pipe:
        pipe.write(clip.read_bytes())
        wait_for(lambda: len(set(work.iterdir()) - before) == 2)  # the stream and the report have begun
        process.send_signal(number)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert errors.splitlines()[-1] == b"nvc-jax: interrupted"
    assert set(work.iterdir()) == before
    assert (work / "s.bin").read_bytes() == b"old"


def test_no_space_for_the_output(nvc_command, stream, work):
    command = ["/bin/sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *nvc_command("decode", stream, "d.mp4", "--frames", 1)]
    with unchanged(work):
        sentence = refusal(subprocess.run(command, capture_output=True, check=False))
    assert sentence.lower() == "nvc-jax: d.mp4: cannot write (file too large)."


def test_cache_that_cannot_be_used(nvc_process):
    """Without a word: the command just takes longer."""
    environment = os.environ | {"XDG_CACHE_HOME": "/dev/null", "HOME": "/dev/null"}
    Path("text").write_text("This is not a stream.\n")
    process = nvc_process("decode", "text", "d.y4m", env=environment)  # loading the model compiles already
    assert refusal(process).startswith("nvc-jax: text: not an nvc or dcvc stream (unknown unit type")


def test_help_is_instant(nvc_process):
    """It imports no JAX."""
    code = "import sys; from nvc_jax.cli.command import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert not {"jax", "numpy", "flax", "av"} & set(process.stderr.decode().split())
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        process = nvc_process("--help")
        seconds.append(time.perf_counter() - start)
    assert b"usage: nvc-jax" in process.stdout
    assert min(seconds) < 0.5
