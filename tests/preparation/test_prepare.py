"""nvc-jax prepare: where videos are cut, how they are downsampled, and that a run can be interrupted."""

import json
import re
from fractions import Fraction

import av
import numpy as np
import pytest

from nvc_jax.cli.command import main
from nvc_jax.errors import ConfigError, OutputError
from nvc_jax.preparation import prepare as module
from nvc_jax.preparation.boxes import box_for, reduced, reduced_size
from nvc_jax.preparation.cuts import steps
from nvc_jax.preparation.prepare import RECORD, find_sources, prepare
from nvc_jax.preparation.sequences import Rules
from nvc_jax.training.sources import find_clips
from nvc_jax.video import Colour, RgbFrame, VideoInfo, YuvFrame, create_video, open_video, write_png

WIDTH, HEIGHT = 100, 70
RULES = Rules(frames=5, short_sides=(35,), min_motion=0.5)


def scene(seed, frames, speed=1.0, width=WIDTH, height=HEIGHT):
    """A smooth random texture that moves by `speed` pixels a frame, sampled from a larger one."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(16, 236, (12, 40)).astype(np.float64)
    rows, columns = np.arange(height) / 8, np.arange(2 * width) / 8
    texture = np.array([np.interp(columns, np.arange(40), row) for row in coarse])
    texture = np.array([np.interp(rows, np.arange(12), column) for column in texture.T]).T
    for t in range(frames):
        x = int(t * speed)
        y = np.ascontiguousarray(texture[:, x : x + width].astype(np.uint8))
        yield YuvFrame(y, *(np.full(((height + 1) // 2, (width + 1) // 2), v, np.uint8) for v in (100 + t % 2, 140)))


def write(path, *scenes, colour=None):
    """Write scenes as one video."""
    frames = [frame for frames in scenes for frame in frames]
    width, height = frames[0].size
    with create_video(path, VideoInfo(width, height, colour=colour or Colour())) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def frames_of(path):
    with open_video(path) as reader:
        return [frame.tobytes() for frame in reader]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_cuts_are_where_scenes_change():
    frames = [*scene(1, 9, 2), *scene(2, 7, 3), *scene(3, 1), *scene(4, 8)]
    assert [n for n, step in enumerate(steps(frames)) if step.is_cut] == [9, 16, 17]


def test_fast_motion_is_no_cut():
    found = list(steps(scene(5, 12, 8)))
    assert max(step.difference for step in found[1:]) > 12
    assert not any(step.is_cut for step in found)


def test_differences_are_of_luma():
    grey = [RgbFrame(np.full((64, 64, 3), value, np.uint8)) for value in (100, 107, 107)]
    assert [step.difference for step in steps(grey)] == [0, 7, 0]


@pytest.mark.parametrize(
    ("size", "side", "box"),
    [((1920, 1080), 360, 3), ((1920, 1080), 256, 4), ((640, 360), 540, 1), ((99, 200), 50, 2)],
)
def test_boxes(size, side, box):
    assert box_for(size, side) == box


def test_downsampling_averages_boxes():
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((31, 50), (16, 25), (16, 25))]
    small = reduced(YuvFrame(*planes), 3)
    assert small.size == reduced_size((50, 31), 3) == (16, 10)
    assert small.u.shape == (5, 8)
    for plane, source in zip((small.y, small.u, small.v), planes, strict=True):
        for row, column in np.ndindex(plane.shape):
            part = source[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            assert plane[row, column] == int(part.sum() + 4) // 9
    rgb = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert reduced(RgbFrame(rgb), 2).rgb[1, 1, 2] == (int(rgb[2:4, 2:4, 2].sum()) + 2) // 4


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    (folder / "deeper").mkdir(parents=True)
    write(folder / "a.y4m", scene(1, 13, 2), scene(2, 4), scene(3, 6, 0), scene(4, 5))
    write(folder / "deeper" / "a.y4m", scene(7, 5), colour=Colour(matrix=1, full_range=True))
    (folder / "text.txt").write_text("no video")
    return folder


def test_sequences_are_the_frames_of_scenes(videos, tmp_path):
    """Two of 13 frames; 4 are too few; 6 that do not move are left out; 5 are one."""
    result = prepare([str(videos)], tmp_path / "out", RULES)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.mkv"))
    assert names == [f"{name}.mkv" for name in ("a_0000000", "a_0000005", "a_0000023", "deeper_a_0000000")]
    assert (result.sequences, result.still, result.scenes, result.foreign, result.failed) == (4, 1, 5, 1, 0)
    source = list(scene(1, 13, 2))
    expected = [reduced(frame, 2).tobytes() for frame in source]
    assert frames_of(tmp_path / "out" / names[0]) == expected[:5]
    assert frames_of(tmp_path / "out" / names[1]) == expected[5:10]
    with open_video(tmp_path / "out" / names[3]) as reader:
        assert (reader.info.width, reader.info.height) == (50, 34)
        assert (reader.info.colour.matrix, reader.info.colour.full_range) == (1, True)
    clips, notes = find_clips(str(tmp_path / "out"))
    assert (len(clips), notes) == (4, [])
    assert {clip.frames for clip in clips} == {5}
    window = clips[1].read(3, 2)
    assert b"".join(plane[1].tobytes() for plane in window) == expected[9]


def test_an_interrupted_run_goes_on_to_the_same_bytes(videos, tmp_path, monkeypatch):
    prepare([str(videos)], tmp_path / "whole", RULES, workers=2)
    written = []

    def write_two(path, *arguments):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write_lossless(path, *arguments)

    write_lossless = module.write_lossless
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_lossless", write_two)
        with pytest.raises(KeyboardInterrupt):
            prepare([str(videos)], tmp_path / "cut", RULES)
    assert contents(tmp_path / "cut") != contents(tmp_path / "whole")
    prepare([str(videos)], tmp_path / "cut", RULES)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    read = []
    prepare([str(videos)], tmp_path / "cut", RULES, progress=lambda state: read.append(state.frames))
    assert set(read) == {0}


def test_a_video_that_changed_is_prepared_again(videos, tmp_path):
    prepare([str(videos)], tmp_path / "out", RULES)
    write(videos / "a.y4m", scene(9, 5))
    prepare([str(videos)], tmp_path / "out", RULES)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.mkv"))
    assert names == ["a_0000000.mkv", "deeper_a_0000000.mkv"]
    assert frames_of(tmp_path / "out" / names[0]) == [reduced(frame, 2).tobytes() for frame in scene(9, 5)]


def test_refusals(videos, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere: no such file or folder\."):
        prepare([str(tmp_path / "nowhere")], tmp_path / "out", RULES)
    with pytest.raises(OutputError, match=r"videos: holds other files \(a\.y4m\); name a new or an empty folder"):
        prepare([str(videos)], videos, RULES)
    prepare([str(videos)], tmp_path / "out", RULES)
    with pytest.raises(ConfigError, match="out: was prepared with frames=5, not 6; give the same options"):
        prepare([str(videos)], tmp_path / "out", Rules(frames=6, short_sides=(35,)))
    (tmp_path / "out" / RECORD).write_text("{")
    with pytest.raises(ConfigError, match=r"\.prepared\.jsonl: is damaged"):
        prepare([str(videos)], tmp_path / "out", RULES)


def test_sequences_are_no_sources_of_the_next_call(videos, monkeypatch):
    monkeypatch.chdir(videos)
    for _ in range(2):  # a relative source with an absolute folder in it
        assert prepare(["."], videos / "out", RULES).sources == 3


def test_pictures_stay_rgb(tmp_path):
    (tmp_path / "shots" / "one").mkdir(parents=True)
    pictures = [np.random.default_rng(n).integers(0, 256, (64, 96, 3), dtype=np.uint8) for n in range(3)]
    for number, picture in enumerate(pictures):
        write_png(tmp_path / "shots" / "one" / f"{number}.png", picture)
    rules = Rules(frames=3, short_sides=(), cut=255, every=1)
    assert prepare([str(tmp_path / "shots")], tmp_path / "out", rules).sequences == 1
    with open_video(tmp_path / "out" / "one_0000000.mkv") as reader:
        assert reader.info.is_rgb
        assert [frame.rgb.tobytes() for frame in reader] == [picture.tobytes() for picture in pictures]


def test_names_are_unique(tmp_path):
    for name in ("a.mp4", "a.mkv", "b c.mp4", "b_c.mp4"):
        (tmp_path / name).touch()
    names = [source.name for source in find_sources([str(tmp_path)], tmp_path / "out")]
    assert len(set(names)) == 4
    assert all(name.startswith(("a", "b_c")) for name in names)


def test_every_and_most(tmp_path):
    clip = write(tmp_path / "clip.y4m", scene(1, 24))
    rules = Rules(frames=4, short_sides=(), every=2, most=2, min_motion=0)
    assert prepare([str(clip)], tmp_path / "out", rules).sequences == 2
    frames = [frame.tobytes() for frame in scene(1, 24)]
    assert frames_of(tmp_path / "out" / "clip_0000008.mkv") == frames[8:16:2]
    with open_video(tmp_path / "out" / "clip_0000000.mkv") as reader:
        assert reader.info.fps == 15


def test_command(videos, tmp_path, capsys):
    options = ("--frames", "5", "--short-sides", "35", "--format", "y4m", "--json")
    assert main(["prepare", str(videos), "--output", str(tmp_path / "out"), *options]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["sequences"] == len(list((tmp_path / "out").glob("*.y4m"))) == 4
    assert told.err == "note: 1 files are no videos\n"
    write(videos / "a.y4m", scene(1, 3))
    assert main(["prepare", str(videos / "a.y4m"), "--output", str(tmp_path / "few"), *options]) == 1
    assert "no sequence was found in 1 files" in capsys.readouterr().err
    (videos / "cut.mp4").write_bytes(b"nothing")
    assert main(["prepare", str(videos / "cut.mp4"), str(videos), "--output", str(tmp_path / "cut"), *options]) == 1
    assert "cut.mp4" in (told := capsys.readouterr().err)
    assert "it is left out." in told


def test_damaged_frames_end_a_video(tmp_path):
    """FFmpeg conceals what lost packets of a transport stream leave out, and training could not tell."""
    source = write(tmp_path / "in.mkv", scene(1, 40, 2))
    lossy = tmp_path / "videos" / "a.ts"
    lossy.parent.mkdir()
    with av.open(source) as given, av.open(lossy, "w") as made:
        stream = made.add_stream("libx264", rate=25, options={"g": "20", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, frame in enumerate(given.decode(video=0)):
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 25), 0
            made.mux(stream.encode(frame))
        made.mux(stream.encode())
    data = lossy.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    half = len(packets) // 2
    lossy.write_bytes(b"".join(packets[:half] + packets[half + 2 :]))
    notes = []
    prepare([str(lossy.parent)], tmp_path / "out", RULES, note=notes.append)
    (sentence,) = [note for note in notes if "damaged in the source; the sequences before it are kept" in note]
    damaged = int(re.search(r"frame (\d+) is", sentence)[1])
    assert 0 < damaged < 40
    assert all(int(path.stem.rsplit("_", 1)[1]) + RULES.frames <= damaged for path in (tmp_path / "out").glob("*.mkv"))
