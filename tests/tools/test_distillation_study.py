"""tools/distillation_study.py: its table, and (slow) a rehearsal with a tiny student."""

import json
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import synthetic

from nvc_jax.codec.store import save_model
from nvc_jax.errors import ConfigError
from nvc_jax.video import VideoInfo, create_video

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import distillation_study  # noqa: E402

CONFIG = """
import dataclasses
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import Stack
from nvc_jax.training.config import Logging, Stage, TrainConfig

def get_config():
    student = tiny.replace("inter", dataclasses.replace(tiny["inter"], recon=Stack(1, 8)))
    stage = Stage("distil", 2, steps=2, batch=1, size=16, train="inter", first_reference="original", distil=1.0)
    return TrainConfig(student, (stage,), logging=Logging(tensorboard=False))
"""


def test_kinds():
    assert distillation_study.parsed_kind("efd") == ("efd", ("efd", None))
    assert distillation_study.parsed_kind("mse:0.25") == ("mse:0.25", ("mse", 0.25))
    for text in ("both", "efd:much", "efd:0"):
        with pytest.raises(ConfigError, match=f"--kinds has '{text}'; give none, mse, efd, picture"):
            distillation_study.parsed_kind(text)


def test_table():
    rates = {"none": (10.0, 12.0), "efd:0.5": (7.0, 6.0), "mse": (None, 9.0)}
    rows = [
        {"kind": kind, "bd_rate": rate, "seconds": 90.0} for seed in range(2) for kind, found in rates.items()
        for rate in [found[seed]]
    ]  # fmt: skip
    assert distillation_study.table(rows).splitlines()[2:] == [
        "| direct training | +10.0 %, +12.0 % | +11.0 % | 1.4 | 1.5 |",
        "| energy signatures of features, weight 0.5 | +7.0 %, +6.0 % | +6.5 % | 0.7 | 1.5 |",
        "| features, mean squared error | none, +9.0 % | +9.0 % |  | 1.5 |",
    ]


@pytest.mark.slow
def test_rehearsal(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.py").write_text(CONFIG)
    save_model(tmp_path / "teacher", synthetic.tiny_model())
    with create_video(tmp_path / "clip.y4m", VideoInfo(32, 32, Fraction(25))) as writer:
        for frame in synthetic.moving_picture(32, 32, 3):
            writer.write(frame)
    command = ["--config", tmp_path / "config.py", "--teacher", tmp_path / "teacher", "--data", "demo", "--seeds", "3"]
    command += [
        "--videos",
        tmp_path / "clip.y4m",
        "--kinds",
        "none",
        "efd:0.5",
        "--frames",
        "2",
        "--output",
        tmp_path / "o",
    ]
    monkeypatch.setattr(sys, "argv", ["study", *map(str, command)])
    assert distillation_study.main() == 0
    first = json.loads((tmp_path / "o" / "study.json").read_text())
    assert [(run["kind"], run["seed"], run["steps"]) for run in first["runs"]] == [("none", 3, 2), ("efd:0.5", 3, 2)]
    assert ["distance_last" in run for run in first["runs"]] == [False, True]
    assert len({run["identity"] for run in first["runs"]}) == 2
    assert distillation_study.main() == 0  # nothing is trained or measured again
    assert json.loads((tmp_path / "o" / "study.json").read_text()) == first
    assert capsys.readouterr().out.splitlines()[-1] == (tmp_path / "o" / "study.md").read_text().splitlines()[-1]
