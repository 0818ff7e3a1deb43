"""Output of a run: its first lines, its progress on and off a terminal, and pictures in TensorBoard."""

import dataclasses
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from nvc_jax.models.params import initialise
from nvc_jax.training import progress
from nvc_jax.training.config import Stage
from nvc_jax.training.data import open_clips
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.overview import activation_bytes, compiling, overview, parameter_counts, tree_bytes
from nvc_jax.training.progress import Pace, shown
from nvc_jax.training.records import Records
from nvc_jax.training.settings import load_config, override
from nvc_jax.training.step import bucket_names, initial_state
from nvc_jax.video import write_png

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
VALUES = {"loss": 1.0, "bpp_intra": 0.5, "psnr_y_intra": 30.0} | {
    f"psnr_y_intra_{name}": psnr for name, psnr in zip(bucket_names(), (21, 25, 30, math.nan), strict=True)
}


@pytest.fixture
def clock(monkeypatch):
    """clock[0]: the time that a run sees."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_time_left_is_that_of_pixels_without_compilation(clock):
    smoke = load_config("smoke")  # 150 steps of one picture, 150 of three
    pace = Pace(smoke, 300, lambda: clock[0])
    assert pace.left(0) is None
    clock[0] += 60  # compilation
    pace.done(0, 1)
    assert pace.left(1) is None
    clock[0] += 10
    pace.done(0, 10)
    assert pace.left(11) == pytest.approx(139 + 150 * 3)
    pace.done(1, 1)  # another stage, being compiled: the speed of the one before
    assert pace.left(151) == pytest.approx(149 * 3)
    assert Pace(smoke, 150, lambda: clock[0]).left(0) is None


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_lines_without_a_terminal(capsys, clock):
    with shown(300, 0, lambda step: 3725.0) as run:
        run.busy("compiling stage 'pictures'")
        assert lines(capsys) == ["compiling stage 'pictures' ..."]
        for second in range(9):
            clock[0] = 1000 + second
            run.beat()
        assert not lines(capsys)
        clock[0] = 1010
        run.beat()
        assert lines(capsys) == ["compiling stage 'pictures': 10 s so far"]
        run.step(1, VALUES, 8.0, "intra")
        metrics = "loss 1.0000  0.5000 bpp  30.00 dB  8.0 clips/s  (21.0 25.0 30.0 - dB)"
        assert lines(capsys) == [f"step 1 of 300  1:02:05 left  {metrics}"]
        clock[0] += 9.9
        run.step(2, VALUES, 8.0, "intra")
        assert not lines(capsys)
        clock[0] += 0.2
        run.step(3, VALUES, 8.0, "intra")
        assert lines(capsys) == [f"step 3 of 300  1:02:05 left  {metrics}"]
        clock[0] += 9.5
        run.step(4, VALUES, 8.0, "intra")
        clock[0] += 1  # a beat before the next step, whose line is due
        run.beat()
        run.step(5, VALUES, 8.0, "intra")
        assert lines(capsys) == [f"step 5 of 300  1:02:05 left  {metrics}"]
        clock[0] += 12  # a step that takes long
        run.beat()
        assert lines(capsys) == ["step 5 of 300: 12 s so far"]
        run.step(300, VALUES, 8.0, "intra")
        assert lines(capsys)[0].startswith("step 300 of 300")


@pytest.mark.parametrize("width", [40, 80])
def test_narrow_terminals_show_step_and_time_left(monkeypatch, width):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    with shown(30000, 12000, lambda step: 3725.0) as run:
        run.step(12345, VALUES, 8.0, "intra")
    shown_lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", file.getvalue()).splitlines()
    last = [line for line in shown_lines if "12345/30000" in line][-1]
    assert "1:02:05 left" in last
    assert "loss" in last
    assert len(last.rstrip()) <= width


def test_other_processes_show_nothing(capsys):
    with shown(300, 0, lambda step: None, first=False) as run:
        run.beat()
    assert not capsys.readouterr().err


def test_first_lines(tmp_path):
    config = override(load_config("smoke"), ["average_decay=0.9"])
    clips = open_clips(config.data, 0, print)
    params = initialise(config.codec, 0)
    state = initial_state(config, params, Packing.of(config.optimiser, params))
    told = dict(line.split(maxsplit=1) for line in overview(config, clips, state, 20, 200, tmp_path / "new"))
    counts = parameter_counts(config.codec)
    assert counts == {name: sum(np.size(leaf) for leaf in _leaves(params[name])) for name in ("intra", "inter")}
    assert told["codec"] == (
        f"tiny, {sum(counts.values()) / 1e6:.1f} M parameters (intra {counts['intra'] / 1e6:.1f} M + "
        f"inter {counts['inter'] / 1e6:.1f} M), float32"
    )
    assert told["data"] == "demo: 1 clip, 33 frames of 176x144, 1 MB when decoded"
    assert told["steps"] == "300 in 2 stages, resumed at 20, this call ends at 200"
    assert told["pictures:"] == "150 x 8 pictures, 32x32, intra"
    assert told["video:"] == "150 x 8 clips of 3 frames, 32x32, inter"
    assert re.match(r"\d+ x cpu \(\d+ cores\)$", told["devices"])
    assert tree_bytes(state) == pytest.approx(4 * 4 * sum(counts.values()), rel=0.02)  # params, average, two moments
    assert told["disk"].startswith(f"{round(tree_bytes(state) / 1e6)} MB for each checkpoint, of which 3 are kept; ")
    assert told["memory"].startswith("about ")
    assert compiling(config, config.stages).startswith("compiling stages 'pictures', 'video' (about ")


def _leaves(tree):
    return [leaf for part in tree.values() for leaf in (_leaves(part) if isinstance(part, dict) else [part])]


@pytest.mark.parametrize(
    ("file", "program", "stage"),
    [
        ("compile_train_h100_stages", "train_1_512", "pictures_3"),
        ("compile_train_h100_stages", "train_65", "stage2_4"),
        ("compile_train_h100_stages", "train_129", "stage3_1"),
        ("compile_train_h100_6", "train_6", "stage0_6_frames"),
        ("compile_train_h100_32", "train_32", "stage1_3"),
    ],
)
def test_estimated_memory_is_near_the_compiled_one(file, program, stage):
    config = dataclasses.replace(load_config("dcvc_rt"), precision="bfloat16")
    found: Stage = next(one for one in config.stages if one.name == stage)
    compiled = json.loads((RESULTS / f"{file}.json").read_text())["targets"]["h100"]["programs"][program]
    assert activation_bytes(config, found, "gpu") == pytest.approx(compiled["temporary_bytes"], rel=0.3)


def test_pictures_in_tensorboard(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (8, 20, 3), dtype=np.uint8)
    write_png(tmp_path / "clip.png", picture)
    config = load_config("smoke")
    with Records(tmp_path, 0, config.logging) as records:
        records.evaluation(7, {"sequence": "clip", "qp": 21, "bpp": 0.5, "psnr": 30.0}, tmp_path / "clip.png")
    (file,) = (tmp_path / "tensorboard").iterdir()
    values = {value.tag: (event.step, value) for event in _events(file.read_bytes()) for value in event.summary.value}
    step, value = values["evaluation/clip/qp21/source_and_decoded"]
    assert (step, value.image.width, value.image.height) == (7, 20, 8)
    assert value.image.encoded_image_string == (tmp_path / "clip.png").read_bytes()
    assert values["evaluation/clip/qp21/psnr"][1].simple_value == 30.0


def _events(data):
    """Parse a file of TensorFlow records: length, check, content, check."""
    while data:
        size = int.from_bytes(data[:8], "little")
        yield Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]
