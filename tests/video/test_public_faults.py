"""Inputs of public bug reports, where a working copy has them beside it, with the right values."""

from fractions import Fraction
from pathlib import Path

import pytest

from nvc_jax.errors import VideoError
from nvc_jax.video import open_video, read_window

FAULTS = Path(__file__).parents[3] / "shared" / "faults"
pytestmark = pytest.mark.skipif(not FAULTS.is_dir(), reason="needs ../shared/faults")

NO_RATE = "no frame rate in the source: 30 assumed"
MEAN = "variable frame rate: every frame is kept, at {} per second"
NTSC = Fraction(24000, 1001)
RIGHT = {  # size, frames, rate, notes
    "raw_30.h264": ((64, 48), 24, 30, ()),
    "raw_24000_1001.h265": ((64, 48), 24, NTSC, ()),
    "vfr_pause.mkv": ((64, 48), 20, Fraction(50, 7), (MEAN.format("7.1429"),)),
    "vfr_pause.mp4": ((64, 48), 20, Fraction(50, 7), (MEAN.format("7.1429"),)),
    "live_pause.webm": ((64, 48), 20, Fraction(50, 7), (MEAN.format("7.1429"),)),
    "vfr_one_dropped.mp4": ((64, 48), 59, Fraction(188800, 6401), (MEAN.format("29.495"),)),
    "long.mpg": ((128, 96), 200, 25, ()),
    "long.mp4": ((128, 96), 200, 25, ()),
    "cover_first_pic.mkv": (
        (64, 48), 12, 25, ("2 video tracks: number 1 is read (h264 64x48), `track` N reads another",)
    ),
    "two_tracks.mp4": ((64, 48), 12, 25, ("2 video tracks: number 1 is read (h264 64x48), `track` N reads another",)),
    "anim.png": ((64, 48), 6, 10, ("transparency is left out",)),
    "anim.gif": ((64, 48), 6, Fraction(600, 59), ("transparency is left out", MEAN.format("10.169"))),
    "palette_trns.png": ((64, 48), 1, 30, (NO_RATE, "transparency is left out")),
    "gray.jpg": ((64, 48), 1, 30, ("converted from gray to 8-bit 4:2:0", NO_RATE)),
    "bitflips.mp4": (
        (64, 48), 48, 25,
        (
            "6 of 48 frames are damaged in the source; "
            "they and frames predicted from them are used as its decoder left them",
        ),
    ),
    "gop12.mp4": ((64, 48), 48, 25, ()),
    "clap.mp4": ((48, 32), 12, 25, ("cropped to 48x32, as the container asks",)),
    "avi_null.avi": (
        (64, 48), 9, Fraction(75, 4), (MEAN.format("18.75"), "repeat frames without data are dropped (3)")
    ),
    "edit_trim.mp4": ((64, 48), 20, 25, ()),
    "rot_vflip.mp4": (
        (64, 48), 12, 25, ("the source is to be shown mirrored top to bottom: that is not carried",)
    ),
    "primaries_png": ((128, 96), 2, 30, (NO_RATE,)),
    "seq_gap": (
        (64, 48), 5, 30,
        (NO_RATE, "the picture numbers have gaps: 3 pictures are missing, the first between 3 and 7"),
    ),
    "exif6.png": (
        (64, 48), 1, 30, (NO_RATE, "the source is to be shown rotated by -90 degrees: that is not carried")
    ),
    "xyscss_only_422.y4m": ((64, 48), 6, 25, ("converted from yuv422p to 8-bit 4:2:0",)),
    "fps_zero_422.y4m": ((64, 48), 6, 30, ("converted from yuv422p to 8-bit 4:2:0", NO_RATE)),
    "ffv1_yuv444p_ycgco.mkv": (
        (64, 48), 3, 25,
        (
            "converted from yuv444p to 8-bit 4:2:0",
            "the matrix YCgCo is carried, but not supported: RGB is converted with BT.601",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_size_frames_rate_and_notes(name):
    size, frames, rate, notes = RIGHT[name]
    with open_video(FAULTS / name) as reader:
        assert sum(1 for _ in reader) == reader.info.frames == frames
        assert (reader.info.width, reader.info.height) == size
        assert (reader.info.fps, (*reader.info.notes, *reader.findings.notes())) == (rate, notes)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("audio_cover.mp3", r"audio_cover\.mp3: has no video, only an attached picture \(`track` 0 reads it\)$"),
        ("range_change.h264", "frame 6 is full range, but the first is limited range; cut it there$"),
    ],
)
def test_refusals(name, sentence):
    with pytest.raises(VideoError, match=sentence), open_video(FAULTS / name) as reader:
        list(reader)


@pytest.mark.parametrize("name", ["long.mpg", "long.mp4"])
def test_windows(name):
    with open_video(FAULTS / name) as reader:
        index = reader.index
        whole = [frame.tobytes() for frame in reader]
    for start in (0, 1, 14, 15, 16, 100, 119, 131, 195, 199):
        assert [frame.tobytes() for frame in read_window(FAULTS / name, start, 5, index)] == whole[start : start + 5]
