"""Sources are read as meant: ranges, changes of format, damage, cropping, orientation, transparency, HDR."""

import re
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest

from nvc_jax.errors import VideoError
from nvc_jax.video import Colour, RgbFrame, VideoInfo, create_video, open_video, read_window, rgb_to_yuv, write_png
from nvc_jax.video.colour import coded_colour


def chunk(kind, data):
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def add_chunk(path, kind, data, before=b"IDAT"):
    png = path.read_bytes()
    at = png.index(before) - 4
    path.write_bytes(png[:at] + chunk(kind, data) + png[at:])


def notes_of(path):
    with open_video(path) as reader:
        for _ in reader:
            pass
        return [*reader.info.notes, *reader.findings.notes()]


DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("layout", ["gray", "gray16le", "ya8"])
def test_untagged_grey_is_full_range(tmp_path, layout):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    with av.open(str(tmp_path / "a.mkv"), "w") as sink:
        stream = sink.add_stream("ffv1", rate=25, options={"strict": "-2"})
        stream.width, stream.height, stream.pix_fmt = 16, 16, layout
        frame = av.VideoFrame.from_ndarray(grey, "gray").reformat(format=layout, src_color_range=2, dst_color_range=2)
        frame.color_range = 0
        sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    with open_video(tmp_path / "a.mkv") as reader:
        assert reader.info.colour.full_range
        np.testing.assert_array_equal(next(reader).y, grey)


def test_jpeg_of_one_component_is_full_range():
    with open_video(DATA / "gray.jpg") as reader:
        assert reader.info.colour.full_range
        luma = next(reader).y
    assert luma.min() < 8
    assert luma.max() > 247


def h264(path, film, bframes=0, **colour):
    def tune(stream):
        for name, value in colour.items():
            setattr(stream.codec_context, name, value)

    return film(path, "libx264", range(6), options={"bf": str(bframes)}, tune=tune).read_bytes()


@pytest.mark.parametrize(
    ("before", "behind", "message"),
    [
        (
            {"colorspace": 1, "color_range": 1},
            {"colorspace": 1, "color_range": 2},
            "frame 6 is full range, but the first is limited range; cut it there",
        ),
        (
            {"colorspace": 1, "color_range": 2},
            {"colorspace": 1, "color_range": 1},
            "frame 6 is limited range, but the first is full range; cut it there",
        ),
        ({}, {"color_range": 2}, "frame 6 is full range, but the first is limited range"),
        ({"colorspace": 1}, {"colorspace": 6}, r"is in the matrix BT\.601, but the first is in BT\.709"),
        ({"color_primaries": 1}, {"color_primaries": 9}, "is of other primaries "),
        ({"color_trc": 1}, {"color_trc": 16}, r"is of other transfer \(16 in H\.273\), but the first is of 1"),
    ],
)
def test_colours_that_change_on_the_way_are_refused(tmp_path, film, before, behind, message):
    data = h264(tmp_path / "a.h264", film, **before) + h264(tmp_path / "b.h264", film, **behind)
    (tmp_path / "c.h264").write_bytes(data)
    with open_video(tmp_path / "c.h264") as reader, pytest.raises(VideoError, match=message):
        list(reader)


@pytest.mark.parametrize("bframes", [0, 1, 3])
def test_colours_change_at_a_key_frame(tmp_path, film, bframes):
    """FFmpeg shows the new colours in B-frames before it too."""
    data = [h264(tmp_path / "a.h264", film, bframes, color_range=number) for number in (1, 2)]
    (tmp_path / "c.h264").write_bytes(b"".join(data))
    with open_video(tmp_path / "c.h264") as reader:
        with pytest.raises(VideoError, match="frame 6 is full range, but the first is limited range"):
            list(reader)
        assert reader.count == 6


def test_colours_that_mean_the_same_go_on(tmp_path, film):
    data = h264(tmp_path / "a.h264", film) + h264(tmp_path / "b.h264", film, color_range=1, colorspace=6)
    (tmp_path / "c.h264").write_bytes(data)
    with open_video(tmp_path / "c.h264") as reader:
        assert len(list(reader)) == 12


def test_damaged_frames_are_counted(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=25, options={"g": "8", "bf": "0", "x264-params": "scenecut=0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(16):
            picture = np.random.default_rng(number).integers(0, 256, (96, 64), np.uint8)
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "yuv420p")))
        sink.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as source:
        place, size = next((p.pos, p.size) for p in source.demux(video=0) if p.pts == 10 * p.duration)
    data[place + size // 3 : place + size] = b"\xff" * (size - size // 3)
    path.write_bytes(data)
    with open_video(path) as reader:
        index = reader.index
        assert len(list(reader)) == 16
        assert reader.findings.damaged >= 1
        assert reader.findings.notes()[0].startswith(
            f"{reader.findings.damaged} of 16 frames are damaged in the source; "
        )
    assert len(read_window(path, 2, 3, index)) == 3
    for start in (10, 12):  # the frame itself, and one that is predicted from it
        with pytest.raises(VideoError, match="frames are damaged"):
            read_window(path, start, 2, index)


def with_aperture(data, width, height, right=0, down=0):
    """An mp4 file, its moov box at the end, with a clean aperture."""
    values = (width, 1, height, 1, round(2 * right), 2, round(2 * down), 2)
    clap = struct.pack(">I4s8i", 40, b"clap", *values)
    at = data.index(b"avc1", data.index(b"stsd")) - 4
    end = at + int.from_bytes(data[at : at + 4])
    changed = bytearray(data[:end] + clap + data[end:])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        place = data.index(kind, data.index(b"moov")) - 4 if kind != b"avc1" else at
        changed[place : place + 4] = (int.from_bytes(changed[place : place + 4]) + 40).to_bytes(4)
    return bytes(changed)


@pytest.fixture
def gradient(tmp_path):
    """A 64x48 picture with distinct columns and rows, in lossless H.264."""
    path = tmp_path / "gradient.mp4"
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        planes = np.add.outer(np.arange(72), 3 * np.arange(64)).astype(np.uint8)
        for _ in range(2):
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(planes, "yuv420p")))
        sink.mux(stream.encode(None))
    return path


def remux(source, target):
    with av.open(str(source)) as reading, av.open(str(target), "w") as writing:
        track = reading.streams.video[0]
        copy = writing.add_stream_from_template(track)
        for packet in reading.demux(track):
            if packet.dts is not None:
                packet.stream = copy
                writing.mux(packet)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("width", "height", "left", "top"), [(48, 32, 8, 8), (60, 41, 4, 6), (33, 48, 0, 0)])
def test_cropping_of_the_container(tmp_path, gradient, suffix, width, height, left, top):
    right, down = left - (64 - width) / 2, top - (48 - height) / 2  # of the centre
    path = tmp_path / f"a{suffix}"
    (tmp_path / "a.mp4").write_bytes(with_aperture(gradient.read_bytes(), width, height, right, down))
    if suffix == ".mkv":
        remux(tmp_path / "a.mp4", path)
    with open_video(gradient) as reader:
        whole = next(reader)
    with open_video(path) as reader:
        assert (reader.info.width, reader.info.height) == (width, height)
        assert f"cropped to {width}x{height}, as the container asks" in reader.info.notes
        frames = list(reader)
    rows, columns = slice(top // 2, (top + height + 1) // 2), slice(left // 2, (left + width + 1) // 2)
    for frame in frames:
        np.testing.assert_array_equal(frame.y, whole.y[top : top + height, left : left + width])
        np.testing.assert_array_equal(frame.u, whole.u[rows, columns])
        np.testing.assert_array_equal(frame.v, whole.v[rows, columns])


def test_cropping_from_an_odd_place_is_noted(tmp_path, gradient):
    (tmp_path / "a.mp4").write_bytes(with_aperture(gradient.read_bytes(), 50, 48, 0, 0))
    with open_video(tmp_path / "a.mp4") as reader:
        assert (reader.info.width, reader.info.height) == (64, 48)
        assert any("50x48 that the container asks for starts at an odd offset" in note for note in reader.info.notes)


@pytest.mark.parametrize(
    ("rotation", "flips", "wish"),
    [
        (0, {}, None),
        (90, {}, r"rotated by -?90 degrees"),
        (180, {}, "rotated by 180 degrees"),
        (0, {"hflip": True}, "mirrored left to right"),
        (0, {"vflip": True}, "mirrored top to bottom"),
        (90, {"hflip": True}, "mirrored and rotated"),
    ],
)
def test_rotated_and_mirrored(tmp_path, film, rotation, flips, wish):
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("needs PyAV 18 to write display matrices")
    path = film(tmp_path / "a.mp4", "libx264", range(2), tune=lambda s: s.set_display_rotation(rotation, **flips))
    sentence = "" if wish is None else f"the source is to be shown {wish}: that is not carried"
    assert re.fullmatch(sentence, " ".join(notes_of(path)))


def exif(orientation, order="<"):
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


WISHES = {
    1: None,
    2: "mirrored left to right",
    3: "rotated by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored and rotated",
    6: "rotated by -90 degrees",
    8: "rotated by 90 degrees",
}


@pytest.mark.parametrize("orientation", WISHES)
@pytest.mark.parametrize("kind", ["png", "png, behind the pixels", "jpg"])
def test_orientation_of_exif(tmp_path, film, orientation, kind):
    data = exif(orientation, "<" if orientation % 2 else ">")
    if kind == "jpg":
        path = film(tmp_path / "a.jpg", "mjpeg", range(1), layout="yuvj420p", form="mjpeg")
        jpeg, segment = path.read_bytes(), b"Exif\0\0" + data
        path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + jpeg[2:])
    else:
        path = tmp_path / "a.png"
        write_png(path, np.zeros((16, 16, 3), np.uint8))
        add_chunk(path, b"eXIf", data, b"IDAT" if kind == "png" else b"IEND")
    asked = [note for note in notes_of(path) if "to be shown" in note]
    wish = WISHES[orientation]
    assert asked == ([] if wish is None else [f"the source is to be shown {wish}: that is not carried"])


def test_animated_png(tmp_path, rgb_frames):
    path = tmp_path / "a.png"
    frames = rgb_frames(18, 14, 6)
    with av.open(str(path), "w", format="apng") as sink:
        stream = sink.add_stream("apng", rate=10)
        stream.width, stream.height, stream.pix_fmt = 18, 14, "rgb24"
        for frame in frames:
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb, "rgb24")))
        sink.mux(stream.encode(None))
    with open_video(path) as reader:
        assert (reader.info.fps, reader.info.frames, reader.info.is_rgb, reader.info.notes) == (10, 6, True, ())
        for frame, expected in zip(reader, frames, strict=True):
            np.testing.assert_array_equal(frame.rgb, expected.rgb)
    assert "only the first picture of an animated PNG is read" in notes_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [("a.mkv", "ffv1", "bgra"), ("a.mkv", "ffv1", "yuva420p"), ("a.mov", "qtrle", "argb"), ("a.gif", "gif", "pal8")],
)
@pytest.mark.parametrize("transparent", [(), (0,), (1,), (0, 1)])
def test_transparency_is_noted_once(tmp_path, name, codec, layout, transparent):
    path = tmp_path / name
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, layout
        for number in range(2):
            hole = np.zeros((16, 16), np.uint8)
            hole[3:9, 3:9] = number in transparent
            if layout == "pal8":
                palette = np.array([[255, 100 * number, 0, 0], [0, 0, 0, 0]] + [[255, 9, 9, 9]] * 254, np.uint8)
                frame = av.VideoFrame.from_ndarray((hole, palette), "pal8")
            else:
                rgba = np.stack([hole, hole, hole + 100 * np.uint8(number), 255 - 255 * hole], axis=-1)
                frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format=layout)
            frame.pts = number
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    shows_what_was_before = name == "a.gif" and 0 not in transparent
    expected = 0 if not transparent or shows_what_was_before else 1
    assert notes_of(path).count("transparency is left out") == expected


def test_transparency_of_a_palette(tmp_path):
    path = tmp_path / "a.png"
    head = struct.pack(">IIBBBBB", 4, 4, 8, 3, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes([0, 1, 0, 1]) for _ in range(4)))
    parts = [chunk(b"IHDR", head), chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0])), chunk(b"tRNS", bytes([255, 0]))]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", rows), chunk(b"IEND", b"")]))
    assert "transparency is left out" in notes_of(path)


def test_gaps_in_the_numbers_of_pictures(tmp_path, rgb_frames):
    (frame,) = rgb_frames(8, 8, 1)
    for number in (1, 2, 3, 7, 8):
        write_png(tmp_path / f"f{number:05d}.png", frame.rgb)
    wanted = "the picture numbers have gaps: 3 pictures are missing, the first between 3 and 7"
    assert wanted in notes_of(tmp_path)
    assert wanted in notes_of(tmp_path / "f%05d.png")
    (tmp_path / "f00003.png").unlink()
    (tmp_path / "f00008.png").unlink()
    (tmp_path / "f00007.png").rename(tmp_path / "f00004.png")
    assert [n for n in notes_of(tmp_path) if "gaps" in n] == [
        "the picture numbers have gaps: 1 picture is missing, the first between 2 and 4"
    ]
    (tmp_path / "f00004.png").rename(tmp_path / "f00003.png")
    assert not any("gaps" in note for note in notes_of(tmp_path))


@pytest.mark.parametrize(("code", "name"), [(8, "YCgCo"), (10, "BT.2020 constant luminance")])
@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p"])
def test_matrix_without_a_formula_is_carried_and_named(tmp_path, film, code, name, layout):
    def tune(stream):
        stream.codec_context.colorspace = code

    path = film(tmp_path / "a.mkv", "libx264", range(2), layout=layout, tune=tune)
    with open_video(path) as reader:
        assert reader.info.colour.matrix == code
        assert any(
            note.startswith(f"the matrix {name} is carried, but not supported: RGB") for note in reader.info.notes
        )
        assert len(list(reader)) == 2


def test_hdr_metadata_is_noted(tmp_path, film):
    parameters = (
        "log-level=error:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    )
    path = film(tmp_path / "a.mkv", "libx265", range(2), options={"x265-params": parameters}, size=(64, 64))
    assert "the HDR metadata (mastering display, light level) is not carried" in notes_of(path)


PRIMARIES = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [30, 60, 90]], np.uint8)


@pytest.mark.parametrize(("height", "said"), [(96, True), (576, False)])
def test_y4m_of_rgb_keeps_the_matrix_for_us_and_says_that_others_lose_it(tmp_path, height, said):
    rgb = np.tile(PRIMARIES.repeat(16, axis=0)[None, :, :], (height, 1, 1))
    path = tmp_path / "a.y4m"
    info = VideoInfo(rgb.shape[1], height, is_rgb=True)
    with create_video(path, info) as writer:
        writer.write(RgbFrame(rgb))
        assert bool(writer.notes) == said
        assert not said or "y4m does not say the matrix BT.709" in writer.notes[0]
    with open_video(path) as reader:
        assert reader.info.colour == Colour(matrix=1, full_range=True, chroma_location="center")
        (frame,) = reader
    expected = rgb_to_yuv(RgbFrame(rgb), coded_colour(info))
    np.testing.assert_array_equal(frame.y, expected.y)
    with av.open(str(path)) as source:  # the tag is nothing to others
        assert sum(1 for _ in source.decode(video=0)) == 1


def test_yuv_says_what_it_does_not_say(tmp_path):
    with create_video(tmp_path / "a.yuv", VideoInfo(16, 16, is_rgb=True)) as writer:
        writer.write(RgbFrame(np.zeros((16, 16, 3), np.uint8)))
    assert writer.notes == ["a .yuv file does not say its colours: these are full range of matrix BT.709"]
    with create_video(tmp_path / "b.yuv", VideoInfo(16, 16)) as writer:
        writer.write(rgb_to_yuv(RgbFrame(np.zeros((16, 16, 3), np.uint8)), Colour()))
    assert writer.notes == []
