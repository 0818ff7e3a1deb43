"""eval.py: what it writes, what it says, and that it goes on."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from nvc_jax.bitstream import open_reader
from nvc_jax.cli.command import main as nvc_jax
from nvc_jax.codec.schedule import QpOffsets
from nvc_jax.codec.store import make_model, save_model
from nvc_jax.demo.sequence import write_demo
from nvc_jax.evaluation.coders import ModelCoder
from nvc_jax.evaluation.command import _coders, _parser
from nvc_jax.evaluation.progress import PointProgress
from nvc_jax.evaluation.runner import run_all
from nvc_jax.evaluation.sequences import Video
from nvc_jax.models.codecs import tiny
from nvc_jax.models.params import flatten, unflatten
from nvc_jax.video import write_png

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("psnr", "msssim", "psnr_y", "psnr_u", "psnr_v", "msssim_y", "msssim_u", "msssim_v")
OFFICIAL_KEYS = {  # of a point of the official test with --verbose_json 1 and 4:2:0 sources
    "frame_pixel_num", "i_frame_num", "p_frame_num", "test_time", "frame_bpp", "frame_type",
    "ds_name", "seq", "rate_idx", "qp_i", "qp_p",
    *(f"ave_{kind}_frame_{part}" for kind in ("i", "p", "all") for part in ("bpp", *PARTS)),
    *(f"frame_{part}" for part in PARTS),
}  # fmt: skip


def points_of(path):
    results = json.loads(path.read_text())
    return {
        (d, s, r): point for d, videos in results.items() for s, rates in videos.items() for r, point in rates.items()
    }


def without_times(points):
    times = ("test_time", "avg_frame_encoding_time", "avg_frame_decoding_time")
    return {key: {k: v for k, v in point.items() if k not in times} for key, point in points.items()}


@pytest.mark.parametrize("container", ["nvc", "dcvc"])
def test_results_are_those_of_the_official_test(evaluate, make_clip, tiny_model, tmp_path, capsys, container):
    clip = make_clip(32, 32, 9)
    assert evaluate("--model", tiny_model, "--videos", clip, "--qps", 5, 60, "--container", container) == 0
    assert capsys.readouterr().out.count(" dB  too small for MS-SSIM\n") == 2
    points = points_of(tmp_path / "out.json")
    assert list(points) == [("clips", "clip.y4m", "000"), ("clips", "clip.y4m", "001")]
    for (_, _, rate), point in points.items():
        assert set(point) >= OFFICIAL_KEYS
        assert point["qp_i"] == point["qp_p"] == (5, 60)[int(rate)]
        assert (point["i_frame_num"], point["p_frame_num"], point["frame_pixel_num"]) == (1, 8, 1024)
        assert point["frame_type"] == [0] + [1] * 8
        stream = tmp_path / "streams" / point["stream"]
        assert sum(point["frame_bits"]) == 8 * stream.stat().st_size
        assert point["ave_all_frame_bpp"] == pytest.approx(sum(point["frame_bits"]) / 9 / 1024, abs=1e-6)
        assert point["ave_all_frame_bpp"] == pytest.approx(
            (point["ave_i_frame_bpp"] + 8 * point["ave_p_frame_bpp"]) / 9, abs=2e-6
        )
        assert point["ave_all_frame_psnr"] == pytest.approx(np.mean(point["frame_psnr"]), abs=2e-6)
        weighted = np.dot([6, 1, 1], [point[f"frame_psnr_{plane}"] for plane in "yuv"]) / 8
        assert point["frame_psnr"] == pytest.approx(weighted, abs=2e-6)
        assert point["avg_frame_encoding_time"] > 0
        assert point["machine"]["cpu"]
        assert point["versions"]["jax"]
        assert (tmp_path / "streams" / point["picture"]).is_file()


OWN = {"container": "nvc", "precision": "int16", "rdoq": 0.06, "skip_blocks": True, "preset": "medium"}
OFFICIAL = {"container": "dcvc", "precision": "float32", "rdoq": 0.0, "skip_blocks": True, "preset": "medium"}


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("tiny", (), OWN),
        ("tiny", ("--container", "dcvc"), OFFICIAL),
        pytest.param("moving", ("--container", "dcvc"), OFFICIAL | {"rdoq": 0.06}, marks=pytest.mark.slow),
        ("tiny", ("--precision", "float32", "--rdoq", 0), OWN | {"precision": "float32", "rdoq": 0.0}),
        pytest.param("moving", ("--no-skip-blocks",), OWN | {"skip_blocks": False}, marks=pytest.mark.slow),
        ("moving", ("--preset", "fast"), OWN | {"preset": "fast"}),
        (
            "tiny",
            ("--container", "dcvc", "--precision", "int16", "--rdoq", 0.3),
            OFFICIAL | {"precision": "int16", "rdoq": 0.3},
        ),
    ],
)
def test_points_are_of_the_streams_that_the_command_line_writes(
    evaluate, make_clip, tiny_model, moving_model, tmp_path, model, options, expected
):
    clip, model = make_clip(32, 32, 2), {"tiny": tiny_model, "moving": moving_model}[model]
    assert evaluate("--model", model, "--videos", clip, "--qps", 30, *options) == 0
    (point,) = points_of(tmp_path / "out.json").values()
    assert {key: point["settings"][key] for key in expected} == expected
    stream = tmp_path / "streams" / point["stream"]
    ours = tmp_path / f"ours.{'bin' if '--container' in options else 'nvc'}"
    options = [option for option in options if option not in ("--container", "dcvc")]
    report = tmp_path / "report.json"
    arguments = ["encode", clip, ours, "--model", model, "--qp", 30, "--report", report, *options]
    assert nvc_jax([str(argument) for argument in arguments]) == 0
    assert stream.read_bytes() == ours.read_bytes()
    assert stream.suffix == ours.suffix
    assert point["ave_all_frame_psnr"] == pytest.approx(json.loads(report.read_text())["psnr"], abs=0.1)  # of 8 bits


def test_official_keys_are_those_of_official_results(shared):
    anchor = json.loads((shared / "data" / "vtm_17.0_yuv420_lowdelay_ip0.json").read_text())
    point = next(iter(next(iter(anchor["UVG"].values())).values()))
    assert set(point) - {"qp", "seq_name"} <= OFFICIAL_KEYS


@pytest.fixture
def dataset_config(tmp_path, make_clip):
    """dataset_config(**videos): path of a configuration; a video is (width, height, frames) of a clip of 3 frames."""

    def make(**videos):
        make_clip(32, 32, 3, "good.y4m")
        folder = make_clip(32, 32, 3, "other.y4m").parent
        keys = ("width", "height", "frames")
        sequences = {
            f"{name}.y4m": dict(zip(keys, numbers, strict=True)) | {"intra_period": -1}
            for name, numbers in videos.items()
        }
        entry = {"test": 1, "base_path": folder.name, "src_type": "yuv420", "sequences": sequences}
        off = entry | {"test": 0, "base_path": "nowhere"}
        path = tmp_path / "datasets.json"
        path.write_text(json.dumps({"root_path": str(folder.parent), "test_classes": {"A": entry, "B": off}}))
        return path

    return make


def test_bad_videos_cost_their_own_points_only(evaluate, dataset_config, tiny_model, tmp_path, capsys):
    config = dataset_config(missing=(32, 32, 3), other=(64, 48, 3), good=(32, 32, 2))
    assert evaluate("--model", tiny_model, "--config", config, "--qps", 20, 40) == 1
    told = capsys.readouterr().err
    assert told.count("missing.y4m: no such file") == 1
    assert told.count("other.y4m: is 32x32, not 64x48") == 1
    assert "4 of 6 points failed:\n  tiny: A/missing.y4m, qp 20 40\n  tiny: A/other.y4m, qp 20 40\n" in told
    assert "Traceback" not in told
    points = points_of(tmp_path / "out.json")
    measured = [(*key, len(point["frame_bpp"])) for key, point in points.items()]
    assert measured == [("A", "good.y4m", "000", 2), ("A", "good.y4m", "001", 2)]


def test_video_shorter_than_the_configuration_says(evaluate, dataset_config, tiny_model, capsys):
    assert evaluate("--model", tiny_model, "--config", dataset_config(good=(32, 32, 5)), "--qps", 20) == 1
    assert "holds 3 frames, not 5 as the configuration says" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", '"root_path" must be a string, not null'),
        ('{"root_path": "", "test_classes": {"A": {"test": 1}}}', 'class A: "base_path" must be a string'),
        ('{"root_path": "", "test_classes": {"A": {"test": 0}}}', "has no sequence to test"),
        (
            '{"root_path": "", "test_classes": {"A": {"test": 1, "base_path": "", "src_type": "tiff"}}}',
            "src_type is 'tiff'; it must be yuv420 or png",
        ),
        (
            '{"root_path": "", "test_classes": {"A": {"test": 1, "base_path": "", "src_type": "png", "sequences":'
            ' {"s": {"width": 0, "height": 2, "frames": 3, "intra_period": -1}}}}}',
            "width, height and frames must be at least 1",
        ),
    ],
)
def test_bad_configuration(evaluate, tmp_path, capsys, text, message):
    (tmp_path / "datasets.json").write_text(text)
    assert evaluate("--config", tmp_path / "datasets.json") == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--videos", "nothing/*.y4m"], "no file matches"),
        (["--videos", "a/c.y4m", "b/../a/c.y4m"], "2 videos are called a/c.y4m"),
        (["--videos", "c.y4m", "--qps", "64"], "--qps has 64"),
        (["--videos", "c.y4m", "--rate-num", "1"], "--rate-num is 1"),
        (["--videos", "c.y4m", "--frames", "0"], "--frames is 0"),
        (["--videos", "c.y4m", "--intra-period", "0"], "intra period is 0"),
        (["--videos", "c.y4m", "--model", "nobody"], "nobody: not a model"),
        (["--videos", "c.y4m", "--model", "x264", "x264"], "2 models are called x264"),
        (["--videos", "c.y4m", "--model", "x264", "x265"], "give a folder"),
        (["--videos", "c.y4m", "--workers", "0"], "--workers is 0"),
        (["--videos", "c.y4m", "--size", "32"], "--size 32 is not of the form WIDTHxHEIGHT"),
        (["--config", "c.json", "--size", "32x32"], "c.json: cannot read the dataset configuration"),
        *(
            (["--videos", "c.y4m", "--shard", shard], f"--shard {shard} is not of the form I/N with I from 1 to N")
            for shard in ("0/2", "3/2", "1", "1/0", "a/b", "1/2/3")
        ),
    ],
)
def test_bad_options(evaluate, capsys, arguments, message):
    assert evaluate(*arguments) == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


def test_unexpected_errors_cost_their_own_points_only(evaluate, make_clip, tiny_model, tmp_path, capsys, monkeypatch):
    measure = ModelCoder.measure

    def fail_at_5(coder, video, qp, stream):
        if qp == 5:
            raise KeyError("of nobody")
        return measure(coder, video, qp, stream)

    monkeypatch.setattr(ModelCoder, "measure", fail_at_5)
    assert evaluate("--model", tiny_model, "--videos", make_clip(32, 32, 3), "--qps", 5, 60) == 1
    told = capsys.readouterr().err
    assert "qp 5: not measured: unexpected KeyError ('of nobody')." in told
    assert "1 of 2 points failed" in told
    assert [point["qp_i"] for point in points_of(tmp_path / "out.json").values()] == [60]


def test_model_that_decodes_to_nan(evaluate, make_clip, tmp_path, capsys):
    parameters = flatten(synthetic.tiny_model().params)
    for name, leaf in parameters.items():
        if name.startswith("inter/recon") and "kernel" in name:
            parameters[name] = np.copysign(np.float32(3e38), leaf)  # sums overflow, either way
    save_model(tmp_path / "bad", make_model(tiny, unflatten(parameters), "test"))
    arguments = ["--model", tmp_path / "bad", "--videos", make_clip(32, 32, 3), "--precision", "float32"]
    assert evaluate(*arguments, "--qps", 20, 40) == 1
    told = capsys.readouterr().err
    assert told.count("frame 1 decodes to NaN or infinity") == 1
    assert "2 of 2 points failed:\n  bad: clips/clip.y4m, qp 20 40\n" in told
    assert f"{tmp_path / 'out.json'}: not written" in told
    assert not (tmp_path / "out.json").exists()


def test_killed_and_resumed_with_workers(evaluate, make_clip, tiny_model, tmp_path):
    make_clip(32, 32, 3, "one.y4m")
    clips = make_clip(32, 32, 3, "two.y4m").parent
    arguments = ["--model", tiny_model, "--videos", clips / "one.y4m", clips / "two.y4m", "--qps", *range(0, 60, 5)]
    assert evaluate(*arguments) == 0
    expected = points_of(tmp_path / "out.json")

    streams, output = tmp_path / "resumed", tmp_path / "resumed.json"
    arguments += ["--stream-dir", streams, "--output", output, "--check-existing"]
    command = [sys.executable, ROOT / "eval.py", "--workers", "2", *arguments]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}  # a device for each worker
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, process_group=0, env=environment)
    deadline = time.monotonic() + 120
    while process.poll() is None and not list(streams.rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert time.monotonic() < deadline
    finished = {path: path.stat().st_mtime_ns for path in streams.rglob("*.json")}
    assert 0 < len(finished) < len(expected)
    assert not output.exists()

    assert evaluate(*arguments) == 0
    assert without_times(points_of(output)) == without_times(expected)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_existing_points_of_other_settings_are_measured_again(evaluate, make_clip, tiny_model, tmp_path):
    arguments = ["--model", tiny_model, "--videos", make_clip(32, 32, 3), "--qps", 20, "--check-existing"]
    assert evaluate(*arguments) == 0
    assert evaluate(*arguments, "--frames", 2, "--reset-interval", 0) == 0
    (point,) = points_of(tmp_path / "out.json").values()
    assert len(point["frame_bpp"]) == 2
    assert point["settings"]["reset_interval"] == 0


def frames_measured(tmp_path):
    return [len(point["frame_bpp"]) for point in points_of(tmp_path / "out.json").values()]


def test_existing_points_of_another_video_are_measured_again(evaluate, make_clip, tiny_model, tmp_path):
    """An older file, one of the same name elsewhere, and pictures that changed in place: dates tell nothing."""
    arguments = ["--model", tiny_model, "--qps", 20, "--check-existing", "--videos"]
    clip = make_clip(32, 32, 2, "changed.y4m")
    assert evaluate(*arguments, clip) == 0
    make_clip(32, 32, 3, "changed.y4m")
    os.utime(clip, (1e9, 1e9))
    assert evaluate(*arguments, clip) == 0
    assert frames_measured(tmp_path) == [3]
    elsewhere = tmp_path / "clips" / "changed.y4m"
    elsewhere.parent.mkdir()
    shutil.copy(make_clip(32, 32, 4, "longer.y4m"), elsewhere)
    os.utime(elsewhere, (1e9, 1e9))
    assert evaluate(*arguments, elsewhere) == 0
    assert frames_measured(tmp_path) == [4]


def test_existing_points_of_pictures_that_changed_in_place(evaluate, tiny_model, tmp_path):
    folder = tmp_path / "clips" / "scene"
    folder.mkdir(parents=True)
    arguments = ["--model", tiny_model, "--qps", 20, "--check-existing", "--videos", folder]
    psnr = []
    for seed in (0, 0, 1):
        for number in range(2):
            picture = np.random.default_rng(seed + 10 * number).integers(0, 256, (32, 32, 3), np.uint8)
            write_png(folder / f"{number}.png", picture)
            os.utime(folder / f"{number}.png", (1e9, 1e9))
        os.utime(folder, (1e9, 1e9))
        assert evaluate(*arguments) == 0
        (point,) = points_of(tmp_path / "out.json").values()
        psnr.append((point["ave_all_frame_psnr"], point["test_time"]))
    assert psnr[0] == psnr[1]
    assert psnr[0][0] != psnr[2][0]


def test_existing_points_of_a_video_that_was_only_touched_are_kept(evaluate, make_clip, tiny_model, tmp_path):
    clip = make_clip(32, 32, 2, "touched.y4m")
    arguments = ["--model", tiny_model, "--qps", 20, "--check-existing", "--videos", clip]
    assert evaluate(*arguments) == 0
    first = points_of(tmp_path / "out.json")
    os.utime(clip)
    assert evaluate(*arguments) == 0
    assert points_of(tmp_path / "out.json") == first


def test_track(evaluate, tiny_model, tmp_path, capsys):
    """Points of another track of the same file are other points."""
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as sink:
        for size in ((64, 48), (32, 32)):
            stream = sink.add_stream("libx264", rate=25)
            stream.width, stream.height = size
        for stream in sink.streams.video:
            grey = av.VideoFrame.from_ndarray(np.full((stream.height, stream.width), 100, np.uint8), "gray")
            sink.mux([*stream.encode(grey.reformat(format="yuv420p")), *stream.encode(None)])
    arguments = ["--model", tiny_model, "--qps", 20, "--check-existing", "--videos", path]
    for chosen, pixels in (((), 64 * 48), (("--track", 1), 32 * 32)):
        assert evaluate(*arguments, *chosen) == 0
        (point,) = points_of(tmp_path / "out.json").values()
        assert point["frame_pixel_num"] == pixels
    assert evaluate(*arguments, "--track", 2) == 1
    assert "has no video track 2; its video tracks are 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["clip[1].y4m", "[ab].y4m", "a?.y4m"])
def test_names_with_brackets(evaluate, make_clip, tiny_model, tmp_path, name):
    folder = tmp_path / "set [1]"
    folder.mkdir()
    shutil.copy(make_clip(32, 32, 2), folder / name)
    for given in (folder / name, folder / "*.y4m"):
        assert evaluate("--model", tiny_model, "--qps", 20, "--check-existing", "--videos", given) == 0
        assert list(points_of(tmp_path / "out.json")) == [("set [1]", name, "000")]


@dataclasses.dataclass(frozen=True)
class DeviceJob:
    """Stands in for `Job`: waits until each of some workers has one, and says its device."""

    folder: Path
    workers: int

    def run(self):
        (self.folder / str(os.getpid())).touch()
        deadline = time.monotonic() + 120
        while len(list(self.folder.iterdir())) < self.workers and time.monotonic() < deadline:
            time.sleep(0.01)
        (device,) = jnp.zeros(1).devices()
        return {"device": device.id}


def test_workers_are_spread_over_the_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    outcomes = dict(run_all(dict.fromkeys(range(3), DeviceJob(tmp_path, 3)), workers=3))
    assert sorted(outcome["device"] for outcome in outcomes.values()) == [0, 1, 2]


def test_defaults_are_those_of_the_stored_results():
    """The command of the README measures the figures that it says of the embedded model."""
    options = _parser("eval.py").parse_args(["--model", "embedded", "x264", "--videos", "clip.y4m", "--output", "o"])
    coders = {coder.name: coder for coder in _coders(options)}
    video = Video("eval", "clip", Path("clip.y4m"), None, None, False, -1)
    for name, coder in coders.items():
        stored = points_of(ROOT / "benchmarks" / "results" / "eval" / f"{name}.json")
        assert {point["qp_p"] for point in stored.values()} == set(coder.qps)
        for point in stored.values():
            assert point["settings"] == coder.settings(video, point["qp_p"]) | {"frames": None}
            assert point["qp_i"] == coder.intra_qp(point["qp_p"])


def test_qp_of_intra_pictures_is_that_of_the_stream(evaluate, make_clip, tmp_path):
    model = dataclasses.replace(synthetic.tiny_model(), offsets=QpOffsets(start=8))
    save_model(tmp_path / "offset", model)
    assert evaluate("--model", tmp_path / "offset", "--videos", make_clip(32, 32, 2), "--qps", 20, 60) == 0
    points = points_of(tmp_path / "out.json").values()
    assert [(point["qp_i"], point["qp_p"]) for point in points] == [(28, 20), (63, 60)]
    for point in points:
        with open_reader(tmp_path / "streams" / point["stream"]) as reader:
            assert next(iter(reader)).qps == (point["qp_i"],)


def test_raw_videos_have_their_size_from_an_option(evaluate, make_clip, tiny_model, tmp_path, capsys):
    frames = synthetic.moving_picture(48, 32, 3)
    raw = tmp_path / "raw.yuv"
    raw.write_bytes(b"".join(frame.tobytes() for frame in frames))
    arguments = ["--model", tiny_model, "x264", "--qps", 30, "--output", tmp_path / "both", "--videos"]
    assert evaluate(*arguments, raw, "--size", "48x32") == 0
    for name in ("tiny", "x264"):
        for point in points_of(tmp_path / "both" / f"{name}.json").values():
            assert (point["frame_pixel_num"], point["source"]["size"], len(point["frame_bpp"])) == (
                48 * 32,
                [48, 32],
                3,
            )
    assert evaluate(*arguments, raw) == 1
    assert "raw.yuv" in capsys.readouterr().err
    assert evaluate(*arguments, raw, make_clip(32, 32, 3), "--size", "48x32") == 1
    assert "clip.y4m: is 32x32, not 48x32" in capsys.readouterr().err


def test_shards_of_a_cluster_fill_one_folder(evaluate, make_clip, tiny_model, tmp_path, capsys):
    clips = make_clip(32, 32, 2, "one.y4m"), make_clip(32, 32, 3, "two.y4m")
    arguments = ["--model", tiny_model, "x264", "--qps", 10, 30, 50, "--videos", *clips]
    assert evaluate(*arguments, "--output", tmp_path / "whole", "--stream-dir", tmp_path / "whole_streams") == 0
    arguments += ["--output", tmp_path / "parts"]
    assert capsys.readouterr().out.count("\n") == 18
    for shard, there in (("1/3", 6), ("3/3", 12)):
        assert evaluate(*arguments, "--shard", shard) == 0
        told = capsys.readouterr()
        assert told.out.count("\n") == 6
        assert f"points to measure: 6, those of shard {shard}; videos: 2; qps: tiny at 10 30 50, x264 at " in told.err
        assert f"{there} of 18 points are in {tmp_path / 'streams'}; the shard that ends last writes" in told.err
        assert not list((tmp_path / "parts").iterdir())
    assert evaluate(*arguments, "--shard", "2/3") == 0
    for name in ("tiny", "x264"):
        part, whole = (without_times(points_of(tmp_path / folder / f"{name}.json")) for folder in ("parts", "whole"))
        assert part == whole


def test_a_shard_that_fails_leaves_the_rest_to_the_whole(evaluate, make_clip, tiny_model, tmp_path, capsys):
    arguments = ["--model", tiny_model, "--qps", 10, 30, "--videos", make_clip(32, 32, 2), tmp_path / "missing.y4m"]
    assert evaluate(*arguments, "--shard", "1/2") == 1
    assert evaluate(*arguments, "--shard", "2/2") == 1
    told = capsys.readouterr().err
    assert told.count("missing.y4m: no such file") == 2
    assert "2 of 4 points are in" in told
    assert not (tmp_path / "out.json").exists()
    assert evaluate(*arguments, "--check-existing") == 1
    assert "points to measure: 4, 2 of them kept; videos: 2; qps: tiny at 10 30\n" in capsys.readouterr().err
    assert [name for _, name, _ in points_of(tmp_path / "out.json")] == ["clip.y4m"] * 2


def test_progress_off_a_terminal_is_by_time(capsys, monkeypatch):
    seconds = iter((0.0, 3.0, 6.0, 7.0, 8.0))
    monkeypatch.setattr("nvc_jax.evaluation.progress.time.monotonic", lambda: next(seconds))
    with PointProgress(4) as progress:
        for name in "abcd":
            progress.advance(name)
    assert capsys.readouterr().err.splitlines() == [
        "2 of 4 points, 6 s, about 6 s left; b",
        "4 of 4 points, 8 s, about 0 s left; d",
    ]


def test_any_number_of_frames(evaluate, make_clip, tiny_model, tmp_path):
    arguments = ["--model", tiny_model, "x264", "--output", tmp_path / "both", "--qps", 20, "--frames", 10**26]
    assert evaluate(*arguments, "--videos", make_clip(32, 32, 2)) == 0
    for name in ("tiny", "x264"):
        assert {len(p["frame_bpp"]) for p in points_of(tmp_path / "both" / f"{name}.json").values()} == {2}


def test_rgb_sources_are_measured_in_rgb(evaluate, tiny_model, tmp_path):
    write_demo(tmp_path / "pictures" / "scene", 32, 32, 2)
    assert evaluate("--model", tiny_model, "--videos", tmp_path / "pictures" / "scene", "--qps", 20) == 0
    (point,) = points_of(tmp_path / "out.json").values()
    assert len(point["frame_psnr"]) == 2
    assert not [key for key in point if key.endswith(("_y", "_u", "_v"))]  # as in official files
