import contextlib
import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from nvc_jax.errors import VideoError
from nvc_jax.video import Colour, RgbFrame, VideoInfo, YuvFrame, create_video, open_video
from nvc_jax.video.colour import rgb_to_yuv
from nvc_jax.video.container_writer import FORMATS

SD = Colour(primaries=6, transfer=6, matrix=6, full_range=False)
HD = Colour(primaries=1, transfer=1, matrix=1, full_range=False)
FULL = Colour(primaries=1, transfer=13, matrix=1, full_range=True)


def write(path, info, frames):
    with create_video(path, info) as writer:
        for frame in frames:
            writer.write(frame)


def mse(a, b):
    return float(np.mean((a.astype(float) - b) ** 2))


def store(path, codec, layout, arrays, *, given=None, **context):
    """A file made by FFmpeg, not by the code under test. given: the pixel format of the arrays, if another."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.pix_fmt = layout
        frames = [av.VideoFrame.from_ndarray(array, format=given or layout) for array in arrays]
        frames = [frame.reformat(format=layout) for frame in frames]
        stream.width, stream.height = frames[0].width, frames[0].height
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("suffix", "size"),
    [
        *[(suffix, (64, 48)) for suffix in FORMATS],
        *[(suffix, (17, 33)) for suffix in FORMATS if suffix != ".mov"],
    ],
)
def test_round_trip(tmp_path, yuv_frames, suffix, size):
    frames = yuv_frames(*size, 7)
    path = tmp_path / f"a{suffix}"
    write(path, VideoInfo(*size, Fraction(30000, 1001), HD), frames)
    with open_video(path) as reader:
        colour = replace(HD, chroma_location=reader.info.colour.chroma_location)
        assert reader.info == VideoInfo(*size, Fraction(30000, 1001), colour, frames=7)
        decoded = list(reader)
    assert len(decoded) == 7
    for expected, frame in zip(frames, decoded, strict=True):
        for plane in "yuv":
            assert mse(getattr(frame, plane), getattr(expected, plane)) < 4  # 42 dB
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_mov_has_even_sizes_only(tmp_path):
    with pytest.raises(VideoError, match=r"a\.mov: \.mov holds even sizes only, not 17x32; use \.mp4"):
        create_video(tmp_path / "a.mov", VideoInfo(17, 32))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("colour", [SD, FULL, replace(HD, chroma_location="topleft")])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_colour_description_is_carried(tmp_path, yuv_frames, colour, suffix):
    write(tmp_path / f"a{suffix}", VideoInfo(32, 32, colour=colour), yuv_frames(32, 32, 1))
    with open_video(tmp_path / f"a{suffix}") as reader:
        found = reader.info.colour
    assert replace(found, chroma_location=colour.chroma_location) == colour
    if suffix != ".webm":  # VP9 does not say where chroma samples lie; H.264 does, left of the middle by default
        assert found.chroma_location == (colour.chroma_location or "left")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_unspecified_colour_stays_so(tmp_path, yuv_frames, suffix):
    write(tmp_path / f"a{suffix}", VideoInfo(32, 32), yuv_frames(32, 32, 1))
    with open_video(tmp_path / f"a{suffix}") as reader:
        colour = replace(reader.info.colour, chroma_location=None)
    assert colour in (Colour(), Colour(full_range=False))  # VP9 always says its range


@pytest.mark.parametrize(
    "fps", [Fraction(24000, 1001), Fraction(25), Fraction(60000, 1001), Fraction(12), Fraction(2997, 100)]
)
def test_frame_rate_is_exact(tmp_path, yuv_frames, fps):
    for suffix in (".mp4", ".mkv"):
        write(tmp_path / f"a{suffix}", VideoInfo(32, 32, fps), yuv_frames(32, 32, 30))
        with open_video(tmp_path / f"a{suffix}") as reader:
            assert (reader.info.fps, reader.info.frames, reader.info.notes) == (fps, 30, ())


def test_rgb_frames_are_written_as_full_range_bt709(tmp_path, yuv_frames):
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[..., 0], rgb[..., 1], rgb[..., 2] = 200, 100, 50
    write(tmp_path / "a.mp4", VideoInfo(48, 32, is_rgb=True), [RgbFrame(rgb)] * 2)
    with open_video(tmp_path / "a.mp4") as reader:
        assert reader.info.colour == replace(FULL, chroma_location="center")
        frame = next(reader)
    assert mse(frame.y, rgb_to_yuv(RgbFrame(rgb), FULL).y) < 1


@pytest.mark.parametrize(
    ("codec", "layout", "notes"),
    [
        ("ffv1", "bgr0", ()),
        ("png", "rgb24", ()),
        ("png", "rgba", ()),
        ("ffv1", "gbrp10le", ("converted from gbrp10le to 8-bit RGB",)),
    ],
)
def test_rgb_sources_give_rgb(tmp_path, rgb_frames, codec, layout, notes):
    frames = rgb_frames(17, 33, 3)
    path = tmp_path / {"ffv1": "a.mkv", "png": "a.mov"}[codec]
    store(path, codec, layout, [f.rgb for f in frames], given="rgb24")
    with open_video(path) as reader:
        assert reader.info.is_rgb
        assert reader.info.notes == notes
        for expected, frame in zip(frames, reader, strict=True):
            assert np.abs(frame.rgb.astype(int) - expected.rgb).max() <= (1 if notes else 0)


def test_lossless_source_is_read_exactly(tmp_path, noise_frames):
    frames = noise_frames(18, 34, 3)
    stacked = [np.frombuffer(f.tobytes(), np.uint8).reshape(34 * 3 // 2, 18) for f in frames]
    store(tmp_path / "a.mkv", "ffv1", "yuv420p", stacked)
    with open_video(tmp_path / "a.mkv") as reader:
        assert [f.tobytes() for f in reader] == [f.tobytes() for f in frames]


@pytest.mark.parametrize("full", [False, True])
def test_other_layouts_are_converted_with_a_note(tmp_path, full):
    y, c = np.full((32, 48), 235, np.uint8), np.full((32, 48), 90, np.uint8)
    store(tmp_path / "a.mkv", "ffv1", "yuv444p", [np.stack([y, c, c])], color_range=2 if full else 1)
    with open_video(tmp_path / "a.mkv") as reader:
        assert reader.info.notes == ("converted from yuv444p to 8-bit 4:2:0",)
        assert reader.info.colour.full_range is full
        frame = next(reader)
    assert (frame.y == 235).all()
    assert (frame.u == 90).all()


@pytest.mark.parametrize("layout", ["gray", "gray16le"])
def test_grey_keeps_its_values(tmp_path, layout):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    array = grey if layout == "gray" else grey.astype(np.uint16) * 256
    store(tmp_path / "a.mkv", "ffv1", layout, [array], color_range=1)
    with open_video(tmp_path / "a.mkv") as reader:
        assert reader.info.notes == (f"converted from {layout} to 8-bit 4:2:0",)
        frame = next(reader)
    assert np.abs(frame.y.astype(int) - grey).max() <= (0 if layout == "gray" else 1)
    assert (frame.u == 128).all()
    assert frame.u.shape == (8, 8)


def test_rotation_is_noted(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame(32, 16, "yuv420p")))
        container.mux(stream.encode(None))
    with open_video(tmp_path / "a.mp4") as reader:
        assert (reader.info.width, reader.info.height) == (32, 16)
        assert re.search(r"rotated by -?90 degrees: that is not carried", reader.info.notes[0])


def test_sound_is_noted(tmp_path, yuv_frames):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 16, 16, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=8000)
        audio.layout = "mono"
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((24, 16), np.uint8), format="yuv420p")))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    with open_video(path) as reader:
        assert reader.info.has_audio
        assert "the sound is not carried" in reader.info.notes
        assert len(list(reader)) == 1


def test_changing_size_is_named(tmp_path):
    path = tmp_path / "a.m2v"  # elementary streams can be put end to end
    parts = []
    for side in (32, 64):
        store(path, "mpeg2video", "yuv420p", [np.full((side * 3 // 2, side), 90, np.uint8)] * 3)
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    with (
        open_video(path) as reader,
        pytest.raises(VideoError, match=r"frame [23] is 64x64 yuv420p, but the first is 32x32"),
    ):
        list(reader)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"This is a text file.\n" * 50, r"a\.mp4: is not a video that can be read"),
        ("a.txt", b"This is a text file.\n" * 50, r"a\.txt: is not a video"),
        ("a.bin", b"\0\1\2\3" * 500, r"a\.bin: is not a video|has no video"),
        ("a.mkv", b"", r"a\.mkv: is empty"),
        (
            "a.m3u8",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n",
            "is not a video",
        ),
        ("a.ffconcat", b"ffconcat version 1.0\nfile secret.mp4\n", "is not a video"),
    ],
)
def test_files_that_are_no_video(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=message) as caught:
        open_video(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(VideoError, match=r"a\.mp4: no such file$"):
        open_video(tmp_path / "a.mp4")


def test_cut_and_damaged_files_never_do_worse_than_a_video_error(tmp_path, yuv_frames):
    path = tmp_path / "a.mkv"
    write(path, VideoInfo(64, 48), yuv_frames(64, 48, 12))
    data = path.read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(40):
        broken = bytearray(data[: int(rng.integers(1, len(data)))])
        for position in rng.integers(0, len(broken), 5):
            broken[position] = int(rng.integers(256))
        path.write_bytes(broken)
        with contextlib.suppress(VideoError), open_video(path) as reader:
            for frame in reader:
                assert isinstance(frame, YuvFrame | RgbFrame)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_failure_leaves_nothing_and_keeps_the_old_file(tmp_path, yuv_frames, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")
    frames = [*yuv_frames(32, 32, 3), *yuv_frames(16, 32, 1)]
    with pytest.raises(VideoError, match="frame 3: plane y"):
        write(path, VideoInfo(32, 32), frames)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


FULL_DISK = """
import resource, sys
import numpy as np
from nvc_jax.errors import OutputError
from nvc_jax.video import VideoInfo, YuvFrame, create_video
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
rng = np.random.default_rng(0)
shapes = ((64, 64), (32, 32), (32, 32))
try:
    with create_video(sys.argv[1], VideoInfo(64, 64)) as writer:
        for _ in range(int(sys.argv[3])):
            writer.write(YuvFrame(*(rng.integers(0, 256, shape, np.uint8) for shape in shapes)))
except OutputError as error:
    sys.exit(str(error))
"""


FILES = ("a.mp4", "a.mkv", "a.webm", "a.y4m", "a.yuv")


# In a folder every picture is a file, and smaller than the larger limit.
@pytest.mark.parametrize(
    ("name", "limit", "frames"),
    [*((name, 1000, 3) for name in (*FILES, "a/")), *((name, 60000, 60) for name in FILES)],
)
def test_full_disk(tmp_path, name, limit, frames):
    pytest.importorskip("resource")
    arguments = [f"{tmp_path}/{name}", str(limit), str(frames)]
    done = subprocess.run([sys.executable, "-c", FULL_DISK, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{arguments[0]}: cannot write (File too large)\n"
    assert not list(tmp_path.iterdir())


def test_real_clips(clips):
    with open_video(clips / "eval" / "city_480x272.mkv") as reader:
        assert (reader.info.width, reader.info.height, reader.info.fps, reader.info.frames) == (
            480,
            272,
            25,
            33,
        )
        assert sum(1 for _ in reader) == 33
    with open_video(clips / "eval" / "waterfall_360x640.mkv", frames=2) as reader:
        assert reader.info.fps == Fraction(2997, 100)
        assert len(list(reader)) == 2


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_longer_sound_adds_no_frames(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libvpx-vp9", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("libopus", rate=48000)
        sound.layout = "mono"
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 32), np.uint8), format="yuv420p")))
        container.mux(video.encode(None))
        for number in range(100):  # 2 seconds
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 48000, 960 * number
            container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    with open_video(path) as reader:
        assert reader.info.has_audio
        assert reader.info.frames == len(list(reader)) == 10
