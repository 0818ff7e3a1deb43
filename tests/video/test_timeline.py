"""Frame rates, frame counts and windows of files, judged by timestamps."""

import re
from fractions import Fraction

import av
import numpy as np
import pytest

from nvc_jax.errors import VideoError
from nvc_jax.video import open_video, read_window

VARY = "variable frame rate: every frame is kept, at {} per second"
NO_RATE = "no frame rate in the source: 30 assumed"
PAUSE = [*range(10), *range(60, 70)]  # 20 frames in 70 units


def info_of(path, **options):
    with open_video(path, **options) as reader:
        info = reader.info
        assert sum(1 for _ in reader) == info.frames
    return info


def luma(frames):
    return [round(float(frame.y.mean())) for frame in frames]


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30), Fraction(60000, 1001)])
@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [("a.h264", "libx264", "yuv420p"), ("a.hevc", "libx265", "yuv420p"), ("a.m2v", "mpeg2video", "yuv420p")],
)
def test_rate_of_an_elementary_stream_is_what_its_headers_say(tmp_path, film, rate, name, codec, layout):
    options = {"x265-params": "log-level=error"} if codec == "libx265" else {}
    info = info_of(film(tmp_path / name, codec, range(6), rate=rate, layout=layout, size=(64, 64), options=options))
    assert (info.fps, info.notes) == (rate, ())


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(30)])
def test_rate_of_film_with_repeated_fields(tmp_path, film, rate):
    """MPEG-2 of films says 30 frames per second in its header, and repeats a field of every other frame."""
    options = {"flags": "+ildct", "sc_threshold": "1000000000"}
    path = film(tmp_path / "a.m2v", "mpeg2video", range(24), rate=rate, form="mpeg2video", options=options)
    data, at = bytearray(path.read_bytes()), 0
    for number in range(24):
        while data[(at := data.index(b"\0\0\1\xb5", at) + 4)] >> 4 != 8:  # picture coding extension
            pass
        data[at + 3] |= 2 * (number % 2)  # repeat_first_field
        data[at + 4] |= 0x80  # progressive_frame
    path.write_bytes(data)
    info = info_of(path)
    assert (info.fps, info.notes) == (rate * 4 / 5, ())
    with av.open(str(path)) as source, av.open(str(tmp_path / "a.ts"), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        time = 0
        for packet in source.demux(video=0):
            if packet.size:
                ticks = round(packet.duration * packet.time_base * 90000)
                packet.stream, packet.time_base = stream, Fraction(1, 90000)
                packet.pts, packet.dts, packet.duration, time = time, time, ticks, time + ticks
                sink.mux(packet)
    info = info_of(tmp_path / "a.ts")
    assert (info.fps, info.notes) == (rate * 4 / 5, ())


def test_rate_of_mpeg4_is_in_its_headers(tmp_path, film):
    info = info_of(film(tmp_path / "a.m4v", "mpeg4", range(6), rate=30, form="m4v"))
    assert (info.fps, info.notes) == (30, ())


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts", "a.flv"])
def test_rate_of_one_frame(tmp_path, film, name):
    assert info_of(film(tmp_path / name, "libx264", range(1), rate=24)).fps == 24


def test_rate_of_a_picture_in_a_container(tmp_path, film):
    path = film(tmp_path / "a.mov", "mjpeg", range(1), rate=1, layout="yuvj420p")  # as AVIF has it
    assert (info_of(path).fps, info_of(path).notes) == (30, (NO_RATE,))


@pytest.mark.parametrize(("name", "frames"), [("a.mjpeg", 4), ("a.jpg", 1)])
def test_no_rate_is_said(tmp_path, film, name, frames):
    path = film(tmp_path / name, "mjpeg", range(frames), layout="yuvj420p", form="mjpeg")
    info = info_of(path)
    assert (info.fps, info.notes) == (30, (NO_RATE,))
    info = info_of(path, fps=Fraction(50))
    assert (info.fps, info.notes) == (50, ())


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "libx264"), ("a.mp4", "libx264"), ("a.ts", "libx264"), ("a.webm", "libvpx"), ("a.flv", "libx264")],
)
def test_pause_gives_the_mean_rate(tmp_path, film, name, codec):
    info = info_of(film(tmp_path / name, codec, PAUSE, options={"b:v": "100k"}))
    assert abs(info.fps / Fraction(20 * 25, 70) - 1) < Fraction(1, 1000)
    assert info.notes == (VARY.format("7.1429"),)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_one_frame_left_out(tmp_path, film, name):
    times = [time for time in range(60) if time != 31]
    info = info_of(film(tmp_path / name, "libx264", times, rate=30))
    assert 59 / info.fps == pytest.approx(2.0, abs=0.002)
    assert info.notes == (VARY.format("29.5"),)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts", "a.flv"])
@pytest.mark.parametrize("times", [[*range(26), 50], [0, *range(25, 51)]], ids=["last", "first"])
def test_a_frame_that_is_shown_long(tmp_path, film, name, times):
    """The gap before the last frame is not that of B-frames that a cut has lost."""
    info = info_of(film(tmp_path / name, "libx264", times))
    assert info.fps == Fraction(27 * 25, 51)
    assert info.notes == (VARY.format("13.235"),)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(60000, 1001), Fraction(120000, 1001), 120, 12, 50])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mpg", "mpeg2video"), ("a.ts", "libx264"), ("a.flv", "libx264"), ("a.nut", "mjpeg"), ("a.mov", "mjpeg")],
)
def test_constant_rate(tmp_path, film, rate, name, codec):
    """Headers say what timestamps round: the clocks of mpg and ts have 90 kHz, that of flv 1 kHz."""
    if (name, rate) == ("a.mpg", 12):
        pytest.skip("MPEG-2 has no 12 frames per second")
    layout = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    info = info_of(film(tmp_path / name, codec, range(20), rate=rate, layout=layout))
    assert (info.fps, info.notes) == (rate, ())


def test_another_rate_is_the_one_that_is_said(tmp_path, film):
    info = info_of(film(tmp_path / "a.mkv", "libx264", PAUSE), fps=Fraction(12))
    assert (info.fps, info.notes) == (12, (VARY.format("12"),))


def test_jitter_of_a_camera_is_no_variable_rate(tmp_path, film):
    times = [100 * number + (0, 7, -9, 4)[number % 4] for number in range(24)]  # in 1 / 3000 s
    info = info_of(film(tmp_path / "a.mkv", "libvpx-vp9", times, rate=3000, options={"b:v": "100k"}))
    assert abs(info.fps - 30) < Fraction(1, 10)
    assert info.notes == ()


def test_gif_is_shown_as_long_as_it_says(tmp_path, film):
    film(tmp_path / "a.gif", "gif", [0, 10, 15, 35, 45, 55], rate=100, layout="gray")
    info = info_of(tmp_path / "a.gif")
    assert info.fps == 6 / Fraction(56, 100)  # FFmpeg writes one hundredth for the last frame
    assert info.notes == (VARY.format("10.714"),)
    film(tmp_path / "b.gif", "gif", range(6), rate=10, layout="gray")
    assert (info_of(tmp_path / "b.gif").fps, info_of(tmp_path / "b.gif").notes) == (10, ())


def test_transport_stream_whose_times_start_anew(tmp_path, film):
    film(tmp_path / "a.ts", "mpeg2video", range(12))
    (tmp_path / "b.ts").write_bytes(2 * (tmp_path / "a.ts").read_bytes())
    info = info_of(tmp_path / "b.ts")
    assert (info.fps, info.frames, info.notes) == (25, 24, ())
    with open_video(tmp_path / "b.ts") as reader:
        assert len(list(reader)) == 24
        assert reader.findings.damaged == 0


def with_edit_list(data, first, count, ticks):
    """An mp4 file whose edit list shows `count` frames from `first` on."""
    at = data.index(b"elst")
    start = int.from_bytes(data[at + 16 : at + 20]) + first * ticks
    duration = count * 1000 // 25  # in units of the movie, 1 / 1000 s
    return data[: at + 12] + duration.to_bytes(4) + start.to_bytes(4) + data[at + 20 :]


def test_edit_list_is_not_a_cut(tmp_path, film):
    film(tmp_path / "a.mp4", "libx264", range(24), options={"g": "8"})
    (tmp_path / "b.mp4").write_bytes(with_edit_list((tmp_path / "a.mp4").read_bytes(), 6, 10, 512))
    info = info_of(tmp_path / "b.mp4")
    assert (info.frames, info.fps, info.notes) == (10, 25, ())
    with open_video(tmp_path / "a.mp4") as whole, open_video(tmp_path / "b.mp4") as trimmed:
        assert luma(trimmed) == luma(whole)[6:16]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mkv", "libx264", {}),
        ("a.avi", "mpeg4", {}),
        ("a.flv", "libx264", {}),
        ("a.webm", "libvpx", {"b:v": "100k"}),
    ],
)
def test_cut_file_declares_what_is_missing(tmp_path, film, name, codec, options):
    path = tmp_path / name
    with av.open(str(path), "w", options={"movflags": "faststart"} if name == "a.mp4" else {}) as sink:
        stream = sink.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(30):
            picture = np.random.default_rng(number).integers(0, 256, (96, 64), np.uint8)
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "yuv420p")))
        sink.mux(stream.encode(None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with open_video(path) as reader:
        assert reader.info.fps == 25
        assert 28 <= reader.info.frames <= 30
        assert 5 < sum(1 for _ in reader) < 25


def test_empty_packets_of_avi_repeat_a_frame(tmp_path, film):
    film(tmp_path / "a.avi", "mjpeg", [0, 1, 2, 5, 6, 8], layout="yuvj420p")  # FFmpeg fills the gaps with empty packets
    info = info_of(tmp_path / "a.avi")
    assert info.frames == 6
    assert "repeat frames without data are dropped (3)" in info.notes


def test_avi_is_timed_by_its_slots(tmp_path, film):
    """The decoder's timestamps are those of the frames behind, as FFmpeg expects a delay of H.264."""
    info = info_of(film(tmp_path / "a.avi", "libx264", [0, *range(25, 51)], options={"bf": "0"}))
    assert (info.fps, info.frames) == (Fraction(27 * 25, 51), 27)
    assert info.notes == (VARY.format("13.235"), "repeat frames without data are dropped (24)")
    info = info_of(film(tmp_path / "b.avi", "mpeg4", [time for time in range(28) if time != 13]))
    assert info.fps == Fraction(27 * 25, 28)
    assert info.notes == (VARY.format("24.107"), "repeat frames without data are dropped (1)")


def with_packets(path, keep):
    """Keep some packets of a transport stream."""
    data = path.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    path.write_bytes(b"".join(packet for number, packet in enumerate(packets) if keep(number, packets)))


@pytest.mark.parametrize(
    ("codec", "options"), [("mpeg2video", {"g": "9", "bf": "2"}), ("libx265", {"x265-params": "log-level=0:keyint=9"})]
)
def test_recording_that_begins_between_key_frames(tmp_path, film, codec, options):
    path = film(tmp_path / "a.ts", codec, range(36), options=options, size=(64, 64))
    with_packets(path, lambda number, packets: number > len(packets) // 3)
    with open_video(path) as reader:
        index, info = reader.index, reader.info
        whole = [frame.tobytes() for frame in reader]
    assert info.frames == len(whole) < 30
    assert re.fullmatch(r"the first \d+ frames do not decode: they refer to frames that were cut off", info.notes[0])
    assert (info.fps, len(info.notes)) == (25, 1)
    for start in range(len(whole)):
        assert [frame.tobytes() for frame in read_window(path, start, 2, index)] == whole[start : start + 2]


def test_elementary_stream_that_begins_between_key_frames(tmp_path, film):
    options = {"g": "9", "sc_threshold": "1000000000"}
    path = film(tmp_path / "a.m2v", "mpeg2video", range(27), options=options, form="mpeg2video", size=(64, 64))
    data = path.read_bytes()
    second = data.index(b"\0\0\1\0", data.index(b"\0\0\1\0") + 4)  # picture start codes
    path.write_bytes(data[second:])
    info = info_of(path)
    assert (info.frames, info.fps) == (18, 25)


def test_lost_packets_of_a_transport_stream_are_damage(tmp_path, film):
    path = film(tmp_path / "a.ts", "libx264", range(27), options={"g": "9"}, size=(64, 64))
    with_packets(path, lambda number, packets: not 20 <= number < 24)
    with open_video(path) as reader:
        count = len(list(reader))
        assert reader.findings.damaged == 1
        assert f"1 of {count} frames are damaged in the source; " in reader.findings.notes()[0]


CONSTANT, WITH_PAUSE = list(range(27)), [*range(14), *range(40, 53)]
WINDOWS = [
    ("a.ts", "libx264", {"g": "9"}, CONSTANT),
    ("pause.ts", "libx264", {"g": "9"}, WITH_PAUSE),
    ("open.ts", "libx264", {"g": "9", "x264-params": "open-gop=1"}, CONSTANT),
    ("refresh.ts", "libx264", {"g": "9", "x264-params": "intra-refresh=1"}, CONSTANT),
    ("a.mpg", "mpeg2video", {"g": "9", "bf": "2"}, CONSTANT),
    ("a.vob", "mpeg2video", {"g": "9", "bf": "2"}, CONSTANT),
    ("a.avi", "libx264", {"g": "9"}, CONSTANT),
    ("xvid.avi", "mpeg4", {"g": "9", "bf": "2"}, CONSTANT),
    ("pause.flv", "libx264", {"g": "9"}, WITH_PAUSE),
    ("pause.mkv", "libx264", {"g": "9"}, WITH_PAUSE),
    ("a.h264", "libx264", {"g": "9"}, CONSTANT),
    ("pause.webm", "libvpx", {"g": "9", "b:v": "100k"}, WITH_PAUSE),
]


@pytest.mark.parametrize(("name", "codec", "options", "times"), WINDOWS, ids=[case[0] for case in WINDOWS])
def test_windows_begin_at_the_frame_asked_for(tmp_path, film, name, codec, options, times):
    form = "vob" if name == "a.vob" else None
    path = film(tmp_path / name, codec, times, options=options, form=form, size=(64, 64))
    with open_video(path) as reader:
        index = reader.index
        whole = [frame.tobytes() for frame in reader]
    assert len(whole) == 27
    for start in range(27):
        window = read_window(path, start, 3, index)
        assert [frame.tobytes() for frame in window] == whole[start : start + 3]
    assert [frame.tobytes() for frame in read_window(path, 20, 2)] == whole[20:22]
    with pytest.raises(VideoError, match="has no frame 27; frames are counted from 0"):
        read_window(path, 27, 1, index)


def test_beginning_of_a_long_file_is_not_looked_through(tmp_path, film):
    path = film(tmp_path / "a.mkv", "ffv1", range(200), size=(16, 16))
    with open_video(path, frames=5) as reader:
        assert reader.index.timeline.packets < 100
        assert (reader.info.frames, len(list(reader))) == (5, 5)


def test_more_frames_than_memory_can_count(tmp_path, film):
    path = film(tmp_path / "a.mkv", "ffv1", range(3))
    with open_video(path, frames=10**26) as reader:
        assert len(list(reader)) == 3
