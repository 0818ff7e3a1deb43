import io
import zlib
from fractions import Fraction

import numpy as np
import pytest

from nvc_jax.errors import OutputError, VideoError
from nvc_jax.video import (
    Colour,
    RgbFrame,
    VideoInfo,
    create_video,
    open_video,
    read_png,
    write_png,
    yuv_to_rgb,
)
from nvc_jax.video.png import list_pictures


def write(path, info, frames):
    with create_video(path, info) as writer:
        for frame in frames:
            writer.write(frame)


def pictures(path):
    with open_video(path) as reader:
        return [frame.rgb for frame in reader]


@pytest.mark.parametrize(
    ("target", "first", "last"),
    [
        ("out", "im00001.png", "im00011.png"),
        ("out/", "im00001.png", "im00011.png"),
        ("out/%05d.png", "00001.png", "00011.png"),
        ("out/a%d_x.png", "a1_x.png", "a11_x.png"),
    ],
)
def test_round_trip_is_exact(tmp_path, rgb_frames, target, first, last):
    frames = rgb_frames(17, 33, 11)
    if "%" in target:
        (tmp_path / "out").mkdir()
    write(f"{tmp_path}/{target}", VideoInfo(17, 33, is_rgb=True), frames)
    with open_video(f"{tmp_path}/{target}", fps=Fraction(24)) as reader:
        assert reader.info == VideoInfo(17, 33, Fraction(24), frames=11, is_rgb=True)
        for expected, frame in zip(frames, reader, strict=True):
            np.testing.assert_array_equal(frame.rgb, expected.rgb)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert len(names) == 11
    assert {first, last} <= names
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_natural_order(tmp_path, rgb_frames):
    for number in (1, 2, 10, 9, 100):
        write_png(tmp_path / f"f{number}.png", rgb_frames(4, 4, 1)[0].rgb)
    (tmp_path / "notes.txt").write_text("no picture")
    expected = ["f1.png", "f2.png", "f9.png", "f10.png", "f100.png"]
    assert [p.name for p in list_pictures(tmp_path)] == expected
    assert [p.name for p in list_pictures(tmp_path / "f%d.png")] == expected


def test_yuv_frames_become_rgb_by_the_colour_description(tmp_path, noise_frames):
    (frame,) = noise_frames(6, 5, 1)
    colour = Colour(matrix=1, full_range=True)
    write(tmp_path / "one.png", VideoInfo(6, 5, colour=colour, frames=1), [frame])
    np.testing.assert_array_equal(read_png(tmp_path / "one.png"), yuv_to_rgb(frame, colour).rgb)
    np.testing.assert_array_equal(pictures(tmp_path / "one.png")[0], read_png(tmp_path / "one.png"))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "I;16"])
def test_other_kinds_of_png(tmp_path, mode):
    image = pytest.importorskip("PIL.Image")
    grey = np.linspace(0, 255, 16 * 8).astype(np.uint8).reshape(8, 16)
    if mode == "I;16":
        picture, expected = image.fromarray(grey.astype(np.uint16) * 257), grey
    elif mode == "1":
        picture = image.fromarray(grey > 99)
        expected = np.where(grey > 99, 255, 0)
    else:
        picture, expected = image.fromarray(grey).convert(mode), grey
    picture.save(tmp_path / "a.png")
    got = read_png(tmp_path / "a.png")
    assert got.shape == (8, 16, 3)
    assert np.abs(got.astype(int) - expected[..., None]).max() <= (1 if mode == "I;16" else 0)
    with open_video(tmp_path) as reader:
        notes = reader.info.notes
    assert ("16-bit pictures are read as 8 bit" in notes) == (mode == "I;16")
    assert ("transparency is left out" in notes) == ("A" in mode)


def test_bad_pictures_are_named(tmp_path, rgb_frames):
    for number, frame in enumerate(rgb_frames(40, 30, 3)):
        write_png(tmp_path / f"{number}.png", frame.rgb)
    good = (tmp_path / "1.png").read_bytes()

    def read():
        return [p.shape for p in pictures(tmp_path)]

    (tmp_path / "1.png").write_bytes(good[: len(good) // 2])
    with pytest.raises(VideoError, match=r"1\.png: the PNG picture is cut$"):
        read()
    (tmp_path / "1.png").write_bytes(good[:99] + bytes([good[99] ^ 1]) + good[100:])
    with pytest.raises(VideoError, match=r"1\.png: the PNG picture is damaged \(at byte"):
        read()
    body = b"IDAT" + b"not deflate data"
    chunk = len(body[4:]).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    (tmp_path / "1.png").write_bytes(good[:33] + chunk + good[-12:])
    with pytest.raises(VideoError, match=r"1\.png: the PNG picture is damaged$"):
        read()
    (tmp_path / "1.png").write_text("a text file")
    with pytest.raises(VideoError, match=r"1\.png: is not a PNG picture"):
        read()
    (tmp_path / "1.png").write_bytes(good[:16] + (10**9).to_bytes(4) * 2 + good[24:])
    with pytest.raises(VideoError, match=r"1\.png: size 1000000000x1000000000 is out of range"):
        read()
    write_png(tmp_path / "1.png", np.zeros((30, 41, 3), np.uint8))
    with pytest.raises(VideoError, match=r"1\.png: is 41x30, but 0\.png is 40x30"):
        read()


def test_cut_anywhere_is_a_video_error(tmp_path, rgb_frames):
    write_png(tmp_path / "a.png", rgb_frames(9, 9, 1)[0].rgb)
    data = (tmp_path / "a.png").read_bytes()
    for length in range(len(data)):
        (tmp_path / "a.png").write_bytes(data[:length])
        with pytest.raises(VideoError, match=r"a\.png: is (empty|not a PNG)|a\.png: the PNG picture is cut"):
            pictures(tmp_path / "a.png")


def test_no_pictures(tmp_path):
    with pytest.raises(VideoError, match="no PNG pictures in this folder"):
        open_video(tmp_path)
    with pytest.raises(VideoError, match=r"%05d\.png: no such pictures"):
        open_video(tmp_path / "%05d.png")
    with pytest.raises(VideoError, match=r"%05d\.png: no such pictures"):
        open_video(tmp_path / "nowhere" / "%05d.png")


def test_a_folder_is_replaced_only_if_it_is_ours(tmp_path, rgb_frames):
    info = VideoInfo(4, 4, is_rgb=True)
    out = tmp_path / "out"
    write(out, info, rgb_frames(4, 4, 3))
    write(out, info, rgb_frames(4, 4, 2))
    assert len(pictures(out)) == 2
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"out: holds other files \(thesis\.txt\); name a new or an empty folder"):
        create_video(out, info)
    assert (out / "thesis.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("target", ["out", "%d.png"])
def test_failure_leaves_nothing(tmp_path, rgb_frames, target):
    frames = [*rgb_frames(4, 4, 2), *rgb_frames(5, 4, 1)]
    with pytest.raises(VideoError, match="frame 2: plane rgb"):
        write(tmp_path / target, VideoInfo(4, 4, is_rgb=True), frames)
    assert not list(tmp_path.iterdir())


def test_failure_keeps_the_old_folder(tmp_path, rgb_frames):
    info = VideoInfo(4, 4, is_rgb=True)
    write(tmp_path / "out", info, rgb_frames(4, 4, 2))
    with pytest.raises(VideoError, match="expected"), create_video(tmp_path / "out", info) as writer:
        writer.write(rgb_frames(4, 5, 1)[0])
    assert len(pictures(tmp_path / "out")) == 2


def test_one_picture_is_one_frame(tmp_path, rgb_frames):
    with pytest.raises(VideoError, match=r"a\.png: is one picture; name a folder \(a/\) or a pattern"):
        create_video(tmp_path / "a.png", VideoInfo(4, 4, frames=2))
    with pytest.raises(VideoError, match="is one picture, but there are more frames"):
        write(tmp_path / "a.png", VideoInfo(4, 4, frames=1), rgb_frames(4, 4, 2))
    assert not list(tmp_path.iterdir())


def test_pillow_reads_what_we_write(tmp_path, rgb_frames):
    image = pytest.importorskip("PIL.Image")
    (frame,) = rgb_frames(31, 7, 1)
    write_png(tmp_path / "a.png", frame.rgb)
    with image.open(io.BytesIO((tmp_path / "a.png").read_bytes())) as picture:
        np.testing.assert_array_equal(np.asarray(picture), frame.rgb)


def test_unfit_rgb_frame(tmp_path):
    with (
        pytest.raises(VideoError, match=r"frame 0: plane rgb is float32\[4, 4, 3\], expected uint8\[4, 4, 3\]"),
        create_video(tmp_path / "out", VideoInfo(4, 4)) as writer,
    ):
        writer.write(RgbFrame(np.zeros((4, 4, 3), np.float32)))
