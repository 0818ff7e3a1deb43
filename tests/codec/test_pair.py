"""A codec of one network that codes two pictures together, added from outside: through files, seeking and damage.

Nothing but a network and its configuration is new (docs/ADD_A_CODEC.md).
"""

import dataclasses
import functools
import itertools
import json
import subprocess
import sys
from fractions import Fraction
from typing import ClassVar

import flax.linen as nn
import integer_pair
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic
from recording import recorded_stages

from nvc_jax.bitstream import Packet, open_reader
from nvc_jax.cli.command import main
from nvc_jax.codec.decoder import LOST, Decoder
from nvc_jax.codec.files import decode_file, encode_file
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.codec.store import load_model, save_model
from nvc_jax.errors import BitstreamError, ConfigError
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import NETWORK_TYPES, CodecConfig, InterConfig, PairConfig, Stack, UnifiedConfig
from nvc_jax.models.inter import Inter
from nvc_jax.models.networks import CLASSES, networks
from nvc_jax.models.params import flatten
from nvc_jax.models.state import Feature, Pictures
from nvc_jax.video import Colour, VideoInfo, create_video, open_video

SIZE = 17, 33
LENGTH = 9
THRESHOLD = 0.12
SCHEDULE = Schedule(30, 36, intra_period=3, reset_interval=0)
RUNS = [[0, 1], [2], [3, 4], [5], [6, 7], [8]]  # pictures of its packets
OFFSETS = 0, 8, 0, 4, 0, 4, 0, 4, 0


@dataclasses.dataclass(frozen=True)
class TwoConfig(InterConfig):
    pictures: ClassVar[int] = 2


class Two(Inter):
    """Two pictures at a time; a run starts from a blank one."""

    config: TwoConfig

    @nn.nowrap
    def blank(self, shape):
        batch, _, *picture = shape
        return Pictures(jnp.zeros((batch, 1, *picture)))


NETWORK = TwoConfig(**vars(tiny["inter"]))
TWO = CodecConfig("two", (("two", NETWORK),), first="two", rest="two")
PAIR = CodecConfig("ui2c", (("pair", PairConfig(**vars(tiny["inter"]), adaptor=Stack(1, 16))),), "pair", "pair")
HEADS = PAIR.replace("pair", dataclasses.replace(PAIR["pair"], heads=2))
UNIFIED = CodecConfig(
    "one", (("unified", UnifiedConfig(**vars(tiny["inter"]), adaptor=Stack(1, 16))),), "unified", "unified"
)
MIXED = CodecConfig("mixed", (("intra", tiny["intra"]), ("two", NETWORK)), first="intra", rest="two")


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORK_TYPES, "two", TwoConfig)
        patch.setitem(CLASSES, TwoConfig, Two)
        yield


@pytest.fixture(scope="module")
def make_codec(registered):
    return functools.cache(lambda config, precision: Codec(synthetic.model_of(config), precision))


@pytest.fixture(scope="module", params=["float32", "int16"])
def codec(request, make_codec):
    return make_codec(TWO, request.param)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The clip as a file, by the number of its pictures."""
    frames = synthetic.moving_picture(*SIZE, LENGTH)

    @functools.cache
    def make(count):
        return write(tmp_path_factory.mktemp("clips") / "clip.y4m", frames[:count])

    return make


def write(path, frames, size=SIZE):
    with create_video(path, VideoInfo(*size, Fraction(25), Colour(1, 1, 1, False), len(frames))) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def encode(clip, tmp_path_factory):
    """A stream and the encoder's report: encode(codec, count, schedule)."""

    @functools.cache
    def run(codec, count, schedule):
        stream = tmp_path_factory.mktemp("streams") / "s.nvc"
        return stream, encode_file(codec, clip(count), stream, schedule, reconstruct=True)

    return run


def decode(codec, stream, **options):
    """The decoder's report; the file has the pictures that it says."""
    target = stream.with_name("d.y4m")
    report = decode_file(codec, stream, target, hashes=True, **options)
    with open_video(target) as reader:
        assert sum(1 for _ in reader) == report["frame_count"]
    return report


def column(report, name):
    return [frame[name] for frame in report["frames"]]


def packets(stream, conceal=False):
    with open_reader(stream, conceal) as reader:
        return list(reader)


def members(found):
    """Pictures of each packet."""
    return [list(range(packet.index, packet.index + len(packet.qps))) for packet in found]


def record_types(stream):
    data = stream.read_bytes()
    begins = [packet.offset for packet in packets(stream)[1:]]
    return bytes(data[begin] for begin in begins).decode()


@pytest.mark.parametrize("count", [1, 2, 3, LENGTH])
def test_files(codec, encode, count):
    """Any number of pictures comes back as the encoder said, the last packet short where the number is odd."""
    schedule = Schedule(30, 36, reset_interval=0)
    stream, sent = encode(codec, count, schedule)
    got = decode(codec, stream)
    assert members(packets(stream)) == [list(range(t, min(t + 2, count))) for t in range(0, count, 2)]
    assert record_types(stream) == "Q" * (count // 2 - 1) + "P" * (count % 2 and count > 1)
    for name in ("index", "type", "qp", "bits", "sha256"):
        assert column(got, name) == column(sent, name)
    assert column(got, "index") == list(range(count))
    assert "".join(column(got, "type")) == "I" + "P" * (count - 1)
    assert column(got, "qp") == [36, *(30 + offset for offset in OFFSETS[1:count])]
    assert len(set(column(got, "sha256"))) == count
    assert all(10 < psnr < 60 for psnr in column(sent, "psnr_y"))
    assert got["bytes"] == sent["bytes"] == stream.stat().st_size
    trailer = 8 * stream.stat().st_size - sum(column(got, "bits"))
    assert trailer > 0
    assert trailer % 8 == 0


def test_no_run_starts_within_a_packet(codec, encode):
    stream, sent = encode(codec, LENGTH, SCHEDULE)
    found = packets(stream)
    assert members(found) == RUNS
    assert [packet.start for packet in found] == [True, False] * 3
    assert record_types(stream) == "PJPJP"
    got = decode(codec, stream)
    assert "".join(column(got, "type")) == "IPPIPPIPP"
    assert column(got, "qp") == [36 if t % 3 == 0 else 30 + OFFSETS[t] for t in range(LENGTH)]
    assert column(got, "sha256") == column(sent, "sha256")


def test_states(codec, encode, clip, tmp_path):
    """A run starts from a blank picture and goes on from features; a refresh starts from the last picture."""
    with recorded_stages() as calls:
        stream = tmp_path / "s.nvc"
        sent = encode_file(codec, clip(LENGTH), stream, Schedule(30, 30, -1, 4), reconstruct=True)
    assert record_types(stream) == "QSQP"  # picture 5 is refreshed, and picture 4 with it
    assert [packet.refresh for packet in packets(stream)] == [False, False, True, False, False]
    states = [call.inputs["state"] for call in calls if call.stage == "features"]
    assert [type(state) for state in states] == [Pictures, Feature, Pictures, Feature, Feature]
    decoded = [call.output for call in calls if call.stage == "reconstruct"]
    assert not np.asarray(states[0].value).any()
    np.testing.assert_array_equal(states[2].value, decoded[1])
    assert {pictures.shape for pictures in decoded} == {(1, 2, 48, 32, 3)}
    got = decode(codec, stream)
    assert column(got, "sha256") == column(sent, "sha256")
    assert [row["refresh"] for row in info(stream, "--frames")["frame_list"]] == [t == 4 for t in range(LENGTH)]
    assert encode(codec, LENGTH, Schedule(30, 30, -1, 0))[1]["frames"][4:] != sent["frames"][4:]


def test_a_short_packet_repeats_its_last_picture(codec, clip, tmp_path):
    """As if the source had shown it twice."""
    schedule = Schedule(30, 30, reset_interval=0, qp_offsets=(0,) * 8)
    frames = synthetic.moving_picture(*SIZE, LENGTH)
    twice = write(tmp_path / "twice.y4m", [*frames[:3], frames[2]])
    payloads = []
    for source in (clip(3), twice):
        encode_file(codec, source, tmp_path / "s.nvc", schedule)
        payloads.append([packet.payload for packet in packets(tmp_path / "s.nvc")])
    assert payloads[0] == payloads[1]


def test_z_has_the_table_of_the_last_picture(codec, encode):
    stream, _ = encode(codec, LENGTH, Schedule(30, 36, reset_interval=0))
    first = packets(stream)[0]
    assert first.qps == (36, 38)
    coder, size = codec.entropy_coders("interleaved")["two"], (NETWORK.hyper, 1, 1)
    with recorded_stages() as calls:
        list(Decoder(codec, THRESHOLD).frames([first]))
    (sent,) = (np.asarray(call.inputs["z"])[0] for call in calls if call.stage == "prior")
    np.testing.assert_array_equal(coder.decoder(first.payload).z(38, size), sent)
    assert (coder.decoder(first.payload).z(36, size) != sent).any()


@pytest.mark.parametrize("schedule", [SCHEDULE, Schedule(30, 36, reset_interval=0)], ids=["three runs", "one run"])
def test_seeking(codec, encode, schedule):
    """From any picture, to any picture, within packets too."""
    stream, sent = encode(codec, LENGTH, schedule)
    expected = column(sent, "sha256")
    for start in range(LENGTH):
        assert column(decode(codec, stream, start=start), "sha256") == expected[start:]
        for frames in (1, 2):
            got = decode(codec, stream, start=start, frames=frames)
            assert column(got, "sha256") == expected[start : start + frames]
            assert column(got, "index") == list(range(LENGTH))[start : start + frames]
    with pytest.raises(ConfigError, match="has 9 frames, there is no frame 9"):
        decode_file(codec, stream, stream.with_name("d.y4m"), start=LENGTH)


def damage(stream, path, number):
    """The stream with a flipped bit in the payload of a packet."""
    data, packet = bytearray(stream.read_bytes()), packets(stream)[number]
    data[packet.offset + packet.size_bytes - 12] ^= 4
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_concealment(codec, encode, tmp_path, number):
    """All pictures of a damaged packet are lost, and those up to the next run; the last one shown is repeated."""
    stream, sent = encode(codec, LENGTH, SCHEDULE)
    damaged = damage(stream, tmp_path / "s.nvc", number)
    begin = RUNS[number][0]
    with pytest.raises(BitstreamError, match=rf"frame {begin}: its bytes do not fit their check"):
        decode_file(codec, damaged, tmp_path / "d.y4m")
    got, resumed = decode(codec, damaged, conceal=True), begin - begin % 3 + 3
    expected = column(sent, "sha256")
    assert column(got, "type") == [LOST if begin <= t < resumed else "IPP"[t % 3] for t in range(LENGTH)]
    assert column(got, "sha256")[resumed:] == expected[resumed:]
    assert column(got, "sha256")[:begin] == expected[:begin]
    if begin:
        assert set(column(got, "sha256")[begin:resumed]) == {expected[begin - 1]}
    assert [bits for bits, kind in zip(column(got, "bits"), column(got, "type"), strict=True) if kind == LOST] == [
        0
    ] * (resumed - begin)


def test_cuts_and_repair(codec, encode, tmp_path, capsys):
    stream, sent = encode(codec, LENGTH, SCHEDULE)
    data, found = stream.read_bytes(), packets(stream)
    (tmp_path / "cut.nvc").write_bytes(data[: found[4].offset + 9])
    with pytest.raises(BitstreamError, match=r"frame 6: .* has the frames before it \(6\)"):
        decode_file(codec, tmp_path / "cut.nvc", tmp_path / "d.y4m", keep_partial=True)
    assert main(["repair", str(tmp_path / "cut.nvc"), str(tmp_path / "whole.nvc"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 6
    assert column(decode(codec, tmp_path / "whole.nvc"), "sha256") == column(sent, "sha256")[:6]

    damaged = damage(stream, tmp_path / "bad.nvc", 2)
    assert main(["repair", str(damaged), str(tmp_path / "holes.nvc"), "--json"]) == 0
    assert {"frames": 6, "lost": 3}.items() <= json.loads(capsys.readouterr().out).items()
    got = decode(codec, tmp_path / "holes.nvc", conceal=True)
    assert column(got, "type") == [LOST if 3 <= t < 6 else "IPP"[t % 3] for t in range(LENGTH)]
    assert column(got, "sha256")[6:] == column(sent, "sha256")[6:]


def info(stream, *options):
    """The answer of `nvc-jax info --json`."""
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("builtins.print", lambda *values, **_: printed.append(" ".join(map(str, values))))
        assert main(["info", str(stream), "--json", *options]) == 0
    return json.loads("\n".join(printed))


def test_info(make_codec, encode):
    """One row per picture, the bytes of a packet shared among its pictures."""
    codec = make_codec(TWO, "float32")
    stream, _ = encode(codec, LENGTH, SCHEDULE)
    described, found = info(stream, "--frames"), packets(stream)
    assert (described["model"], described["identity"]) == ("two", codec.stored.identity)
    assert (described["pictures_per_packet"], described["frames"], described["intra_frames"]) == (2, LENGTH, 3)
    rows = described.pop("frame_list")
    assert [row["index"] for row in rows] == list(range(LENGTH))
    assert "".join(row["type"] for row in rows) == "IPPIPPIPP"
    assert [row["qp"] for row in rows] == [qp for packet in found for qp in packet.qps]
    for packet, pictures in zip(found, RUNS, strict=True):
        mine = [rows[index] for index in pictures]
        assert {row["offset"] for row in mine} == {packet.offset}
        for name, total in (("bytes", packet.size_bytes), ("payload_bytes", len(packet.payload))):
            shares = [row[name] for row in mine]
            assert sum(shares) == total
            assert max(shares) - min(shares) <= 1
    trailer = stream.stat().st_size - sum(packet.size_bytes for packet in found)
    assert described["bytes"] == sum(row["bytes"] for row in rows) + trailer == stream.stat().st_size
    assert info(stream) == described


def test_the_official_container_is_refused(make_codec, clip, tmp_path):
    with pytest.raises(ConfigError) as caught:
        encode_file(make_codec(TWO, "float32"), clip(2), tmp_path / "s.bin", SCHEDULE)
    assert str(caught.value) == (
        "the official container holds one picture a packet, and the model two codes 2; write an .nvc file."
    )
    assert not list(tmp_path.iterdir())


def test_a_packet_that_is_too_large_for_the_network(make_codec, encode):
    codec = make_codec(TWO, "float32")
    found = packets(encode(codec, LENGTH, SCHEDULE)[0])
    larger = dataclasses.replace(found[0], qps=(30, 30, 30))
    with pytest.raises(BitstreamError, match="frame 0: 3 pictures in a packet, the model has 2"):
        list(Decoder(codec, THRESHOLD).frames([larger]))
    concealed = list(Decoder(codec, THRESHOLD, conceal=True).frames([larger, *found[2:]]))
    assert [frame.type for frame in concealed[:3]] == [LOST] * 3
    assert [isinstance(frame.packet, Packet) for frame in concealed[3:]] == [True] * 6


def test_the_command_line(make_codec, clip, tmp_path, capsys):
    """A saved model of such a codec encodes and decodes by its folder; the identity is that of the stream."""
    model = make_codec(TWO, "float32").stored
    save_model(tmp_path / "model", model)
    loaded = load_model(tmp_path / "model")
    assert (loaded.config, loaded.identity) == (TWO, model.identity)
    stream, options = tmp_path / "s.nvc", ["--model", str(tmp_path / "model")]
    encoder, decoder = tmp_path / "e.json", tmp_path / "d.json"
    assert main(["encode", str(clip(5)), str(stream), *options, "--report", str(encoder)]) == 0
    assert main(["decode", str(stream), str(tmp_path / "d.y4m"), *options, "--report", str(decoder)]) == 0
    sent, got = (json.loads(path.read_text()) for path in (encoder, decoder))
    assert column(sent, "sha256") == column(got, "sha256")
    assert got["precision"] == "int16"
    assert main(["encode", str(clip(2)), str(tmp_path / "s.bin"), *options]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("nvc-jax: ")
    assert not (tmp_path / "s.bin").exists()


@pytest.mark.parametrize("precision", ["float32", "int16"])
def test_the_network_of_ui2c(make_codec, encode, precision):
    """The package's own, as small as it can be: runs, refreshes and short packets."""
    codec = make_codec(PAIR, precision)
    stream, sent = encode(codec, LENGTH, Schedule(30, 36, 5, 3))
    assert members(packets(stream)) == [[0, 1], [2, 3], [4], [5, 6], [7, 8]]
    assert record_types(stream) == "QRJS"
    got = decode(codec, stream)
    for name in ("sha256", "bits", "qp"):
        assert column(got, name) == column(sent, name)
    assert all(10 < psnr < 60 for psnr in column(sent, "psnr_y"))
    assert column(decode(codec, stream, start=3, frames=3), "sha256") == column(sent, "sha256")[3:6]


def test_an_independent_decoder_agrees(make_codec, clip, tmp_path):
    """Written from the documents, in NumPy: two pairs and a single picture, from the bytes of their payloads."""
    codec, stream = make_codec(PAIR, "int16"), tmp_path / "s.nvc"
    encode_file(codec, clip(5), stream, Schedule(40, 30, reset_interval=0), skip_threshold=THRESHOLD)
    target = tmp_path / "d.y4m"
    decode_file(codec, stream, target)
    open_payload = codec.entropy_coders("interleaved")["pair"].decoder
    decoded = integer_pair.decode(flatten(codec.stored.params), packets(stream), open_payload, THRESHOLD)
    with open_video(target) as reader:
        for ours, theirs in zip(reader, decoded, strict=True):
            for a, b in zip((ours.y, ours.u, ours.v), theirs, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_head_for_each_picture(make_codec):
    """The reconstruction of two heads is that of the independent decoder; models of one joint head are as they were."""
    codec = make_codec(HEADS, "int16")
    network, params = networks(HEADS)["pair"], codec.networks(THRESHOLD)["pair"].params
    feature = np.random.default_rng(0).integers(-900, 900, (1, 4, 6, HEADS["pair"].width), np.int16)
    qps = jnp.array([[20.0, 28.0]])
    found = jax.jit(lambda p, x: network.apply({"params": p}, x, None, qps, method="reconstruct"))(params, feature)
    flat = {name.removeprefix("pair/"): value for name, value in flatten(codec.stored.params).items()}
    expected = integer_pair.Pair(flat, (20, 28)).reconstruct(feature.astype(np.int64))
    np.testing.assert_array_equal(np.concatenate(np.asarray(found)[0], axis=-1), expected[0])
    assert expected.std() > 20
    assert "recon_out/kernel" not in flat


DECODE = """
import json, sys
import nvc_jax
from nvc_jax.codec.files import decode_file
from nvc_jax.codec.model import Codec
model, precision, *streams = sys.argv[1:]
codec = Codec.load(model, precision)
for stream in streams:
    report = decode_file(codec, stream, stream + ".y4m", hashes=True)
    print(json.dumps([frame["sha256"] for frame in report["frames"]]))
"""
SMALL, LARGER = (17, 33), (130, 98)
EVERY = (1, 2, 3, 8, 33), (SMALL, LARGER), (0, 21, 42, 63)


@pytest.mark.parametrize(
    ("precision", "counts", "sizes", "qps"),
    [
        ("int16", (3,), (SMALL,), (21,)),
        *(pytest.param(precision, *EVERY, marks=pytest.mark.slow) for precision in ("float32", "int16")),
    ],
)
def test_another_process_decodes_the_same(make_codec, compilation_cache, tmp_path, precision, counts, sizes, qps):
    codec, expected = make_codec(PAIR, precision), {}
    save_model(tmp_path / "model", codec.stored if precision == "float32" else synthetic.model_of(PAIR))
    for size, count, qp in itertools.product(sizes, counts, qps):
        source = write(tmp_path / "clip.y4m", synthetic.moving_picture(*size, count), size)
        stream = tmp_path / f"{size[0]}_{count}_{qp}.nvc"
        sent = encode_file(codec, source, stream, Schedule(qp, reset_interval=0), reconstruct=True)
        expected[str(stream)] = column(sent, "sha256")
        assert len(expected[str(stream)]) == count
    run = subprocess.run(
        [sys.executable, "-c", DECODE, tmp_path / "model", precision, *expected],
        env=compilation_cache,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert list(map(json.loads, run.stdout.splitlines())) == list(expected.values())


@pytest.mark.slow
@pytest.mark.parametrize("config", [HEADS, UNIFIED], ids=["heads", "one picture"])
def test_relatives_of_ui2c(make_codec, encode, config):
    """A head for each picture; one picture in a packet, from a blank one on: in files and after a seek."""
    codec = make_codec(config, "int16")
    stream, sent = encode(codec, LENGTH, Schedule(30, 36, 5, 3))
    assert sum(packet.start for packet in packets(stream)) == 2
    got = decode(codec, stream)
    assert column(got, "sha256") == column(sent, "sha256")
    assert column(decode(codec, stream, start=6, frames=2), "sha256") == column(sent, "sha256")[6:8]


@pytest.mark.parametrize("precision", ["float32", "int16"])
@pytest.mark.parametrize("schedule", [Schedule(30, 36, 4, 2), Schedule(30, 36, -1, 0)], ids=["runs", "one run"])
def test_an_intra_network_before_it(make_codec, encode, precision, schedule):
    """Packets of one picture and of two in one stream: the network of a packet says how many it codes."""
    codec = make_codec(MIXED, precision)
    stream, sent = encode(codec, LENGTH, schedule)
    runs = (
        [[0], [1, 2], [3], [4], [5, 6], [7], [8]]
        if schedule.intra_period > 0
        else [[0], [1, 2], [3, 4], [5, 6], [7, 8]]
    )
    assert members(packets(stream)) == runs
    got = decode(codec, stream)
    assert column(got, "sha256") == column(sent, "sha256")
    assert column(got, "bits") == column(sent, "bits")
    for start in (2, 4, 6):
        assert (
            column(decode(codec, stream, start=start, frames=3), "sha256") == column(sent, "sha256")[start : start + 3]
        )
