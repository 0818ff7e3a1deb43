import os
import threading

import numpy as np
import pytest

from nvc_jax.errors import OutputError, VideoError
from nvc_jax.video import VideoInfo, YuvFrame, create_video, open_video


def write_one(path):
    with create_video(path, VideoInfo(2, 2)) as writer:
        writer.write(YuvFrame(np.zeros((2, 2), np.uint8), *[np.zeros((1, 1), np.uint8)] * 2))


@pytest.mark.parametrize("name", ["a.y4m", "a.yuv", "a.mp4", "a.mkv", "a.png", "frames", "%05d.png"])
def test_parent_folder_must_exist(tmp_path, name):
    with pytest.raises(OutputError, match="does not exist; make it first"):
        create_video(tmp_path / "nowhere" / name, VideoInfo(4, 4, frames=1))
    assert not list(tmp_path.iterdir())


def test_unusable_names(tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        open_video(tmp_path / ("x" * 300 + ".y4m"))
    with pytest.raises(OutputError, match=r"x\.y4m: cannot put the finished file in place \(File name too long\)"):
        write_one(tmp_path / ("x" * 300 + ".y4m"))
    with pytest.raises(VideoError, match="no such file"):
        open_video(tmp_path / "" / "a.y4m" / "b.y4m")
    assert not list(tmp_path.iterdir())


def test_unknown_suffix_and_odd_requests(tmp_path):
    with pytest.raises(VideoError, match=r"a\.avi: cannot write \.avi files; use one of \.y4m .* \.webm"):
        create_video(tmp_path / "a.avi", VideoInfo(4, 4))
    with pytest.raises(VideoError, match="size 0x4 is out of range"):
        create_video(tmp_path / "a.y4m", VideoInfo(0, 4))
    with pytest.raises(VideoError, match="frame rate 0 is not positive"):
        create_video(tmp_path / "a.y4m", VideoInfo(4, 4, fps=0))
    (tmp_path / "plain").write_text("x")
    with pytest.raises(OutputError, match="is a file without a suffix"):
        create_video(tmp_path / "plain", VideoInfo(4, 4))


def test_frame_rate_must_be_positive(tmp_path):
    (tmp_path / "a.yuv").write_bytes(bytes(24))
    with pytest.raises(VideoError, match="frame rate -1 is not positive"):
        open_video(tmp_path / "a.yuv", size=(4, 4), fps=-1)


def test_y4m_is_known_by_its_content(tmp_path, noise_frames):
    (frame,) = noise_frames(4, 4, 1)
    with create_video(tmp_path / "a.y4m", VideoInfo(4, 4)) as writer:
        writer.write(frame)
    (tmp_path / "a.y4m").rename(tmp_path / "a.mp4")
    with open_video(tmp_path / "a.mp4") as reader:
        assert next(reader).tobytes() == frame.tobytes()
    (tmp_path / "b.y4m").write_bytes(b"not that")
    with pytest.raises(VideoError, match=r"b\.y4m: is not y4m"):
        open_video(tmp_path / "b.y4m")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe(tmp_path, noise_frames):
    frames = noise_frames(40, 30, 30)
    os.mkfifo(tmp_path / "pipe")

    def send():
        with create_video(tmp_path / "pipe", VideoInfo(40, 30)) as writer:
            for frame in frames:
                writer.write(frame)

    sender = threading.Thread(target=send)
    sender.start()
    with open_video(tmp_path / "pipe") as reader:
        assert reader.info.frames is None
        assert [f.tobytes() for f in reader] == [f.tobytes() for f in frames]
    sender.join()
    assert (tmp_path / "pipe").is_fifo()


def test_closed_reader_is_at_its_end(tmp_path):
    (tmp_path / "a.yuv").write_bytes(bytes(48))
    reader = open_video(tmp_path / "a.yuv", size=(4, 4))
    next(reader)
    reader.close()
    reader.close()
    assert list(reader) == []


def test_names_with_special_characters(tmp_path, yuv_frames):
    for name in ("a:b é%d.mp4", "%s 100%.y4m", "http:x.mkv"):
        with create_video(tmp_path / name, VideoInfo(16, 16)) as writer:
            writer.write(yuv_frames(16, 16, 1)[0])
        with open_video(tmp_path / name) as reader:
            assert len(list(reader)) == 1
