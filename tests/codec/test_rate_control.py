"""Rate control: on a model of an encoder, and on the embedded model."""

import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pytest
import streams
import synthetic

import nvc_jax
from nvc_jax.bitstream import DcvcWriter
from nvc_jax.cli.command import main
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.rate_control import BitrateTarget, QualityTarget, RateControl, Upcoming, rate_control
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import ConfigError
from nvc_jax.spec import QP_OFFSETS

FPS, PIXELS = 30.0, 352 * 288
NOTHING = [0] * 8


@dataclasses.dataclass
class Scene:
    """Pictures of a kind: bits at qp 0 and of motion, relative to the embedded model, and their activity."""

    length: int
    cost: float = 1.0
    difference: float = 3.0
    texture: float = 5.0
    quality: float = 30.0


def follow(control, scenes, offsets=QP_OFFSETS, pictures=1, intra_period=0, slope=0.08):
    """(bits, qps, PSNR, buffer, scene) of every packet of a simulated encoder, which the controller does not know."""
    controller = control.controller(FPS, PIXELS, tuple(offsets), 1 / 256)
    noise, index, last, rows, tries = synthetic.uniform("noise", (4000,)), 0, 0.0, [], 0
    for number, scene in enumerate(scenes):
        for t in range(0, scene.length, pictures):
            cut, start = t == 0, index == 0 or (intra_period > 0 and index % intra_period == 0)
            mine = tuple(float(offsets[(index + k) % 8]) * (not start) for k in range(pictures))
            difference = 0.0 if index == 0 else 50.0 if cut else scene.difference * 2 ** (0.3 * noise[index])
            again = controller.choose(Upcoming(start, mine, difference, scene.texture))
            while again is not None:
                qps = again
                assert len(qps) == pictures
                assert all(qp * 256 == round(qp * 256) for qp in qps)
                if start or cut:
                    bits = scene.cost * PIXELS * scene.texture * 2 ** (-7.0 + 0.085 * qps[0])
                else:
                    shares = sum(2 ** (slope * qp + 0.06 * (qp - last)) for qp in qps)
                    bits = scene.cost * PIXELS * shares * difference**0.7 * 2 ** (-8.2 + 0.5 * noise[index + 1000])
                again, tries = controller.again(round(bits)), tries + 1
            psnr = scene.quality + 0.14 * sum(qps) / pictures + 0.3 * noise[index + 2000]
            controller.update(round(bits), psnr if controller.measures_quality else None)
            rows.append((round(bits), qps, psnr, controller.buffer_bits, number))
            index, last = index + pictures, qps[-1]
    assert tries < 1.05 * len(rows)  # another try is rare
    return rows


def check_rate(rows, bitrate, seconds=1.0, pictures=1):
    """Within 3 % of the target, and within the buffer, which is counted here again."""
    budget, level = pictures * bitrate / FPS, 0.0
    for bits, _, _, reported, _ in rows:
        level = max(0.0, level + bits - budget)
        assert level <= seconds * bitrate
        assert reported == pytest.approx(level)
    assert np.mean([row[0] for row in rows]) == pytest.approx(budget, rel=0.03)


CUTS = [Scene(80), Scene(70, 1.6, 6.0, 8.0), Scene(80, 0.8, 2.0, 4.0), Scene(70, 1.2)]


@pytest.mark.parametrize("bitrate", [100e3, 200e3, 350e3])
def test_scene_cuts(bitrate):
    check_rate(follow(RateControl(BitrateTarget(bitrate)), CUTS), bitrate)


def test_a_still_scene():
    check_rate(follow(RateControl(BitrateTarget(60e3)), [Scene(300, 0.5, 0.4)]), 60e3)


@pytest.mark.parametrize(("cost", "bitrate"), [(0.4, 120e3), (2.5, 300e3)])
def test_another_model(cost, bitrate):
    """Takes other bits than the controller expects at first."""
    scenes = [dataclasses.replace(scene, cost=cost * scene.cost) for scene in CUTS]
    check_rate(follow(RateControl(BitrateTarget(bitrate)), scenes, slope=0.065), bitrate)


def test_intra_frames_at_times():
    check_rate(follow(RateControl(BitrateTarget(300e3)), CUTS, intra_period=60), 300e3)


def test_no_offsets_and_packets_of_several_pictures():
    check_rate(follow(RateControl(BitrateTarget(250e3)), CUTS, NOTHING), 250e3)
    check_rate(follow(RateControl(BitrateTarget(250e3)), CUTS, pictures=2), 250e3, pictures=2)


def test_a_short_buffer():
    check_rate(follow(RateControl(BitrateTarget(300e3, 0.5)), CUTS), 300e3, 0.5)


def test_the_range_of_qps():
    rows = follow(RateControl(BitrateTarget(250e3), (20.0, 31.5)), CUTS)
    assert {qp for _, qps, *_ in rows for qp in qps} >= {20.0, 31.5}
    assert all(20 <= qp <= 31.5 for _, qps, *_ in rows for qp in qps)
    free = follow(RateControl(BitrateTarget(100e6)), [Scene(60)])
    assert free[-1][1] == (63.0,)  # nothing takes that much


def test_a_new_bitrate():
    controller = RateControl(BitrateTarget(200e3)).controller(FPS, PIXELS, tuple(NOTHING), 1 / 256)

    def run(count):
        taken = []
        for _ in range(count):
            (qp,) = controller.choose(Upcoming(False, (0.0,), 3.0, 5.0))
            taken.append(round(PIXELS * 2 ** (-7.0 + 0.08 * qp)))
            controller.update(taken[-1])
        return np.mean(taken[count // 2 :]) * FPS

    assert run(200) == pytest.approx(200e3, rel=0.05)
    controller.target = BitrateTarget(600e3)
    assert run(200) == pytest.approx(600e3, rel=0.05)


def test_a_bitrate_far_below_what_is_in_the_buffer():
    """It has run over, and packets, however small, are coded at the lowest qp until the channel has emptied it."""
    controller = RateControl(BitrateTarget(5e6)).controller(FPS, PIXELS, tuple(NOTHING), 1 / 256)

    def code(start, extra=0):
        again = controller.choose(Upcoming(start, (0.0,), 0.0, 3.0))
        while again is not None:
            (qp,) = again
            bits = round(extra + 104 + 2 ** (1 + 0.05 * qp))
            again = controller.again(bits)
        controller.update(bits)
        return qp

    for number in range(60):
        code(number == 0)
    code(True, 1e6)
    controller.target = BitrateTarget(20e3)
    assert controller.buffer_bits > 20e3
    assert [code(False) for _ in range(5)] == [0.0] * 5
    controller.target = BitrateTarget(5e6)
    for _ in range(60):
        code(False)
    assert code(False) > 30


def test_a_range_that_the_container_cannot_hold_exactly():
    """qps stay within, on its steps."""
    for step, low, high in ((1.0, 11.0, 12.0), (1 / 256, 10.30078125, 12.69921875)):
        for bits, expected in ((100_000, low), (100, high)):
            controller = RateControl(BitrateTarget(250e3), (10.3, 12.7)).controller(FPS, PIXELS, tuple(NOTHING), step)
            for _ in range(40):
                (qp,) = controller.choose(Upcoming(False, (0.0,), 3.0, 5.0))
                controller.update(bits)
            assert qp == expected
    with pytest.raises(ConfigError, match=r"qp range is 10.3 to 10.7; no multiple of 1, as the container holds"):
        RateControl(BitrateTarget(250e3), (10.3, 10.7)).controller(FPS, PIXELS, tuple(NOTHING), 1.0)


def test_a_quality():
    """The mean within 0.1 dB, scene by scene within 0.3 dB once it has settled."""
    scenes = [Scene(100, quality=30.0), Scene(100, quality=28.5), Scene(100, quality=31.0)]
    rows = follow(RateControl(QualityTarget(35.0)), scenes)
    assert np.mean([psnr for _, _, psnr, _, _ in rows]) == pytest.approx(35.0, abs=0.1)
    for number in range(3):
        found = [psnr for _, _, psnr, _, scene in rows if scene == number][30:]
        assert np.mean(found) == pytest.approx(35.0, abs=0.3)
    assert {level for _, _, _, level, _ in rows} == {None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "a bitrate or a PSNR, and none of them is given"),
        ({"bitrate": 1e5, "psnr": 30.0}, "a bitrate or a PSNR, and both are given"),
        ({"buffer": 1.0}, "none of them is given"),
        ({"psnr": 35.0, "buffer": 1.0}, "a buffer goes with a bitrate"),
        ({"bitrate": -1.0}, "bitrate is -1; it must be positive"),
        ({"bitrate": math.inf}, "bitrate is inf"),
        ({"bitrate": 1e5, "buffer": 0.0}, "buffer is 0; it must be positive, in seconds"),
        ({"psnr": 3.0}, "psnr is 3; it must be from 10 to 60"),
        ({"bitrate": 1e5, "qp_range": (40.0, 20.0)}, "qp range is 40 to 20; give two qps from 0 to 63"),
        ({"bitrate": 1e5, "qp_range": (0.0, 70.0)}, "qp range is 0 to 70"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        rate_control(**options)


SIZE = 96, 64


@pytest.fixture(scope="module")
def codec():
    return nvc_jax.load()


@pytest.fixture(scope="module")
def planes():
    """Two scenes of 75 pictures."""
    frames = [frame for seed in (0, 1) for frame in synthetic.moving_picture(*SIZE, 75, seed)]
    return [(frame.y, frame.u, frame.v) for frame in frames]


def test_a_real_encoder(codec, planes):
    bitrate = 60e3
    encoder = codec.encoder(*SIZE, fps=30, planes=True, bitrate=bitrate, qp_range=(5, 60))
    packets = list(encoder.packets(planes))
    level = 0.0
    for packet in packets:
        level = max(0.0, level + packet.bits - bitrate / 30)
        assert level <= bitrate
        assert all(5 <= qp <= 60 for qp in packet.qps)
    assert np.mean([packet.bits for packet in packets]) == pytest.approx(bitrate / 30, rel=0.05)  # 150 frames
    stream = encoder.header + b"".join(map(bytes, packets)) + encoder.finish()
    assert len(codec.decode(stream, "planes").y) == len(planes)


def test_live(codec, planes):
    """A packet for every picture, a new bitrate, and no qp by hand."""
    encoder = codec.encoder(*SIZE, fps=30, planes=True, bitrate=100e3)
    assert encoder.bitrate == 100e3
    assert [len(encoder.encode(picture)) for picture in planes[:3]] == [1, 1, 1]
    encoder.bitrate = 50e3
    assert len(encoder.encode(planes[3])) == 1
    with pytest.raises(ConfigError, match="follows a bitrate or a PSNR and chooses qps itself"):
        encoder.qp = 30
    plain = codec.encoder(*SIZE)
    assert plain.bitrate is None
    with pytest.raises(ConfigError, match="follows no bitrate"):
        plain.bitrate = 1e5
    control, coder = rate_control(1e5).controller(30, 96 * 64, tuple(QP_OFFSETS), 1 / 256), codec.in_precision("int16")
    with pytest.raises(ConfigError, match="delay is 1; rate control needs 0"):
        Encoder(coder, *SIZE, Schedule(), 0.12, "interleaved", delay=1, controller=control)


class Scripted:
    """Chooses 40, and says of packet 2 twice that it does not fit."""

    measures_quality, buffer_bits = False, 0.0

    def __init__(self):
        self.seen, self.tries = [], {2: [(30.0,), (20.0,)]}

    def choose(self, packet):
        self.seen.append(packet)
        return (40.0,)

    def again(self, bits):
        left = self.tries.get(len(self.seen) - 1)
        return left.pop(0) if left else None

    def update(self, bits, psnr):
        pass


def test_a_packet_is_coded_again(tiny_codec):
    """From the state before it: what is decoded is what the encoder has."""
    size, control = (33, 17), Scripted()
    frames = synthetic.moving_picture(*size, 4)
    encoder = Encoder(tiny_codec, *size, Schedule(), 0.12, "one_stream", reconstruct=True, delay=0, controller=control)
    packets = list(encoder.packets(frames))
    assert [packet.coded.qps for packet in packets] == [(40,), (40,), (20,), (40,)]
    file = io.BytesIO()
    writer = DcvcWriter(file, *size)
    for packet in packets:
        writer.write(packet.coded)
    decoded = [frame.planes.tobytes() for frame in streams.decode(tiny_codec, file.getvalue())]
    assert decoded == streams.reconstructions(packets)
    assert [packet.start for packet in control.seen] == [True, False, False, False]
    assert control.seen[0].difference == 0 < min(packet.difference for packet in control.seen[1:])
    assert control.seen[1].offsets == (8,)


def test_a_surprise():
    """A picture that looks like the one before, and takes a hundred times the bits."""
    controller = RateControl(BitrateTarget(300e3)).controller(FPS, PIXELS, tuple(NOTHING), 1 / 256)
    level, tries = 0.0, 0
    for number in range(60):
        (qp,) = controller.choose(Upcoming(number == 0, (0.0,), 0.5, 5.0))
        while True:
            bits = round((100 if number == 40 else 1) * 2000 * 2 ** (0.08 * (qp - 20)))
            again = controller.again(bits)
            if again is None:
                break
            (qp,), tries = again, tries + 1
        controller.update(bits)
        level = max(0.0, level + bits - 300e3 / FPS)
        assert level <= 300e3
    assert 0 < tries < 4


def test_files_and_reports(codec, planes, tmp_path):
    """The PSNR, and what is in a buffer, frame by frame; qps of the official container are whole."""
    (tmp_path / "clip.yuv").write_bytes(b"".join(plane.tobytes() for picture in planes[:40] for plane in picture))
    source = {"source": tmp_path / "clip.yuv", "size": SIZE, "fps": 30, "model": codec}
    report = nvc_jax.encode_file(target=tmp_path / "a.nvc", psnr=30, report_quality=True, **source)
    assert report["psnr"] == pytest.approx(30, abs=0.3)
    assert "buffer_bits" not in report["frames"][0]
    report = nvc_jax.encode_file(target=tmp_path / "b.bin", bitrate=100e3, buffer=0.5, **source)
    assert all(0 <= frame["buffer_bits"] <= 50e3 for frame in report["frames"])
    assert all(isinstance(frame["qp"], int) for frame in report["frames"])


def test_a_target_that_cannot_be_met(codec, planes, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("clip.yuv").write_bytes(b"".join(plane.tobytes() for picture in planes[:4] for plane in picture))
    command = ["encode", "clip.yuv", "a.nvc", "--size", "96x64", "--fps", "30", "--bitrate", "500"]
    assert main(command) == 0
    assert "note: the bitrate is too low: the buffer ran over in 4 of 4 frames" in capsys.readouterr().err
    assert main([*command, "--qp", "20"]) == 1
    assert "--qp sets a quality, --bitrate and --psnr choose it" in capsys.readouterr().err
