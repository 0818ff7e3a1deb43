import json

import jax.numpy as jnp
import pytest
import synthetic
from jax import lax

from nvc_jax.codec.store import save_model
from nvc_jax.demo_sequence import demo_sequence
from nvc_jax.evaluation.command import main
from nvc_jax.evaluation.complexity import count_macs
from nvc_jax.video import create_video


def test_macs_of_products_and_loops():
    a, b = jnp.ones((4, 8)), jnp.ones((8, 16))
    assert count_macs(lambda a, b: a @ b + 1, a, b) == 4 * 8 * 16
    looped = lambda a, b: lax.map(lambda row: row @ b, a)  # noqa: E731
    assert count_macs(looped, a, b) == 4 * 8 * 16


def test_macs_of_a_strided_convolution():
    x, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    convolve = lambda x, k: lax.conv_general_dilated(  # noqa: E731
        x, k, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert count_macs(convolve, x, kernel) == 4 * 4 * 5 * 9 * 3


@pytest.fixture
def tiny_model(tmp_path):
    save_model(tmp_path / "tiny", synthetic.tiny_model())
    return tmp_path / "tiny"


@pytest.fixture
def clip(tmp_path):
    info, frames = demo_sequence(32, 32, 3)
    with create_video(tmp_path / "clip.y4m", info) as writer:
        for frame in frames:
            writer.write(frame)
    return tmp_path / "clip.y4m"


def test_eval_goes_on_after_a_bad_video(clip, tmp_path, tiny_model, capsys):
    out = tmp_path / "out.json"
    code = main(
        ["--model", str(tiny_model), "--videos", str(tmp_path / "missing.y4m"), str(clip), "--qps", "5", "60",
         "--stream-dir", str(tmp_path / "streams"), "--output", str(out)]
    )  # fmt: skip
    assert code == 1
    assert "missing.y4m: no such file" in capsys.readouterr().err
    points = json.loads(out.read_text())["points"]
    assert [(point["video"], point["qp"], point["frame_count"]) for point in points] == [
        ("clip.y4m", 5, 3),
        ("clip.y4m", 60, 3),
    ]
    streams = {path.name: path.stat().st_size for path in (tmp_path / "streams").glob("*.bin")}
    assert {8 * size for size in streams.values()} == {
        sum(frame["bits"] for frame in point["frames"]) for point in points
    }
