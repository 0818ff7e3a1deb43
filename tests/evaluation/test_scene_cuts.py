"""Scene cuts and drift: what is measured of a series, sequences made of clips, and the command on real streams."""

import json

import numpy as np
import pytest
import synthetic

from nvc_jax.codec.store import save_model
from nvc_jax.errors import ConfigError
from nvc_jax.evaluation.scene_cuts import Run, drift, recoveries
from nvc_jax.evaluation.scene_cuts_command import main
from nvc_jax.evaluation.scenes import back_and_forth, spliced
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import CodecConfig, PairConfig, Stack

LEVELS = np.array([30, 32, 30, 31, 30, 31, 30, 31.0])  # steady, by the place in the cycle of qps


def test_recoveries():
    """A scene that starts 6 dB below its level and gains 2 dB a picture; one that falls back once; one never back."""
    steady = np.tile(LEVELS, 9)
    below = np.zeros(72)
    below[24:28] = -6, -4, -2, -0.4
    below[48:51] = -0.1, -1, -0.5
    psnr, bits = steady + below, np.full(72, 100.0)
    bits[24] = 500
    second, third = recoveries(psnr, bits, (24, 48))
    assert (second.cut, second.pictures, second.back) == (24, 3, True)
    assert second.first == pytest.approx(-6)
    assert second.level == second.level_before == pytest.approx(LEVELS.mean())
    assert second.peak == pytest.approx(500 / (bits[24:].mean()))
    assert (third.pictures, third.back) == (2, True)  # the first picture is near its level, but not the next one
    assert third.peak == pytest.approx(100 / bits[24:].mean())
    psnr[24:40] -= 1
    late = recoveries(psnr, bits, (24, 48))[0]
    assert (late.pictures, late.back) == (16, False)


def test_drift():
    """Quality falls by 0.01 dB a picture, and frames differ."""
    sources = [(0, index) for index in back_and_forth(9, 120)]
    psnr = [30 + 0.1 * index - 0.01 * t + LEVELS[t % 8] for t, (_, index) in enumerate(sources)]
    found = drift(psnr, sources, window=50)
    assert found.first == pytest.approx(np.mean(psnr[8:58]))
    assert found.last == pytest.approx(np.mean(psnr[70:]))
    assert found.change == pytest.approx(found.last - found.first)
    assert found.same == pytest.approx(-0.62, abs=0.03)  # 62 pictures apart in the mean
    assert drift(psnr, [(0, t) for t in range(120)], window=50).same is None
    with pytest.raises(ConfigError, match="120 pictures are too few to compare 100 with 100 after 8"):
        drift(psnr, sources)


def test_splicing():
    """The middle of the larger clip; the shorter one goes back and forth."""
    large, small = synthetic.moving_picture(48, 40, 5), synthetic.moving_picture(32, 24, 3, seed=1)
    scenes = spliced([large, small], 5)
    assert scenes.cuts == (5,)
    assert [source for source in scenes.sources if source[0]] == [(1, t) for t in (0, 1, 2, 1, 0)]
    assert {frame.size for frame in scenes.frames} == {(32, 24)}
    np.testing.assert_array_equal(scenes.frames[4].y, large[4].y[8:32, 8:40])
    np.testing.assert_array_equal(scenes.frames[4].v, large[4].v[4:16, 4:20])
    np.testing.assert_array_equal(scenes.frames[8].u, small[1].u)


def test_runs():
    assert Run.parse("models/a:reset=64:qp=20", 32) == Run("models/a", 20, 64, -1, "a, reset 64, qp 20")
    assert Run.parse("a", 32) == Run("a", 32, 0, -1, "a")
    assert Run.parse("runs/a/model:intra=32", 32) == Run("runs/a/model", 32, 0, 32, "a, intra 32")
    for text in ("a:qp=x", "a:rest=4", ":qp=3"):
        with pytest.raises(ConfigError, match="`model` "):
            Run.parse(text, 32)


@pytest.fixture
def pair_model(tmp_path):
    network = PairConfig(**vars(tiny["inter"]), adaptor=Stack(1, 16))
    save_model(tmp_path / "pair", synthetic.model_of(CodecConfig("ui2c", (("pair", network),), "pair", "pair")))
    return tmp_path / "pair"


def test_the_command(tiny_model, pair_model, tmp_path, capsys):
    output = tmp_path / "cuts.json"
    models = [f"{tiny_model}:reset=8", str(pair_model)]
    options = ["--demo", "2", "--pictures", "17", "--size", "64x48", "--output", str(output)]
    assert main(["--model", *models, *options]) == 0
    data = json.loads(output.read_text())
    assert (data["cuts"], data["pictures"], data["size"]) == ([17], 34, [64, 48])
    assert list(data["runs"]) == ["tiny, reset 8", "pair"]
    for run in data["runs"].values():
        assert len(run["frame_psnr"]) == len(run["frame_bits"]) == 34
        (found,) = run["cuts"]
        assert 0 <= found["pictures"] < 17
        assert found["peak"] > 1
    bits = data["runs"]["pair"]["frame_bits"]
    assert all(abs(a - b) <= 8 for a, b in zip(bits[:-2:2], bits[1:-2:2], strict=True))  # shared by a pair
    assert output.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    table = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in table] == ["| model", "| ---", "| tiny, reset 8", "| pair"]


@pytest.mark.slow
def test_a_loop(pair_model, tmp_path, capsys):
    output = tmp_path / "loop.json"
    options = ["--demo", "1", "--pictures", "9", "--loop", "216", "--size", "64x48", "--output", str(output)]
    assert main(["--model", str(pair_model), *options]) == 0
    run = json.loads(output.read_text())["runs"]["pair"]
    assert len(run["frame_psnr"]) == 216
    found = run["drift"]
    assert found["first"] == pytest.approx(np.mean(run["frame_psnr"][8:108]))
    assert found["change"] == pytest.approx(np.mean(run["frame_psnr"][116:]) - found["first"])
    assert "same pictures, dB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--demo", "1"], "there is no cut in one clip; give at least two, or --loop N"),
        (["--demo", "2", "--pictures", "9"], "a scene has 9 pictures; give at least 16"),
        (["--demo", "2", "--loop", "300"], "--loop plays one clip, not 2"),
        (["--demo", "1", "--pictures", "9", "--loop", "207"], "207 pictures are too few to compare 100 with 100"),
        (["--demo", "9"], "9 scenes are to be made; it must be from 1 to 8"),
    ],
)
def test_bad_input(arguments, message, tmp_path, capsys):
    options = ["--model", "embedded", "--size", "64x48", "--output", str(tmp_path / "x.json")]
    assert main([*arguments, *options]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
