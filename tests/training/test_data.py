import dataclasses
import json
import shutil

import av
import numpy as np
import pytest
import synthetic

from nvc_jax.errors import ConfigError, VideoError
from nvc_jax.training.config import Data, Stage
from nvc_jax.training.data import batches, cut_clip, frame_order, open_clips, samples
from nvc_jax.training.sources import find_clips
from nvc_jax.video import VideoInfo, create_video, open_video, read_window, write_png

STAGE = Stage("s", frames=3, steps=10, batch=4, size=32)


def write_video(path, width, height, count, seed=0):
    frames = synthetic.moving_picture(width, height, count, seed)
    with create_video(path, VideoInfo(width, height)) as writer:
        for frame in frames:
            writer.write(frame)
    return frames


def write_pictures(folder, count, size=(48, 40), names="im{}.png", seed=0):
    folder.mkdir(parents=True)
    pictures = np.random.default_rng(seed).integers(0, 256, (count, size[1], size[0], 3), np.uint8)
    for number, picture in enumerate(pictures, 1):
        write_png(folder / names.format(number), picture)
    return pictures


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three clips of three sizes, one too short for three frames, and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.y4m", 64, 48, 9)
    write_video(folder / "b.y4m", 35, 33, 5, seed=1)
    write_video(folder / "c.y4m", 48, 64, 2, seed=2)
    (folder / "readme.txt").write_text("clips")
    return folder


def clip_set(folder, **settings):
    return open_clips(Data(source=str(folder), **settings), 0, lambda text: None)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def test_batches_are_a_function_of_seed_and_number(videos):
    clips = clip_set(videos)
    first, again = (take(batches(clips, STAGE, 0, 0), 6) for _ in range(2))
    assert all(map(same, first, again))
    assert first[0].planes[0].shape == (4, 3, 32, 32)
    assert first[0].planes[1].shape == (4, 3, 16, 16)
    assert [batch.sample.tolist() for batch in first[:2]] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    other = take(batches(open_clips(clips.data, 1, print), STAGE, 0, 0), 6)
    later = take(batches(clips, STAGE, 1, 24), 6)
    assert not any(map(same, first, other))
    assert not any(map(same, first, later))
    assert later[0].sample.tolist() == [24, 25, 26, 27]


def test_resuming_in_the_middle_of_an_epoch(videos):
    clips = clip_set(videos)
    iterator = batches(clips, STAGE, 0, 0)
    take(iterator, 5)
    place = json.loads(json.dumps(iterator.get_state()))
    rest = take(iterator, 4)
    resumed = batches(clips, STAGE, 0, 0)
    resumed.set_state(place)
    assert all(map(same, rest, take(resumed, 4)))


def test_shards_make_the_whole_batch(videos):
    clips = clip_set(videos)
    whole = next(batches(clips, STAGE, 0, 0))
    shards = [next(batches(clips, STAGE, 0, 0, (number, 2))) for number in range(2)]
    assert [shard.sample.tolist() for shard in shards] == [[0, 2], [1, 3]]
    for plane, *parts in zip(whole.planes, *(shard.planes for shard in shards), strict=True):
        np.testing.assert_array_equal(plane[0::2], parts[0])
        np.testing.assert_array_equal(plane[1::2], parts[1])
    with pytest.raises(ConfigError, match="does not divide by 3 processes"):
        batches(clips, STAGE, 0, 0, (0, 3))


def test_memory_and_disk_give_the_same(videos):
    in_memory, on_disk = (next(batches(clip_set(videos, memory_mb=mb), STAGE, 0, 0)) for mb in (100, 0))
    assert same(in_memory, on_disk)


def test_crops_are_windows_of_the_clip(videos):
    clip = clip_set(videos, flip=0.0).clips[0]
    planes = clip.read(0, 9)
    for seed in range(5):
        y, u, v = cut_clip(clip, Data(flip=0.0), 3, 32, np.random.default_rng(seed))
        windows = [
            (t, top, left)
            for t in range(7)
            for top in range(0, 17, 2)
            for left in range(0, 33, 2)
            if (planes[0][t : t + 3, top : top + 32, left : left + 32] == y).all()
        ]
        assert len(windows) == 1
        t, top, left = windows[0]
        for plane, chroma in ((planes[1], u), (planes[2], v)):
            expected = plane[t : t + 3, top // 2 : top // 2 + 16, left // 2 : left // 2 + 16]
            np.testing.assert_array_equal(chroma, expected)


def test_augmentations(videos):
    clip = clip_set(videos).clips[0]

    def cut(**settings):
        return cut_clip(clip, Data(**{"flip": 0.0, **settings}), 3, 32, np.random.default_rng(3))

    plain = cut()
    np.testing.assert_array_equal(cut(reverse=1.0)[0], plain[0][::-1])
    for plane, mirrored, turned in zip(plain, cut(flip=1.0), cut(flip_vertical=1.0), strict=True):
        np.testing.assert_array_equal(mirrored, plane[:, :, ::-1])
        np.testing.assert_array_equal(turned, plane[:, ::-1])
    assert [plane.shape for plane in cut(scale=(1.4, 1.4))] == [(3, 32, 32), (3, 16, 16), (3, 16, 16)]
    assert [plane.shape for plane in cut(scale=(0.5, 0.5))] == [(3, 32, 32), (3, 16, 16), (3, 16, 16)]


def test_small_clips_are_padded_or_skipped(videos):
    clip = clip_set(videos).clips[1]  # 35x33
    y, u, v = cut_clip(clip, Data(flip=0.0), 2, 64, np.random.default_rng(0))
    # 14 luma pixels above and to the left, 7 of chroma: the planes stay aligned.
    start = next(t for t in range(4) if (clip.read(t, 1)[0] == y[0, 14:47, 14:49]).all())
    for plane, padded, before in zip(clip.read(start, 2), (y, u, v), (14, 7, 7), strict=True):
        height, width = plane.shape[1:]
        assert padded.shape[1:] == ((64, 64) if before == 14 else (32, 32))
        np.testing.assert_array_equal(padded[:, before : before + height, before : before + width], plane)
        for edge in (padded[:, :before], padded[:, :, :before].swapaxes(1, 2)):
            assert (edge == edge[:, -1:]).all()
    skipping = clip_set(videos, small="skip")
    large = Stage("s", frames=3, steps=1, batch=1, size=48)
    assert {clip.size for clip in skipping.usable(large)} == {(64, 48), (48, 64)}
    with pytest.raises(ConfigError, match="no clip is 96x96 or larger"):
        skipping.usable(Stage("s", frames=3, steps=1, batch=1, size=96))
    with pytest.raises(ConfigError, match="no clip is 72x72 or larger"):
        clip_set(videos, small="skip", scale=(1.0, 1.5)).usable(large)


def test_samples_are_of_all_clips(videos):
    clips = clip_set(videos)
    read = set()

    def watched(clip):
        return dataclasses.replace(clip, read=lambda *window: (read.add(clip.name), clip.read(*window))[1])

    clips = dataclasses.replace(clips, clips=tuple(map(watched, clips.clips)))
    assert len(clips.epoch(STAGE)) > len(clips.clips)  # windows: an entry of the first clip comes many times in a row
    assert len(samples(clips, STAGE, 64)) == 64
    assert read == {clip.name for clip in clips.clips}


def test_what_cannot_be_read_is_replaced_and_told_once(videos):
    notes = []
    clips = open_clips(Data(source=str(videos)), 0, notes.append)

    def fails(start, count):
        raise VideoError("a.y4m: is damaged")

    broken = dataclasses.replace(clips.clips[0], read=fails)
    clips = dataclasses.replace(clips, clips=(broken, *clips.clips[1:]), note=notes.append, broken=set())
    notes.clear()
    first, again = (take(batches(clips, STAGE, 0, 0), 3) for _ in range(2))
    assert all(map(same, first, again))
    assert notes == ["a.y4m: is damaged; other clips replace its unreadable windows."]
    with pytest.raises(VideoError, match="is damaged"):
        take(batches(dataclasses.replace(clips, clips=(broken,)), STAGE, 0, 0), 1)


def test_identity_of_the_clips(videos, tmp_path):
    shutil.copytree(videos, tmp_path / "moved")
    moved = clip_set(tmp_path / "moved")
    assert moved.identity == clip_set(videos).identity
    assert dataclasses.replace(moved, clips=moved.clips[1:]).identity != moved.identity


@pytest.mark.parametrize(
    ("length", "frames", "skip", "place", "expected"),
    [
        (7, 3, 1, 0.0, [0, 1, 2]),
        (7, 3, 1, 0.999, [4, 5, 6]),
        (7, 3, 3, 0.0, [0, 3, 6]),
        (6, 3, 3, 0.0, [0, 2, 4]),  # three apart do not fit
        (3, 7, 1, 0.0, [0, 1, 2, 1, 0, 1, 2]),  # back and forth
        (1, 3, 2, 0.5, [0, 0, 0]),
    ],
)
def test_frame_order(length, frames, skip, place, expected):
    assert frame_order(length, frames, skip, place).tolist() == expected


def test_septuplets(tmp_path):
    pictures = write_pictures(tmp_path / "sequences" / "00001" / "0002", 7)
    (tmp_path / "sep_trainlist.txt").write_text("00001/0002\n")
    clips = clip_set(tmp_path, epoch="clips")
    assert [clip.frames for clip in clips.clips] == [7]
    np.testing.assert_array_equal(clips.clips[0].read(2, 3)[0], pictures[2:5])
    assert next(batches(clips, STAGE, 0, 0)).planes[0].shape == (4, 3, 32, 32, 3)
    (tmp_path / "sep_trainlist.txt").write_text("00001/0003\n")
    with pytest.raises(ConfigError, match="but missing; unpack Vimeo-90k"):
        find_clips(str(tmp_path))


def test_folders_of_pictures_and_single_ones(tmp_path):
    ten = write_pictures(tmp_path / "walk", 10, names="{}.png")
    write_png(tmp_path / "photo.png", ten[0])
    (tmp_path / "empty").mkdir()
    clips, notes = find_clips(str(tmp_path))
    assert [clip.frames for clip in clips] == [1, 10]
    np.testing.assert_array_equal(clips[1].read(9, 1)[0], ten[9:])  # 10 comes after 2
    assert len(notes) == 1
    assert "empty" in notes[0]


def test_planes_and_rgb_mix_as_rgb(tmp_path):
    write_pictures(tmp_path / "walk", 4)
    write_video(tmp_path / "a.y4m", 64, 48, 4)
    notes = []
    clips = open_clips(Data(source=str(tmp_path)), 0, notes.append)
    assert all(clip.is_rgb for clip in clips.clips)
    assert "all are taken as RGB" in notes[0]
    assert next(batches(clips, STAGE, 0, 0)).planes[0].shape == (4, 3, 32, 32, 3)


def test_windows_of_a_container_are_those_of_the_whole(tmp_path):
    path = tmp_path / "a.mkv"
    write_video(path, 64, 48, 40)
    with open_video(path) as reader:
        whole = [frame.tobytes() for frame in reader]
    for start in (0, 1, 17, 38):
        assert [frame.tobytes() for frame in read_window(path, start, 2)] == whole[start : start + 2]
    assert len(read_window(path, 39, 5)) == 1


@pytest.mark.parametrize("name", ["a.mpg", "a.ts", "a.avi"])
def test_clips_of_containers_without_an_exact_index(tmp_path, name):
    with av.open(str(tmp_path / name), "w") as sink:
        stream = sink.add_stream("mpeg2video", rate=25, options={"g": "9", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(26):
            picture = np.full((72, 64), 16 + 8 * number, np.uint8)
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "yuv420p")))
        sink.mux(stream.encode(None))
    (clip,) = clip_set(tmp_path, memory_mb=0).clips
    assert clip.frames == 26
    whole = clip.read(0, 26)[0]
    assert len(np.unique(whole.mean(axis=(1, 2)).round())) > 15  # most are told apart
    for start in range(24):
        np.testing.assert_array_equal(clip.read(start, 2)[0], whole[start : start + 2])


def test_animated_png_is_a_clip(tmp_path):
    with av.open(str(tmp_path / "a.png"), "w", format="apng") as sink:
        stream = sink.add_stream("apng", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
        for _ in range(4):
            sink.mux(stream.encode(av.VideoFrame(16, 16, "rgb24")))
        sink.mux(stream.encode(None))
    (clip,) = find_clips(str(tmp_path))[0]
    assert clip.frames == 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_list_of_septuplets_in_any_unicode(tmp_path, encoding):
    write_pictures(tmp_path / "sequences" / "00001" / "0001", 7)
    (tmp_path / "sep_trainlist.txt").write_text("00001/0001\n", encoding=encoding)
    (clip,) = find_clips(str(tmp_path))[0]
    assert clip.frames == 7


def test_list_of_septuplets_that_is_no_text(tmp_path):
    (tmp_path / "sep_trainlist.txt").write_bytes(b"\x80\x81\x82")
    with pytest.raises(ConfigError, match=r"sep_trainlist\.txt: is not UTF-8 text; save it again in UTF-8\.$"):
        find_clips(str(tmp_path))
