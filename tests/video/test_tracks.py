"""The choice of a video track."""

import av
import numpy as np
import pytest

from nvc_jax.errors import VideoError
from nvc_jax.video import open_video

ATTACHED = 1 << 10
DEFAULT = 1


def write(path, tracks, sound=False):
    """tracks: (codec, size, frames, disposition) of each."""
    with av.open(str(path), "w") as sink:
        audio = sink.add_stream("libmp3lame", rate=44100, layout="mono") if sound else None
        streams = []
        for codec, size, _, disposition in tracks:
            stream = sink.add_stream(codec, rate=25)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for stream, (_, size, count, _) in zip(streams, tracks, strict=True):
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(np.zeros((size[1] * 3 // 2, size[0]), np.uint8), "yuv420p")
                frame = frame.reformat(format=stream.pix_fmt)
                frame.pts = number
                sink.mux(stream.encode(frame))
            sink.mux(stream.encode(None))
        if audio is not None:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 4608), np.float32), "fltp", "mono")
            samples.sample_rate = 44100
            sink.mux(audio.encode(samples))
            sink.mux(audio.encode(None))
    return path


def opened(path, **options):
    with open_video(path, **options) as reader:
        return (reader.info.width, reader.info.height), sum(1 for _ in reader), reader.info.notes


SMALL, LARGE = (32, 32), (64, 48)


@pytest.mark.parametrize(
    ("tracks", "size", "number"),
    [
        pytest.param([("mjpeg", LARGE, 1, 0), ("libx264", SMALL, 4, 0)], SMALL, 1, id="picture first"),
        pytest.param([("mjpeg", LARGE, 1, DEFAULT), ("libx264", SMALL, 4, 0)], SMALL, 1, id="default picture"),
        pytest.param([("mjpeg", SMALL, 1, ATTACHED), ("libx264", LARGE, 4, 0)], LARGE, 1, id="attached first"),
        pytest.param([("libx264", SMALL, 4, 0), ("libx264", LARGE, 4, 0)], LARGE, 1, id="largest"),
        pytest.param([("libx264", SMALL, 4, DEFAULT), ("libx264", LARGE, 4, 0)], SMALL, 0, id="default"),
        pytest.param([("libx264", LARGE, 4, 0), ("libx264", SMALL, 4, DEFAULT)], SMALL, 1, id="default behind"),
    ],
)
def test_choice_and_the_note_on_it(tmp_path, tracks, size, number):
    path = write(tmp_path / "a.mkv", tracks)
    found, frames, notes = opened(path)
    assert (found, frames) == (size, 4)
    assert f"2 video tracks: number {number} is read (h264 {size[0]}x{size[1]}), `track` N reads another" in notes
    other = opened(path, track=1 - number)
    assert other[0] == tracks[1 - number][1]


def test_enabled_track_of_mp4(tmp_path):
    path = write(tmp_path / "a.mp4", [("libx264", LARGE, 4, 0), ("libx264", SMALL, 4, DEFAULT)])
    assert opened(path)[0] == SMALL


def test_sound_with_a_cover_is_no_video(tmp_path):
    path = write(tmp_path / "a.mp3", [("mjpeg", SMALL, 1, ATTACHED)], sound=True)
    with pytest.raises(VideoError, match=r"has no video, only an attached picture \(`track` 0 reads it\)$"):
        open_video(path)
    assert opened(path, track=0)[:2] == (SMALL, 1)


@pytest.mark.parametrize("first", [True, False])
def test_attached_picture_is_not_carried(tmp_path, first):
    tracks = [("mjpeg", LARGE, 1, ATTACHED), ("libx264", SMALL, 4, 0)]
    path = write(tmp_path / "a.mp4", tracks if first else tracks[::-1])
    assert opened(path) == (SMALL, 4, ("the attached picture is not carried (`track` N reads one)",))


def test_sound_that_the_header_does_not_announce(tmp_path):
    """FLV of live encoders: FFmpeg finds the track while it reads."""
    path = write(tmp_path / "a.flv", [("libx264", LARGE, 12, 0)], sound=True)
    data = bytearray(path.read_bytes())
    data[4] = 1  # video only
    path.write_bytes(data)
    assert opened(path)[:2] == (LARGE, 12)


def test_sound_alone_is_no_video(tmp_path):
    with pytest.raises(VideoError, match=r"a\.mp3: has no video$"):
        open_video(write(tmp_path / "a.mp3", [], sound=True))


def test_track_that_is_not_there(tmp_path):
    path = write(tmp_path / "a.mkv", [("libx264", SMALL, 2, 0)])
    assert not any("track" in note for note in opened(path)[2])
    for track in (1, -1):
        with pytest.raises(VideoError, match=rf"has no video track {track}; its video tracks are 0 to 0$"):
            open_video(path, track=track)
    (tmp_path / "a.yuv").write_bytes(bytes(6))
    with pytest.raises(VideoError, match=r"has no tracks to choose from; leave out `track`$"):
        open_video(tmp_path / "a.yuv", size=(2, 2), track=0)
