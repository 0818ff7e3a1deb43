import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.codec.store import load_model
from nvc_jax.demo_sequence import demo_sequence
from nvc_jax.errors import ConfigError
from nvc_jax.models.config import embedded, tiny
from nvc_jax.models.intra import IntraModel
from nvc_jax.models.params import initialise
from nvc_jax.ops.colour import planes_to_picture
from nvc_jax.training.command import main, rounded, shortened
from nvc_jax.training.config import Stage, TrainConfig
from nvc_jax.training.data import load_clips, random_crops
from nvc_jax.training.forward import code_clip
from nvc_jax.training.transform_init import patch_statistics, patch_transform, transform_codec
from nvc_jax.video import create_video

SMALL = TrainConfig(tiny, stages=(Stage(steps=2, frames=2), Stage(steps=1, frames=3)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one short clip."""
    path = tmp_path_factory.mktemp("clips")
    info, frames = demo_sequence(96, 64, 4)
    with create_video(path / "clip.y4m", info) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_crops_are_windows_of_the_clip(folder):
    clips = load_clips(folder, 3)
    y, u, v = next(random_crops(clips, batch=2, frames=3, size=32, rng=np.random.default_rng(0)))
    assert (y.shape, u.shape, v.shape) == ((3, 2, 32, 32), (3, 2, 16, 16), (3, 2, 16, 16))
    windows = np.lib.stride_tricks.sliding_window_view(clips[0][0][0], (32, 32)).reshape(-1, 32, 32)
    first = [y[0, 0], y[0, 0][:, ::-1]]
    later = np.lib.stride_tricks.sliding_window_view(clips[0][0][1], (32, 32)).reshape(-1, 32, 32)
    assert any((w == crop).all() for crop in first for w in np.concatenate([windows, later]))


def test_no_clips_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="no 4:2:0 clip of at least 3 frames"):
        load_clips(tmp_path, 3)


@pytest.mark.slow
def test_clip_is_differentiable_everywhere(folder):
    """Every parameter of both codecs gets a gradient from three frames."""
    planes = next(random_crops(load_clips(folder, 3), 1, 3, 32, np.random.default_rng(0)))
    clip = jax.vmap(planes_to_picture)(*map(jnp.asarray, planes))
    params = initialise(tiny, 0)

    def loss(params):
        coded = code_clip(tiny, params, clip, jnp.array([20.0]), jnp.int32(1), jax.random.key(1))
        return sum(jnp.square(f.picture - clip[i]).sum() + f.bits_y.sum() + f.bits_z.sum() for i, f in enumerate(coded))

    gradients = jax.jit(jax.grad(loss))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


def test_train_writes_metrics_and_a_model(folder, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(
        "from nvc_jax.models.config import tiny\n"
        "from nvc_jax.training.config import Stage, TrainConfig\n"
        "def get_config():\n"
        "    return TrainConfig(tiny, (Stage(steps=5, frames=2, batch=1, size=32),), learning_rate=1e-3)\n"
    )
    run = tmp_path / "run"
    assert main(["--config", str(config), "--data", str(folder), "--workdir", str(run), "--steps", "3"]) == 0
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [0, 1, 2]
    assert all(np.isfinite(record["loss"]) for record in records)
    assert load_model(run / "model").config == tiny


def test_bad_configuration_is_one_sentence(tmp_path, capsys):
    assert main(["--config", str(tmp_path / "no.py"), "--data", ".", "--workdir", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_shortened_run():
    assert [stage.steps for stage in shortened(SMALL, 2).stages] == [2]
    assert shortened(SMALL, 100).steps == 3
    with pytest.raises(ConfigError, match="at least 1"):
        shortened(SMALL, 0)


def test_rounding_keeps_significant_bits():
    x = np.float32([1 + 2**-10, 1 + 2**-12, -3e-20, 0.0])
    np.testing.assert_array_equal(rounded({"x": x}, 11)["x"][[0, 1, 3]], np.float32([1 + 2**-10, 1.0, 0.0]))
    assert abs(rounded({"x": x}, 11)["x"][2] / x[2] - 1) < 2**-11


def test_patch_transform_inverts_on_subsampled_chroma():
    analysis, synthesis = patch_transform()
    rng = np.random.default_rng(0)
    chroma = rng.random((2, 4, 4)).repeat(2, axis=1).repeat(2, axis=2)
    patch = np.concatenate([rng.random((1, 8, 8)), chroma]).reshape(192)
    np.testing.assert_allclose(patch @ analysis @ synthesis, patch, atol=1e-12)


def test_transform_codec_codes_pictures_before_any_training():
    _, frames = demo_sequence(128, 64, 3)
    clip = jnp.stack([planes_to_picture(f.y[None], f.u[None], f.v[None])[0] for f in frames])
    statistics = patch_statistics(np.asarray(clip)[None])
    params = transform_codec(embedded, statistics, (8.0, 4096.0), (4.0, 2048.0), 0)
    model, variables = IntraModel(embedded.intra), {"params": jax.tree.map(jnp.asarray, params["intra"])}

    @jax.jit
    def code(qp):
        y, _ = model.apply(variables, clip[:1], None, qp, method="analyse")
        symbols = jnp.round(y)  # both gains are 1 at the start
        feature = model.apply(variables, symbols, None, qp, method="synthesise")
        return jnp.abs(symbols).mean(), model.apply(variables, feature, qp, method="reconstruct")

    sizes, psnr = [], []
    for qp in (0.0, 25.0, 50.0):
        size, picture = code(jnp.array([qp]))
        sizes.append(size)
        psnr.append(-10 * np.log10(np.square(picture - clip[:1])[..., 0].mean()))
    assert sizes[0] < sizes[1] < sizes[2]
    assert psnr[0] < psnr[1] < psnr[2]
    assert psnr[2] > 36
