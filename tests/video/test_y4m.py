import contextlib
import io
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc_jax.errors import OutputError, VideoError
from nvc_jax.video import Colour, VideoInfo, create_video, frame_bytes, open_video


def write(path, info, frames):
    with create_video(path, info) as writer:
        for frame in frames:
            writer.write(frame)


def planes(path, **options):
    with open_video(path, **options) as reader:
        return [frame.tobytes() for frame in reader]


@pytest.mark.parametrize("size", [(17, 33), (16, 16), (1, 1), (130, 98)])
def test_round_trip_is_exact(tmp_path, noise_frames, size):
    frames = noise_frames(*size, 3)
    colour = Colour(full_range=True, chroma_location="left")
    write(tmp_path / "a.y4m", VideoInfo(*size, Fraction(30000, 1001), colour), frames)
    with open_video(tmp_path / "a.y4m") as reader:
        assert reader.info == VideoInfo(*size, Fraction(30000, 1001), colour, frames=3)
        for expected, frame in zip(frames, reader, strict=True):
            np.testing.assert_array_equal(frame.y, expected.y)
            np.testing.assert_array_equal(frame.u, expected.u)
            np.testing.assert_array_equal(frame.v, expected.v)
    assert [p.name for p in tmp_path.iterdir()] == ["a.y4m"]


def test_ffmpeg_reads_what_we_write(tmp_path, noise_frames):
    frames = noise_frames(34, 18, 2)
    write(tmp_path / "a.y4m", VideoInfo(34, 18, Fraction(25), Colour(full_range=False)), frames)
    with av.open(str(tmp_path / "a.y4m")) as container:
        stream = container.streams.video[0]
        decoded = [f.to_ndarray().tobytes() for f in container.decode(stream)]
        assert (stream.average_rate, stream.codec_context.color_range) == (25, 1)
    assert decoded == [f.tobytes() for f in frames]


@pytest.mark.parametrize(
    ("tag", "location"),
    [
        (" C420jpeg", "center"),
        (" C420mpeg2", "left"),
        (" C420paldv", "topleft"),
        (" C420", None),
        ("", "center"),
    ],
)
def test_every_8_bit_420_tag(tmp_path, tag, location):
    path = tmp_path / "a.y4m"
    path.write_bytes(
        f"YUV4MPEG2 W2 H2 F25:1{tag} XYSCSS=420 XCOLORRANGE=LIMITED\n".encode() + b"FRAME Ip\n" + b"abcdef"
    )
    with open_video(path) as reader:
        assert reader.info.colour == Colour(full_range=False, chroma_location=location)
        assert [f.tobytes() for f in reader] == [b"abcdef"]


def test_other_layouts_are_converted_from_files_and_refused_from_pipes(tmp_path, monkeypatch):
    y, c = np.full((4, 6), 90, np.uint8), np.full((4, 6), 140, np.uint8)
    data = b"YUV4MPEG2 W6 H4 F25:1 C444\nFRAME\n" + y.tobytes() + c.tobytes() * 2
    (tmp_path / "a.y4m").write_bytes(data)
    with open_video(tmp_path / "a.y4m") as reader:
        assert reader.info.notes == ("converted from yuv444p to 8-bit 4:2:0",)
        (frame,) = reader
    assert (frame.y == 90).all()
    assert (frame.u == 140).all()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(VideoError, match=r"standard input: y4m layout C444 is not 8-bit 4:2:0; convert it"):
        open_video("-")


def test_10_bit_file_is_converted(tmp_path):
    samples = np.full(4 * 4 * 3 // 2, 400, "<u2")
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W4 H4 F25:1 C420p10\nFRAME\n" + samples.tobytes())
    with open_video(tmp_path / "a.y4m") as reader:
        assert reader.info.notes == ("converted from yuv420p10le to 8-bit 4:2:0",)
        assert (next(reader).y == 100).all()


def test_notes(tmp_path):
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W2 H2 F0:0 It A128:117\nFRAME\nabcdef")
    with open_video(tmp_path / "a.y4m") as reader:
        assert reader.info.fps == 30
        assert [note.split(":")[0] for note in reader.info.notes] == [
            "no frame rate in the source",
            "the source is interlaced",
            "the pixel aspect ratio 128",
        ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is not y4m"),
        (b"YUV4MPEG2", "header is cut"),
        (b"YUV4MPEG2 W2 H2 " + b"X" * 5000 + b"\n", "header is cut or longer than 4096 bytes"),
        (b"YUV4MPEG2 H2 F25:1\n", "width W is not a number"),
        (b"YUV4MPEG2 W2 H-2 F25:1\n", "height H-2 is not a number"),
        (b"YUV4MPEG2 W2 H99999999999 F25:1\n", "height H99999999999 is not a number"),
        (b"YUV4MPEG2 W999999999 H999999999 F25:1\n", r"size 999999999x999999999 is out of range 1\.\.16384"),
        (b"YUV4MPEG2 W0 H2 F25:1\n", "size 0x2 is out of range"),
        (b"YUV4MPEG2 W2 H2 Fabc\n", "frame rate Fabc is not of the form"),
        (b"YUV4MPEG2 W2 H2 F25:1\n", "holds no frames"),
        (b"YUV4MPEG2 W2 H2 F25:1\nFRAMES\nabcdef", "frame 0 does not start with FRAME"),
        (b"YUV4MPEG2 W2 H2 F25:1\nFRAME\nabcdefgarbage!", "frame 1 does not start with FRAME"),
    ],
)
def test_bad_input(tmp_path, header, message):
    (tmp_path / "bad.y4m").write_bytes(header)
    with pytest.raises(VideoError, match=rf"bad\.y4m: .*{message}"):
        planes(tmp_path / "bad.y4m")


@pytest.mark.parametrize("cut", [1, 13, 40, 44])
def test_truncated_gives_whole_frames_then_the_error(tmp_path, noise_frames, cut):
    path = tmp_path / "a.y4m"
    frames = noise_frames(5, 5, 3)
    write(path, VideoInfo(5, 5), frames)
    whole = frame_bytes(5, 5) + 6
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - whole + cut])
    with open_video(path) as reader:
        assert reader.info.frames is None
        assert [next(reader).tobytes() for _ in range(2)] == [f.tobytes() for f in frames[:2]]
        with pytest.raises(VideoError, match=r"ends in the middle of frame 2; the file is cut"):
            next(reader)


@given(data=st.binary(max_size=60), position=st.integers(0, 70))
@settings(max_examples=150, deadline=None)
def test_damage_is_a_video_error(tmp_path_factory, data, position):
    good = b"YUV4MPEG2 W4 H4 F25:1 Ip C420jpeg\n" + (b"FRAME\n" + bytes(24)) * 2
    path = tmp_path_factory.getbasetemp() / "fuzz.y4m"
    path.write_bytes(good[:position] + data + good[position + len(data) :])
    with contextlib.suppress(VideoError):  # and nothing else
        planes(path)


def test_frames_and_fps_options(tmp_path, noise_frames):
    frames = noise_frames(4, 4, 5)
    write(tmp_path / "a.y4m", VideoInfo(4, 4), frames)
    assert planes(tmp_path / "a.y4m", frames=2) == [f.tobytes() for f in frames[:2]]
    with open_video(tmp_path / "a.y4m", frames=9, fps=Fraction(24000, 1001)) as reader:
        assert (reader.info.frames, reader.info.fps) == (5, Fraction(24000, 1001))
    with pytest.raises(VideoError, match="cannot read 0 frames"):
        open_video(tmp_path / "a.y4m", frames=0)
    with pytest.raises(VideoError, match=r"is 4x4, not 8x4; wrong `size`\?"):
        open_video(tmp_path / "a.y4m", size=(8, 4))


COPY = """
import sys
from nvc_jax.video import create_video, open_video
with open_video("-") as reader, create_video("-", reader.info) as writer:
    for frame in reader:
        writer.write(frame)
        print(reader.count, file=sys.stderr)
"""


def test_pipes(tmp_path, noise_frames):
    frames = noise_frames(67, 55, 40)  # more than a pipe holds at once
    write(tmp_path / "a.y4m", VideoInfo(67, 55, colour=Colour(chroma_location="left")), frames)
    data = (tmp_path / "a.y4m").read_bytes()
    done = subprocess.run([sys.executable, "-c", COPY], input=data, capture_output=True, check=True)
    assert done.stdout == data
    done = subprocess.run([sys.executable, "-c", COPY], input=data[:-7], capture_output=True, check=False)
    assert b"standard input: ends in the middle of frame 39" in done.stderr
    assert done.stdout == data[: -frame_bytes(67, 55) - 6]  # the whole frames went out


def test_reader_of_the_pipe_ends(noise_frames):
    script = (
        "from nvc_jax.errors import OutputError\n"
        "from nvc_jax.demo.sequence import demo_sequence\n"
        "from nvc_jax.video import create_video\n"
        "import sys\n"
        "info, frames = demo_sequence(64, 48, 200)\n"
        "try:\n"
        "    with create_video('-', info) as writer:\n"
        "        for frame in frames: writer.write(frame)\n"
        "except OutputError as error:\n"
        "    sys.exit(str(error))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(100)
    process.stdout.close()
    assert process.stderr.read() == b"standard output: the program that reads this output has ended\n"
    process.stderr.close()
    assert process.wait() == 1


def test_wrong_frames_are_refused_and_leave_nothing(tmp_path, noise_frames, rgb_frames):
    (good,), (wrong,) = noise_frames(6, 4, 1), noise_frames(4, 6, 1)
    with pytest.raises(VideoError, match=r"frame 1: plane y is uint8\[6, 4\], expected uint8\[4, 6\]"):
        write(tmp_path / "a.y4m", VideoInfo(6, 4), [good, wrong])
    with (
        pytest.raises(VideoError, match="no frame was written"),
        create_video(tmp_path / "a.y4m", VideoInfo(6, 4)),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk(noise_frames):
    with pytest.raises(OutputError, match=r"^/dev/full: cannot write \(No space left on device\)$"):
        write("/dev/full", VideoInfo(16, 16), noise_frames(16, 16, 500))


def test_real_clips(clips):
    for path in sorted((clips / "test").glob("*.y4m")):
        ours = planes(path)
        with av.open(str(path)) as container:
            assert ours == [f.to_ndarray().tobytes() for f in container.decode(video=0)]


@pytest.mark.parametrize(("tags", "fps", "note"), [("F0:0 C422", 30, True), ("F25:1 XYSCSS=422", 25, False)])
def test_header_of_another_layout_counts(tmp_path, tags, fps, note):
    path = tmp_path / "a.y4m"
    frame = b"FRAME\n" + bytes(range(16 * 8 // 2)) * 4
    path.write_bytes(f"YUV4MPEG2 W16 H8 {tags} Ip A1:1\n".encode() + 3 * frame)
    with open_video(path) as reader:
        assert reader.info.fps == fps
        assert ("no frame rate in the source: 30 assumed" in reader.info.notes) == note
        assert reader.info.notes[0] == "converted from yuv422p to 8-bit 4:2:0"
        assert len(list(reader)) == 3


@pytest.mark.parametrize(("text", "matrix"), [("1", 1), ("9", 9), ("x", None), ("", None)])
def test_our_tag_of_the_matrix(tmp_path, text, matrix):
    path = tmp_path / "a.y4m"
    path.write_bytes(f"YUV4MPEG2 W2 H2 F25:1 XNVC_MATRIX={text}\n".encode() + b"FRAME\n" + b"abcdef")
    with open_video(path) as reader:
        assert reader.info.colour.matrix == matrix


def test_header_of_another_layout_counts_once(tmp_path):
    """Interlacing, aspect ratio and our tag of the matrix, in a file that FFmpeg reads."""
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W4 H4 F25:1 It A8:9 C444 XNVC_MATRIX=9\nFRAME\n" + bytes(48))
    with open_video(tmp_path / "a.y4m") as reader:
        assert reader.info.colour.matrix == 9
        assert reader.info.notes == (
            "converted from yuv444p to 8-bit 4:2:0",
            "the pixel aspect ratio 8:9 is not carried",
            "the source is interlaced: its fields are coded together, as progressive frames",
        )
