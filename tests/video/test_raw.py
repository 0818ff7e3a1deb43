import pytest

from nvc_jax.errors import VideoError
from nvc_jax.video import VideoInfo, create_video, open_video


@pytest.mark.parametrize("size", [(17, 33), (16, 16)])
def test_round_trip_is_exact(tmp_path, noise_frames, size):
    frames = noise_frames(*size, 3)
    path = tmp_path / "a.yuv"
    with create_video(path, VideoInfo(*size)) as writer:
        for frame in frames:
            writer.write(frame)
    assert path.read_bytes() == b"".join(f.tobytes() for f in frames)
    with open_video(path, size=size) as reader:
        assert reader.info.frames == 3
        assert reader.info.notes == ("no frame rate in the source: 30 assumed",)
        assert [f.tobytes() for f in reader] == [f.tobytes() for f in frames]
    with open_video(path, size=size, fps=50) as reader:
        assert (reader.info.fps, reader.info.notes) == (50, ())


def test_size_is_checked(tmp_path):
    path = tmp_path / "a.yuv"
    path.write_bytes(bytes(24 * 3))
    with pytest.raises(VideoError, match=r"a\.yuv: a raw \.yuv file does not say its size; give `size` WxH"):
        open_video(path)
    path.write_bytes(bytes(72 + 1))
    with pytest.raises(
        VideoError,
        match=r"73 bytes are not a whole number of 4x6 4:2:0 frames \(36 bytes each\); wrong `size`\?",
    ):
        open_video(path, size=(4, 6))
    with pytest.raises(VideoError, match=r"size 0x4 is out of range 1\.\.16384 per side"):
        open_video(path, size=(0, 4))


def test_shrinking_file(tmp_path, noise_frames):
    path = tmp_path / "a.yuv"
    data = b"".join(f.tobytes() for f in noise_frames(400, 400, 2))
    path.write_bytes(data)
    with open_video(path, size=(400, 400)) as reader:
        next(reader)
        path.write_bytes(data[:-10])
        with pytest.raises(VideoError, match="ends in the middle of frame 1"):
            next(reader)
