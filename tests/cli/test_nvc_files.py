"""Our container through the command line: what a file says, cuts, damage, seeking, other models."""

import dataclasses
import io
import json
import os
import signal
import subprocess
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import synthetic
from command_line import HEIGHT, WIDTH, hashes, planes, read_report, unchanged, wait_for

from nvc_jax.bitstream import open_reader
from nvc_jax.bitstream.nvc_syntax import MAGIC
from nvc_jax.cli.command import main
from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.model import Codec
from nvc_jax.codec.store import load_model, make_model, save_model
from nvc_jax.entropy import coder as coder_module
from nvc_jax.entropy.coder import PacketDecoder
from nvc_jax.errors import BitstreamError
from nvc_jax.models.params import flatten, unflatten
from nvc_jax.video import open_video, write_png

LENGTH, PERIOD = 13, 4


@pytest.fixture(scope="module")
def coded(make_clip, model, tmp_path_factory):
    """Thirteen frames with an intra frame every four: (stream, the encoder's report)."""
    clip = make_clip("long.y4m", synthetic.moving_picture(WIDTH, HEIGHT, LENGTH))
    path = tmp_path_factory.mktemp("streams") / "long.nvc"
    report = path.with_suffix(".json")
    options = ["--intra-period", PERIOD, "--qp", 30.3, "--intra-qp", 36, "--skip-threshold", 0.2, "--model", model]
    options += ["--precision", "float32"]
    assert main([str(a) for a in ["encode", clip, path, "--report", report, *options]]) == 0
    return path, read_report(report)


@pytest.fixture(scope="module")
def stream(coded):
    return coded[0]


@pytest.fixture(scope="module")
def packets(stream):
    with open_reader(stream) as reader:
        return list(reader)


def decoded_hashes(nvc, *arguments):
    assert nvc("decode", *arguments, "d.y4m", "--report", "d.json").code == 0
    return hashes(read_report("d.json"))


def test_round_trip(nvc, coded):
    stream, report = coded
    assert decoded_hashes(nvc, stream) == hashes(report)  # threshold and fractional qp are in the stream
    decoded = read_report("d.json")
    assert decoded["bytes"] == report["bytes"] == stream.stat().st_size
    assert decoded["frame_rate"] == report["frame_rate"] == 25
    for name in ("index", "type", "qp"):
        assert [f[name] for f in decoded["frames"]] == [f[name] for f in report["frames"]]
    with open_video("d.y4m") as reader:
        assert reader.info.fps == 25
        assert reader.info.colour.full_range is False


def test_info(nvc, stream, coded):
    described = nvc("info", stream, "--json").json()
    assert described["container"] == "nvc"
    assert described["model"] == "tiny"
    assert described["identity"] == coded[1]["identity"]
    assert (described["precision"], described["arithmetic"]) == ("float32", 0)
    assert (described["width"], described["height"], described["frames"]) == (WIDTH, HEIGHT, LENGTH)
    assert Fraction(described["frame_rate"]) == 25
    assert described["colour"]["full_range"] is False  # what y4m says
    assert described["skip_threshold"] == 0.2
    assert (described["qp"], described["intra_qp"], described["intra_period"]) == (round(30.3 * 256) / 256, 36, PERIOD)
    assert described["intra_frames"] == 4
    assert described["bytes"] == stream.stat().st_size
    assert "frame_list" not in described
    listed = nvc("info", stream, "--json", "--frames").json()["frame_list"]
    assert [f["type"] for f in listed] == ["I" if t % PERIOD == 0 else "P" for t in range(LENGTH)]
    text = nvc("info", stream, "--frames").out
    assert "skip threshold  0.2" in text
    assert len(text.splitlines()) > LENGTH + len(described)


def test_overhead(stream, packets):
    """Everything but the payloads, header and trailer included: the file is short, so allow for the header."""
    frames = sum(packet.size_bytes - len(packet.payload) for packet in packets[1:]) / (len(packets) - 1)
    assert frames <= 14
    trailer = stream.stat().st_size - sum(packet.size_bytes for packet in packets)
    assert trailer <= 14 + 4 * (1 + LENGTH // PERIOD)


@pytest.mark.parametrize("start", range(LENGTH))
def test_seeking(nvc, coded, start):
    stream, report = coded
    assert decoded_hashes(nvc, stream, "--start", start) == hashes(report)[start:]
    assert decoded_hashes(nvc, stream, "--start", start, "--frames", 1) == hashes(report)[start : start + 1]


def test_seeking_without_an_index(nvc, nvc_process, coded, clip):
    stream, report = coded
    process = nvc_process("decode", "-", "d.y4m", "--start", 6, "--report", "d.json", input=stream.read_bytes())
    assert process.returncode == 0
    assert hashes(read_report("d.json")) == hashes(report)[6:]
    assert nvc("encode", clip, "s.bin", "--report", "e.json").code == 0
    assert decoded_hashes(nvc, "s.bin", "--start", 3) == hashes(read_report("e.json"))[3:]


def test_start_beyond_the_end(nvc, stream, work):
    with unchanged(work):
        assert "frames, there is no frame 99" in nvc("decode", stream, "d.y4m", "--start", 99).refusal()
        assert "--start is -1" in nvc("decode", stream, "d.y4m", "--start=-1").refusal()


def test_cuts_give_the_frames_before_them(nvc, stream, packets, work):
    data = stream.read_bytes()
    for cut in np.random.default_rng(3).choice(np.arange(packets[0].size_bytes, len(data)), 10, replace=False):
        (work / "cut.nvc").write_bytes(data[:cut])
        with unchanged(work):
            assert "cut.nvc: " in nvc("decode", "cut.nvc", "d.y4m").refusal()
        result = nvc("decode", "cut.nvc", "d.y4m", "--keep-partial", "--report", "d.json")
        whole = sum(packet.offset + packet.size_bytes <= cut for packet in packets)
        assert f"d.y4m has the frames before it ({whole})." in result.refusal()
        assert result.refusal().startswith("cut.nvc: ")
        with open_video("d.y4m") as reader:
            assert [f.tobytes() for f in reader] == full(nvc, stream)[:whole]
        report = read_report("d.json")
        assert (report["frame_count"], report["damage"] in result.err) == (whole, True)
        (work / "d.y4m").unlink()
        (work / "d.json").unlink()


def full(nvc, stream, cache={}):  # noqa: B006
    """The pictures of a whole stream, decoded once."""
    if stream not in cache:
        assert nvc("decode", stream, "full.y4m").code == 0
        cache[stream] = planes("full.y4m")
        os.unlink("full.y4m")
    return cache[stream]


def damaged(packets, data, index):
    """The file with a flipped bit in the payload of a frame."""
    packet = packets[index]
    at = packet.offset + packet.size_bytes - 20
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def test_a_damaged_frame_is_named(nvc, stream, packets, work):
    (work / "bad.nvc").write_bytes(damaged(packets, stream.read_bytes(), 6))
    with unchanged(work):
        sentence = nvc("decode", "bad.nvc", "d.y4m").refusal()
    assert sentence.startswith("bad.nvc: frame 6: its bytes do not fit their check, the file is damaged (byte ")


def test_concealment(nvc, coded, packets, work):
    stream, report = coded
    (work / "bad.nvc").write_bytes(damaged(packets, stream.read_bytes(), 6))
    result = nvc("decode", "bad.nvc", "d.y4m", "--conceal", "--report", "d.json")
    assert result.code == 0
    assert "note: 2 of 13 frames are lost; they repeat the picture before them" in result.err
    expected, found = hashes(report), read_report("d.json")["frames"]
    expected[6:8] = [expected[5]] * 2
    assert [f["sha256"] for f in found] == expected
    assert [f["type"] for f in found][5:9] == ["P", "lost", "lost", "I"]

    (work / "bad.nvc").write_bytes(damaged(packets, stream.read_bytes(), 0))
    assert nvc("decode", "bad.nvc", "d.y4m", "--conceal", "--report", "d.json").code == 0
    assert hashes(read_report("d.json"))[PERIOD:] == hashes(report)[PERIOD:]
    assert np.unique(np.frombuffer(planes("d.y4m")[0], np.uint8)).tolist() == [128]  # nothing to repeat: grey


def test_repair(nvc, nvc_process, coded, packets, work):
    stream, report = coded
    data = stream.read_bytes()
    (work / "cut.nvc").write_bytes(data[: packets[9].offset + 5])
    result = nvc("repair", "cut.nvc", "whole.nvc")
    assert result.code == 0
    assert result.out.startswith("whole.nvc: 9 frames (")
    assert decoded_hashes(nvc, "whole.nvc") == hashes(report)[:9]
    assert nvc("repair", "whole.nvc", "again.nvc", "--json").json() == {"frames": 9, "lost": 0, "damage": None}
    assert (work / "again.nvc").read_bytes() == (work / "whole.nvc").read_bytes()
    (work / "bad.nvc").write_bytes(damaged(packets, data, 6))
    assert nvc("repair", "bad.nvc", "holes.nvc", "--json").json()["lost"] == 2
    with unchanged(work):
        assert "holes.nvc: frame 6: frames 6 to 7 are missing" in nvc("decode", "holes.nvc", "d.y4m").refusal()
        assert "is the input itself" in nvc("repair", "cut.nvc", "cut.nvc").refusal()
    assert nvc("decode", "holes.nvc", "d.y4m", "--conceal", "--report", "d.json").code == 0
    assert hashes(read_report("d.json"))[8:] == hashes(report)[8:]
    described = nvc("info", "holes.nvc", "--json").json()
    assert (described["frames"], described["lost"]) == (LENGTH - 2, 2)
    piped = nvc_process("repair", "holes.nvc", "-")
    assert piped.stdout == (work / "holes.nvc").read_bytes()
    (work / "text.nvc").write_text("text")
    with unchanged(work):
        assert "there is nothing to repair in other containers" in nvc("repair", "text.nvc", "x.nvc").refusal()


def other_model(model, folder, change):
    """The model with another weight in one of its last layers."""
    stored = load_model(model)
    params = flatten(stored.params)
    name = next(name for name in params if "inter/decoder_out" in name and name.endswith("bias"))
    params[name] = change(params[name].copy())
    save_model(folder, make_model(stored.config, unflatten(params), "changed", stored.tables))
    return folder


def one_ulp(bias):
    bias[0] = np.nextafter(bias[0], np.float32(9))
    return bias


def integers(folder, packets):
    """Symbols and table rows of every frame as this model decodes them, up to the first that does not decode."""
    frames = []

    class Recorder(PacketDecoder):
        def z(self, *arguments):
            frames.append([super().z(*arguments)])
            return frames[-1][0]

        def plane(self, indexes):
            symbols = super().plane(indexes)
            frames[-1] += [indexes, symbols]
            return symbols

    unchecked = (dataclasses.replace(packet, check=None) for packet in packets)
    with pytest.MonkeyPatch.context() as patch, suppress(BitstreamError):
        patch.setattr(coder_module, "PacketDecoder", Recorder)
        for _ in Decoder(Codec(load_model(folder)), 0.2).frames(unchecked):
            pass
    return [b"".join(array.tobytes() for array in frame) for frame in frames]


@pytest.mark.parametrize("change", [one_ulp, lambda bias: bias + np.float32(0.05)], ids=["one ulp", "all by 0.05"])
def test_another_model_is_refused_and_its_desync_is_found(nvc, model, stream, packets, work, change):
    other = other_model(model, work / "other", change)
    with unchanged(work):
        sentence = nvc("decode", stream, "d.y4m", "--model", other).refusal()
    assert "the stream was made with the model tiny (identity " in sentence
    assert "give the right one as --model" in sentence

    # Forced, it is found out at the first frame where an integer differs, and only there.
    right, wrong = integers(model, packets), integers(other, packets)
    first = next((t for t in range(LENGTH) if wrong[t : t + 1] != right[t : t + 1]), None)
    assert change is one_ulp or first == 2  # frame 1 has the right reference; only its own feature is wrong
    result = nvc("decode", stream, "d.y4m", "--model", other, "--ignore-identity", "--keep-partial")
    if first is None:
        assert result.code == 0
    else:
        assert f"frame {first}: " in result.refusal()
        assert "was coded with another model or on another kind of machine" in result.refusal()
        assert len(planes("d.y4m")) == first


def test_files_are_int16_unless_told_otherwise(nvc, clip):
    assert nvc("encode", clip, "s.nvc", "--frames", 2, "--report", "e.json").code == 0
    described = nvc("info", "s.nvc", "--json").json()
    assert (described["precision"], described["arithmetic"]) == ("int16", 2)
    assert decoded_hashes(nvc, "s.nvc") == hashes(read_report("e.json"))


def test_another_precision_is_refused(nvc, stream, work):
    with unchanged(work):
        sentence = nvc("decode", stream, "d.y4m", "--precision", "bfloat16").refusal()
        unknown = nvc("decode", stream, "d.y4m", "--precision", "fp32").refusal()
    assert "made in float32 and does not decode in bfloat16" in sentence
    assert "choose from float32, bfloat16, float16, int16" in unknown


def test_the_default_model_is_found(clip, work, capsys):
    assert main(["encode", str(clip), "s.nvc", "--frames", "1", "--report", "e.json"]) == 0
    assert main(["decode", "s.nvc", "d.y4m", "--report", "d.json"]) == 0
    assert hashes(read_report("d.json")) == hashes(read_report("e.json"))


def test_a_model_that_is_not_packaged_is_named(stream, work, capsys):
    with unchanged(work):
        assert main(["decode", str(stream), "d.y4m"]) == 1
    assert "made with the model tiny (identity" in capsys.readouterr().err


def test_containers(nvc, clip, work):
    for options, name, expected, precision in (
        ((), "a.nvc", "nvc", "int16"),
        ((), "a.bin", "dcvc", "float32"),
        ((), "a", "nvc", "int16"),
        (("--container", "dcvc"), "b.nvc", "dcvc", "float32"),
        (("--container", "nvc"), "b.bin", "nvc", "int16"),
    ):
        report = nvc("encode", clip, name, "--frames", 1, *options, "--json").json()
        assert report["precision"] == precision
        assert nvc("info", name, "--json").json()["container"] == expected


@pytest.mark.parametrize("name", ["x.mp4", "x.Y4M", "x.mkv"])
def test_a_stream_is_not_called_a_video(nvc, clip, work, name):
    with unchanged(work):
        sentence = nvc("encode", clip, name).refusal()
    assert sentence.startswith(f"{name}: is the name of a video, and a stream is no file for players; name it x.nvc,")
    assert nvc("encode", clip, name, "--frames", 1, "--container", "nvc").code == 0
    assert (work / name).read_bytes().startswith(MAGIC)


def test_info_of_a_file_without_a_whole_frame(nvc, stream, packets, work):
    """The header is shown, and the damage is the error."""
    (work / "cut.nvc").write_bytes(stream.read_bytes()[: packets[0].offset + packets[0].size_bytes - 1])
    shown = nvc("info", "cut.nvc")
    assert shown.code == 1
    assert shown.err.startswith("nvc-jax: cut.nvc: frame 0: ")
    lines = dict(line.strip().split("  ", 1) for line in shown.out.splitlines())
    assert (lines["model"], lines["width"], lines["height"], lines["frames"]) == ("tiny", str(WIDTH), str(HEIGHT), "0")
    assert f"{lines['damage']}." == shown.err.strip().removeprefix("nvc-jax: cut.nvc: ")
    assert json.loads(nvc("info", "cut.nvc", "--json").out)["frame_rate"] == lines["frame rate"]


def test_repair_of_an_empty_file(nvc, work):
    (work / "empty.nvc").touch()
    with unchanged(work):
        assert nvc("repair", "empty.nvc", "x.nvc").refusal() == "empty.nvc: the file is empty."


def test_rgb_sources(nvc, work):
    picture = synthetic.uniform("rgb", (HEIGHT, WIDTH, 3), 0, 256).astype(np.uint8)
    (work / "in").mkdir()
    write_png(work / "in" / "0.png", picture)
    assert nvc("encode", "in", "s.nvc", "--precision", "float32").code == 0
    assert nvc("encode", "in", "s.bin").code == 0
    assert nvc("info", "s.nvc", "--json").json()["colour"]["full_range"] is True
    for name in ("s.nvc", "s.bin"):
        assert nvc("decode", name, f"{name}.out/").code == 0
    same = [(work / f"{name}.out" / "im00001.png").read_bytes() for name in ("s.nvc", "s.bin")]
    assert same[0] == same[1]


def test_unknown_versions_and_foreign_headers(nvc, stream, work):
    data = stream.read_bytes()
    for damaged, words in (
        (data[:8] + b"\x02" + data[9:], "version 2, this program reads version 1; update nvc-jax"),
        (data[:30] + b"\x00" + data[31:], "header: its bytes do not fit their check"),
        (data[:20], "header: header needs"),
    ):
        (work / "x.nvc").write_bytes(damaged)
        with unchanged(work):
            for command in (("info", "x.nvc"), ("decode", "x.nvc", "d.y4m"), ("repair", "x.nvc", "y.nvc")):
                assert words in nvc(*command).refusal()


def test_kill(nvc_command, clip, work):
    """Killed at any moment, an encoder leaves the old file; what it leaves beside it is hidden."""
    (work / "s.nvc").write_bytes(b"old")
    os.mkfifo(work / "source.y4m")
    before = set(work.iterdir())
    command = nvc_command("encode", "source.y4m", "s.nvc")
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process, (work / "source.y4m").open("r+b", 0) as pipe:
        pipe.write(clip.read_bytes())
        wait_for(lambda: any(path.stat().st_size for path in set(work.iterdir()) - before))
        process.send_signal(signal.SIGKILL)
    assert (work / "s.nvc").read_bytes() == b"old"
    assert all(path.name.startswith(".nvc-jax-") for path in set(work.iterdir()) - before)


def test_a_stream_is_decoded_while_it_is_made(nvc_command, clip, frames, work):
    """The decoder shows frames before the encoder has got the rest of the video."""
    data = clip.read_bytes()
    half = len(data) - 2 * (len(frames[0].tobytes()) + len(b"FRAME\n"))
    encoder = subprocess.Popen(nvc_command("encode", "-", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    decoder = subprocess.Popen(nvc_command("decode", "-", "-"), stdin=encoder.stdout, stdout=subprocess.PIPE)
    encoder.stdout.close()
    encoder.stdin.write(data[:half])
    encoder.stdin.flush()
    shown = io.BytesIO()
    while shown.getvalue().count(b"FRAME\n") < 1:
        shown.write(decoder.stdout.read1())
    encoder.stdin.write(data[half:])
    encoder.stdin.close()
    shown.write(decoder.stdout.read())
    decoder.stdout.close()
    assert (encoder.wait(), decoder.wait()) == (0, 0)
    assert shown.getvalue().count(b"FRAME\n") == len(frames)


@pytest.mark.slow
def test_rdoq(nvc, clip, model):
    """On by default in our files, off in the official container; the decoder does not care."""
    sizes = {}
    for name, options in {
        "default.nvc": (), "as_default.nvc": ("--rdoq", 0.06), "plain.nvc": ("--rdoq", 0), "default.bin": (),
        "plain.bin": ("--rdoq", 0), "strong.bin": ("--rdoq", 0.3),
    }.items():  # fmt: skip
        assert nvc("encode", clip, name, "--report", "e.json", *options).code == 0
        assert nvc("decode", name, "d.y4m", "--report", "d.json").code == 0
        assert hashes(read_report("d.json")) == hashes(read_report("e.json"))
        sizes[name] = Path(name).read_bytes()
    assert sizes["default.nvc"] == sizes["as_default.nvc"] != sizes["plain.nvc"]
    assert sizes["default.bin"] == sizes["plain.bin"]
    assert len(sizes["strong.bin"]) < len(sizes["plain.bin"])


@pytest.mark.parametrize("value", [-0.1, 1.5, "nan"])
def test_rdoq_out_of_range(nvc, clip, value):
    result = nvc("encode", clip, "s.nvc", "--rdoq", value)
    assert result.code == 1
    assert "--rdoq is" in result.err
    assert not Path("s.nvc").exists()


@pytest.fixture(scope="module")
def moving(make_clip, tmp_path_factory):
    """A stream of a model with motion, and the encoder's report: (stream, report, model)."""
    folder = tmp_path_factory.mktemp("moving")
    save_model(folder / "model", synthetic.tiny_model(motion=True))
    clip = make_clip("moving.y4m", synthetic.moving_picture(WIDTH, HEIGHT, LENGTH))
    options = ["--intra-period", PERIOD, "--model", folder / "model", "--report", folder / "e.json"]
    assert main([str(a) for a in ["encode", clip, folder / "s.nvc", *options]]) == 0
    return folder / "s.nvc", read_report(folder / "e.json"), folder / "model"


def test_motion_in_our_container(nvc, moving):
    stream, report, model = moving
    assert nvc("decode", stream, "d.y4m", "--model", model, "--report", "d.json").code == 0
    assert hashes(read_report("d.json")) == hashes(report)
    assert nvc("decode", stream, "d.y4m", "--model", model, "--start", 6, "--frames", 3, "--report", "d.json").code == 0
    assert hashes(read_report("d.json")) == hashes(report)[6:9]


def test_blocks_are_skipped_unless_told_otherwise(nvc, moving, make_clip):
    still = make_clip("still.y4m", synthetic.moving_picture(WIDTH, HEIGHT, 1) * 3)
    sizes = []
    for name, options in ("skipped.nvc", ()), ("coded.nvc", ("--no-skip-blocks",)):
        options = ("--model", moving[2], "--qp", 0, "--intra-qp", 63, *options)
        assert nvc("encode", still, name, "--report", "e.json", *options).code == 0
        assert nvc("decode", name, "d.y4m", "--model", moving[2], "--report", "d.json").code == 0
        assert hashes(read_report("d.json")) == hashes(read_report("e.json"))
        sizes.append(len(Path(name).read_bytes()))
    assert sizes[0] < sizes[1]


def test_presets_are_choices_of_the_encoder_alone(nvc, moving, make_clip):
    clip, (_, _, model) = make_clip("again.y4m", synthetic.moving_picture(WIDTH, HEIGHT, 3)), moving
    streams = []
    for preset in "fast", "medium":
        assert nvc("encode", clip, "p.nvc", "--preset", preset, "--model", model, "--report", "e.json").code == 0
        assert nvc("decode", "p.nvc", "d.y4m", "--model", model, "--report", "d.json").code == 0
        assert hashes(read_report("d.json")) == hashes(read_report("e.json"))
        streams.append(Path("p.nvc").read_bytes())
    assert nvc("encode", clip, "p.nvc", "--model", model).code == 0
    assert streams[0] != streams[1] == Path("p.nvc").read_bytes()


def test_damage_of_a_stream_with_motion(nvc, moving, work):
    stream, report, model = moving
    with open_reader(stream) as reader:
        packets = list(reader)
    data = bytearray(stream.read_bytes())
    data[packets[5].offset + 6] ^= 16
    (work / "damaged.nvc").write_bytes(data)
    result = nvc("decode", "damaged.nvc", "d.y4m", "--model", model)
    assert result.code == 1
    assert "frame 5" in result.err
    result = nvc("decode", "damaged.nvc", "d.y4m", "--model", model, "--conceal", "--report", "d.json")
    found, good = hashes(read_report("d.json")), hashes(report)
    assert found[:5] == good[:5]
    assert found[8:] == good[8:]
