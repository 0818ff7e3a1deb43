"""encode and decode: every option, every kind of file."""

import hashlib
import json

import av
import numpy as np
import pytest
import recording
import synthetic
from command_line import FRAMES, HEIGHT, WIDTH, hashes, planes, read_report

from nvc_jax.bitstream import open_reader
from nvc_jax.codec.loop import batched, encode
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import upload
from nvc_jax.spec import QP_OFFSETS
from nvc_jax.video import RgbFrame, open_video, write_png
from nvc_jax.video.quality import frame_psnr

TOTALS = {
    "model", "identity", "precision", "strategy", "width", "height", "frame_rate", "frame_count", "bytes", "bpp",
    "kbps", "psnr_y", "psnr_u", "psnr_v", "psnr", "fps", "fps_after_frames", "machine", "versions",
}  # fmt: skip
PER_FRAME = {"index", "type", "qp", "bits", "psnr_y", "psnr_u", "psnr_v", "psnr", "sha256", "resynced"}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def headers(path):
    """(type, qp, use_adaptor_i) of every frame of a stream."""
    with open_reader(path) as reader:
        return [(packet.types, *packet.qps, packet.refresh) for packet in reader]


def test_reports(nvc, coded, clip):
    stream, report = coded
    assert report.keys() == TOTALS | {"frames"}
    assert all(frame.keys() == PER_FRAME for frame in report["frames"])
    assert (report["width"], report["height"], report["frame_count"]) == (WIDTH, HEIGHT, FRAMES)
    assert report["frame_rate"] == 25
    assert [f["index"] for f in report["frames"]] == list(range(FRAMES))
    assert "".join(f["type"] for f in report["frames"]) == "I" + "P" * (FRAMES - 1)
    assert sum(f["bits"] for f in report["frames"]) == 8 * stream.stat().st_size == 8 * report["bytes"]
    assert report["bpp"] == pytest.approx(8 * report["bytes"] / (WIDTH * HEIGHT * FRAMES))
    assert report["kbps"] == pytest.approx(8 * report["bytes"] * 25 / FRAMES / 1000)
    assert report["psnr"] == pytest.approx(np.mean([f["psnr"] for f in report["frames"]]))
    assert report["fps"].keys() == {"network", "entropy", "total"}
    assert all(speed > 0 for speed in report["fps"].values())
    assert report["machine"].keys() == {"device", "backend", "cpu"}
    assert report["versions"].keys() >= {"nvc-jax", "jax", "numpy", "python"}

    assert nvc("decode", stream, "out.y4m", "--report", "out.json").code == 0
    decoded = read_report("out.json")
    assert decoded.keys() == report.keys()
    for name in ("index", "type", "qp", "bits", "sha256"):
        assert [f[name] for f in decoded["frames"]] == [f[name] for f in report["frames"]]
    assert decoded["psnr"] is None  # a decoder does not know the source
    assert [sha256(data) for data in planes("out.y4m")] == hashes(report)
    with open_video(clip) as source, open_video("out.y4m") as result:
        for frame, a, b in zip(report["frames"], source, result, strict=True):
            assert frame_psnr(b, a) == {name: frame[name] for name in ("psnr_y", "psnr_u", "psnr_v", "psnr")}


@pytest.mark.parametrize(
    "size",
    [pytest.param((16, 16), marks=pytest.mark.slow), (17, 33), pytest.param((130, 98), marks=pytest.mark.slow)],
    ids="{0[0]}x{0[1]}".format,
)
def test_sizes(nvc, make_clip, size):
    source = make_clip("source.y4m", synthetic.moving_picture(*size, 3))
    assert nvc("encode", source, "s.bin", "--report", "e.json").code == 0
    assert nvc("decode", "s.bin", "d.yuv", "--report", "d.json").code == 0
    assert hashes(read_report("e.json")) == hashes(read_report("d.json"))
    assert [sha256(data) for data in planes("d.yuv", size=size)] == hashes(read_report("d.json"))


def test_results_on_stdout(nvc, clip):
    text = nvc("encode", clip, "s.bin", "--frames", 1)
    assert text.out.startswith(f"s.bin: 1 frame {WIDTH}x{HEIGHT}, ")
    totals = nvc("encode", clip, "s.bin", "--frames", 1, "--json").json()
    assert totals.keys() == TOTALS
    assert totals["psnr"] is None  # known only to a report, which costs time
    assert nvc("decode", "s.bin", "d.y4m").out.startswith(f"d.y4m: 1 frame {WIDTH}x{HEIGHT}, ")
    assert nvc("decode", "s.bin", "d.y4m", "--json").json().keys() == TOTALS


def test_qp(nvc, clip):
    def qps(*options):
        assert nvc("encode", clip, "s.bin", *options).code == 0
        return [qp for _, qp, _ in headers("s.bin")]

    assert qps("--qp", 20) == [20, *(20 + offset for offset in QP_OFFSETS[1:FRAMES])]
    assert qps("--qp", 63, "--intra-qp", 0) == [0, *(63 + offset for offset in QP_OFFSETS[1:FRAMES])]
    assert qps("--qp", 0)[0] == 0
    assert qps()[0] == 32


def test_intra_period(nvc, clip):
    assert nvc("encode", clip, "s.bin", "--intra-period", 2).code == 0
    assert "".join(kind for kind, _, _ in headers("s.bin")) == "IPIPI"
    assert nvc("encode", clip, "s.bin", "--intra-period", 1).code == 0
    assert "".join(kind for kind, _, _ in headers("s.bin")) == "IIIII"


def test_reset_interval(nvc, clip, stream):
    def refreshes(path):
        return [index for index, (_, _, refresh) in enumerate(headers(path)) if refresh]

    assert refreshes(stream) == [1, 4]  # every 3
    assert nvc("encode", clip, "s.bin", "--reset-interval", 0, "--report", "e.json").code == 0
    assert refreshes("s.bin") == []
    assert nvc("decode", "s.bin", "d.y4m", "--report", "d.json").code == 0
    assert hashes(read_report("e.json")) == hashes(read_report("d.json"))


@pytest.mark.parametrize("threshold", ["none", "0.2", "0"])
def test_skip_threshold(nvc, clip, threshold):
    options = "--skip-threshold", threshold
    assert nvc("encode", clip, "s.bin", "--report", "e.json", *options).code == 0
    assert nvc("decode", "s.bin", "d.y4m", "--report", "d.json", *options).code == 0
    assert hashes(read_report("e.json")) == hashes(read_report("d.json"))


def test_skip_threshold_rounded_otherwise(nvc, clip, frames, tiny_model):
    """A scale between the two thresholds: as if the encoder had rounded it otherwise."""
    codec = Codec(tiny_model)
    with recording.recorded_stages() as calls:
        encode(codec.networks(0.3)["intra"], upload(frames[:1]), None, batched((32,)))
    scales = np.concatenate([np.ravel(c.output[1].scale) for c in calls if c.stage in ("prior", "refine")])
    scale = scales[scales > 0.3].min()
    below, above = (f"{scale * factor:.9g}" for factor in (1 - 1e-6, 1 + 1e-6))
    assert nvc("encode", clip, "s.bin", "--skip-threshold", below, "--report", "e.json").code == 0
    result = nvc("decode", "s.bin", "d.y4m", "--skip-threshold", above, "--report", "d.json")
    assert f"note: 1 of {FRAMES} frames decode only with a few scales rounded otherwise than here" in result.err
    decoded = read_report("d.json")
    assert hashes(read_report("e.json")) == hashes(decoded)
    assert [frame["resynced"] for frame in decoded["frames"]] == [1] + [0] * (FRAMES - 1)


def test_frames(nvc, clip, stream):
    assert nvc("encode", clip, "s.bin", "--frames", 2).code == 0
    assert len(headers("s.bin")) == 2
    assert nvc("decode", stream, "all.yuv").code == 0
    assert nvc("decode", stream, "two.yuv", "--frames", 2).code == 0
    size = WIDTH, HEIGHT
    assert planes("two.yuv", size=size) == planes("all.yuv", size=size)[:2]
    assert nvc("encode", clip, "s.bin", "--frames", 99, "--json").json()["frame_count"] == FRAMES


@pytest.mark.slow
def test_bfloat16(nvc, clip):
    options = "--precision", "bfloat16", "--frames", 1  # more would compile for long
    assert nvc("encode", clip, "s.bin", "--report", "e.json", *options).code == 0
    assert nvc("decode", "s.bin", "d.y4m", "--report", "d.json", *options).code == 0
    assert read_report("e.json")["precision"] == "bfloat16"
    assert hashes(read_report("e.json")) == hashes(read_report("d.json"))


def test_frame_rate(nvc, clip, make_clip, frames):
    raw = make_clip("clip.yuv", frames)
    size = "--size", f"{WIDTH}x{HEIGHT}", "--frames", 1
    result = nvc("encode", raw, "s.bin", *size, "--json")
    assert result.json()["frame_rate"] == 30
    assert "no frame rate in the source: 30 assumed" in result.err
    assert nvc("encode", raw, "s.bin", *size, "--fps", "30000/1001", "--json").json()["frame_rate"] == 30000 / 1001
    assert nvc("encode", clip, "s.bin", "--frames", 1, "--fps", "12.5", "--json").json()["frame_rate"] == 12.5


@pytest.mark.parametrize("name", ["clip.yuv", "clip.mkv", "clip.mp4", "clip.webm"])
def test_sources(nvc, make_clip, frames, name):
    source = make_clip(name, frames)
    size = ["--size", f"{WIDTH}x{HEIGHT}"] if name.endswith("yuv") else []
    result = nvc("encode", source, "s.bin", *size, "--report", "e.json")
    assert result.code == 0
    assert read_report("e.json")["frame_count"] == FRAMES
    assert "sound" not in result.err


@pytest.mark.parametrize("name", ["d.y4m", "d.yuv", "d.mp4", "d.mkv", "d.webm"])
def test_outputs(nvc, coded, name):
    stream, report = coded
    assert nvc("decode", stream, name).code == 0
    size = {"size": (WIDTH, HEIGHT)} if name.endswith("yuv") else {}
    decoded = planes(name, **size)
    if name in ("d.y4m", "d.yuv"):
        assert [sha256(data) for data in decoded] == hashes(report)
    else:
        assert len(decoded) == FRAMES


def test_pictures(nvc, work):
    pictures = np.random.default_rng(1).integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)
    (work / "in").mkdir()
    for number, picture in enumerate(pictures):
        write_png(work / "in" / f"{number:03d}.png", picture)
    assert nvc("encode", "in", "s.bin", "--report", "e.json").code == 0
    assert nvc("decode", "s.bin", "out", "--report", "d.json").code == 0
    assert hashes(read_report("e.json")) == hashes(read_report("d.json"))
    with open_video("out") as reader:
        decoded = list(reader)
    assert [type(frame) for frame in decoded] == [RgbFrame] * 2
    assert {path.name for path in (work / "out").iterdir()} == {"im00001.png", "im00002.png"}
    assert nvc("decode", "s.bin", "out").code == 0  # an earlier result is replaced


def test_device_outputs(nvc, coded):
    stream, report = coded
    assert nvc("decode", stream, "/dev/null", "--report", "d.json").code == 0
    assert hashes(read_report("d.json")) == hashes(report)


def test_sound_is_announced(nvc, work):
    av = pytest.importorskip("av")
    with av.open("sound.mp4", "w") as file:
        video, audio = file.add_stream("libx264", rate=25), file.add_stream("aac", rate=8000)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for pts in range(2):
            picture = av.VideoFrame.from_ndarray(np.full((HEIGHT * 3 // 2, WIDTH), 99, np.uint8), "yuv420p")
            picture.pts = pts
            file.mux(video.encode(picture))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        file.mux(audio.encode(sound))
        file.mux([*video.encode(None), *audio.encode(None)])
    assert "note: the sound is not carried" in nvc("encode", "sound.mp4", "s.bin").err.splitlines()


def test_outputs_are_replaced(nvc, work, clip):
    (work / "s.bin").write_bytes(b"old")
    (work / "e.json").write_bytes(b"old")
    assert nvc("encode", clip, "s.bin", "--report", "e.json", "--frames", 1).code == 0
    assert (work / "s.bin").read_bytes()[:1] != b"o"
    assert read_report("e.json")["frame_count"] == 1
    assert {path.name for path in work.iterdir()} == {"s.bin", "e.json"}


def test_report_on_stdout(nvc, stream):
    result = nvc("decode", stream, "d.y4m", "--report", "-")
    assert json.loads(result.out)["frame_count"] == FRAMES
    assert f"{FRAMES} frames" in result.err


@pytest.mark.slow
def test_packaged_model(nvc, clip):
    report = "--report", "r.json"
    assert nvc("encode", clip, "s.bin", "--frames", 1, "--model", "embedded", *report).code == 0
    encoded = read_report("r.json")
    assert encoded["psnr"] > 20
    assert nvc("decode", "s.bin", "d.y4m", "--model", "embedded", *report).code == 0
    assert hashes(read_report("r.json")) == hashes(encoded)


def test_more_frames_than_there_can_be(nvc, clip):
    many = 10**26
    assert nvc("encode", clip, "s.nvc", "--frames", many, "--json").json()["frame_count"] == FRAMES
    assert nvc("decode", "s.nvc", "d.y4m", "--frames", many, "--json").json()["frame_count"] == FRAMES


def test_notes_of_what_the_frames_showed(nvc, work):
    """Two video tracks, of which the larger is read or the one asked for, and damage in it."""
    with av.open(str(work / "a.mkv"), "w") as sink:
        streams = {}
        for side in (WIDTH, 64):
            stream = streams[side] = sink.add_stream("libx264", rate=25, options={"bf": "0"})
            stream.width, stream.height, stream.pix_fmt = side, HEIGHT, "yuv420p"
        for side, stream in streams.items():
            for number in range(3):
                picture = np.random.default_rng(number).integers(0, 256, (HEIGHT * 3 // 2, side), np.uint8)
                sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "yuv420p")))
            sink.mux(stream.encode(None))
    with av.open(str(work / "a.mkv")) as source:
        packets = [bytes(packet) for packet in source.demux(video=0) if packet.size]
    data = (work / "a.mkv").read_bytes()
    broken = packets[1][:200] + b"\xff" * (len(packets[1]) - 200)
    (work / "b.mkv").write_bytes(data.replace(packets[1], broken))
    result = nvc("encode", "b.mkv", "s.nvc", "--track", 0)
    assert result.code == 0, result.err
    assert f"note: 2 video tracks: number 0 is read (h264 {WIDTH}x{HEIGHT}), --track N reads another\n" in result.err
    assert " of 3 frames are damaged in the source; " in result.err
    assert (
        "has no video track 2; its video tracks are 0 to 1" in nvc("encode", "b.mkv", "s.nvc", "--track", 2).refusal()
    )


def test_note_of_what_y4m_does_not_say(nvc, work):
    write_png(work / "a.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert nvc("encode", "a.png", "s.nvc").code == 0
    told = "note: y4m does not say the matrix BT.709: other programs may show other colours\n"
    assert told in nvc("decode", "s.nvc", "d.y4m").err
    assert "note: a .yuv file does not say its colours" in nvc("decode", "s.nvc", "d.yuv").err
    assert "note" not in nvc("decode", "s.nvc", "d.mp4").err


def test_rate_control(nvc, clip):
    """Qps are chosen within their range, and the report says what is in the buffer."""
    options = "--bitrate", "200k", "--buffer", "0.5", "--qp-range", "10:45", "--report", "r.json"
    assert nvc("encode", clip, "r.nvc", *options).code == 0
    frames = read_report("r.json")["frames"]
    assert all(10 <= frame["qp"] <= 45 and 0 <= frame["buffer_bits"] <= 100e3 for frame in frames)
    assert nvc("decode", "r.nvc", "r.y4m").code == 0
    for option, value in {"--bitrate": "fast", "--qp-range": "30", "--psnr": "3"}.items():
        assert value in nvc("encode", clip, "s.nvc", option, value).refusal()
    assert "name one" in nvc("encode", clip, "s.nvc", "--buffer", "1").refusal()
