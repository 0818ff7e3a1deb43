"""One step: what it updates, what it skips, what it can be compiled for."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import synthetic
from recording import lowered

from nvc_jax.codec.schedule import QpOffsets, Schedule
from nvc_jax.errors import ConfigError
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import CodecConfig, PairConfig, Stack
from nvc_jax.models.params import initialise
from nvc_jax.ops import native
from nvc_jax.spec import QP_OFFSETS
from nvc_jax.training.clips import hybrid_reference, prepare
from nvc_jax.training.config import Loss, Optimiser, Stage, TrainConfig
from nvc_jax.training.data import Batch
from nvc_jax.training.losses import rate_weight
from nvc_jax.training.optimiser import Packing, clipped, direction, global_norm, learning_rate, share_rows
from nvc_jax.training.step import Step, bucket_names, initial_state

PICTURES = Stage("pictures", frames=1, steps=10, batch=2, size=32, train="intra")
VIDEO = Stage("video", frames=2, steps=10, batch=2, size=32, train="inter", first_reference="original")


def started(config, params, packing):
    """`initial_state`, compiled at once instead of operation by operation."""
    return jax.jit(lambda params: initial_state(config, params, packing))(params)


def prepared(batch, key, **loss):
    stage = dataclasses.replace(VIDEO, first_reference="coded", frames=1 + batch.planes[0].shape[1])
    config = TrainConfig(tiny, (stage,), loss=Loss(**loss))
    return jax.jit(lambda batch, key: prepare(config, stage, batch, key))(batch, key)


def batch(frames, count=2):
    clips = [synthetic.moving_picture(32, 32, frames, seed) for seed in range(count)]
    planes = tuple(np.stack([[getattr(f, name) for f in clip] for clip in clips]) for name in "yuv")
    return Batch(planes, np.arange(count, dtype=np.uint32))


def stepper(stage, motion=False, **settings):
    """The step of a run with one stage, and its first state."""
    stored = synthetic.tiny_model(motion)
    config, params = TrainConfig(stored.config, (stage,), **settings), stored.params
    packing = Packing.of(config.optimiser, params)
    return Step(config, stage, 0, packing), started(config, params, packing)


@pytest.fixture(scope="module")
def video_step():
    step, state = stepper(VIDEO, average_decay=0.9)
    return jax.jit(lambda state, batch: step(state, batch)), state


@pytest.mark.slow
def test_plain_and_cascaded_agree_on_one_coded_frame(video_step):
    """Where only one frame is coded there is nothing to unroll: the same loss, the same gradient, one update."""
    cascaded, state = video_step
    plain, _ = stepper(dataclasses.replace(VIDEO, mode="plain"), average_decay=0.9)
    after, metrics = cascaded(state, batch(2))
    plain_after, plain_metrics = jax.jit(lambda state, batch: plain(state, batch))(state, batch(2))
    for name in ("loss", "gradient_norm", "bpp_inter"):
        assert float(plain_metrics[name]) == pytest.approx(float(metrics[name]), rel=1e-4)
    for moments, others in zip(*map(jax.tree.leaves, (after.moments, plain_after.moments)), strict=True):
        np.testing.assert_allclose(moments, others, rtol=1e-2, atol=1e-6)


def test_only_the_trained_codec_changes(video_step):
    step, state = video_step
    after, metrics = step(state, batch(2))
    assert (after.params["intra"] == state.params["intra"]).all()
    moved = np.abs(after.params["inter"] - state.params["inter"])
    assert 0 < moved.max() < 1e-3
    expected = state.average["inter"] + 0.1 * (after.params["inter"] - state.average["inter"])
    np.testing.assert_allclose(after.average["inter"], expected, rtol=1e-5, atol=1e-7)
    assert int(after.step) == 1
    assert float(metrics["learning_rate"]) == pytest.approx(1e-4)


def test_steps_without_a_finite_gradient_are_skipped_and_counted(video_step):
    step, state = video_step
    broken = state.replace(params=state.params | {"inter": jnp.full_like(state.params["inter"], jnp.nan)})
    for count in (1, 2):
        after, metrics = step(broken, batch(2))
        assert (int(metrics["skipped"]), int(metrics["bad"])) == (count, count)
        np.testing.assert_array_equal(after.params["inter"], broken.params["inter"])
        broken = after
    _, metrics = step(state.replace(skipped=jnp.int32(2), bad=jnp.int32(2)), batch(2))
    assert (int(metrics["skipped"]), int(metrics["bad"])) == (2, 0)


def test_what_is_drawn_depends_on_the_number_of_the_clip():
    clips = batch(3)
    key = jax.random.key(0)
    whole = prepared(clips, key, random_position=True)
    second = prepared(jax.tree.map(lambda x: x[1:], clips), key, random_position=True)
    np.testing.assert_array_equal(whole.qp[1:], second.qp)
    np.testing.assert_array_equal(whole.rest.qps[:, 1:], second.rest.qps)
    assert (jax.random.key_data(whole.rest.keys[:, 1:]) == jax.random.key_data(second.rest.keys)).all()


def test_offsets_and_weights_follow_the_hierarchy():
    found = prepared(batch(9), jax.random.key(0))
    offsets = [QP_OFFSETS[number % 8] for number in range(1, 9)]  # 8, 0, 4, 0, 4, 0, 4, 0
    np.testing.assert_array_equal(found.rest.qps[..., 0] - found.qp, np.repeat(np.array(offsets)[:, None], 2, 1))
    np.testing.assert_allclose(found.rest.aux.weight[:, 0, 0], [{0: 0.5, 8: 1.2, 4: 0.9}[offset] for offset in offsets])
    # lambda belongs to the base qp, whatever the offset
    expected = np.exp(np.asarray(found.qp) / 63 * math.log(768.0))
    np.testing.assert_allclose(found.rest.aux.lambda_[..., 0], np.repeat(expected[None], 8, 0), rtol=1e-4)
    qps = prepared(Batch(batch(1, 1).planes, np.zeros(1, np.uint32)), jax.random.key(0)).qp
    assert qps[0] == found.qp[0]


def test_qps_are_uniform():
    key = jax.random.key(3)
    tiny_pictures = Batch((np.zeros((4096, 1, 2, 2, 3), np.uint8),), np.arange(4096, dtype=np.uint32))
    qps = np.asarray(jax.jit(lambda b: prepared(b, key).qp)(tiny_pictures))
    assert (qps.min(), qps.max()) == (0, 63)
    counts = np.bincount(qps.astype(int), minlength=64)
    assert counts.min() > 30  # 64 expected, standard deviation 8
    assert counts.max() < 98


def test_learning_rate_by_hand():
    stage = Stage("s", frames=2, steps=100, learning_rate=1.0, warmup_steps=10, decay_from=0.5, final_share=0.2)
    rates = [float(learning_rate(stage, jnp.int32(step))) for step in (0, 4, 9, 30, 50, 75, 100)]
    # a tenth per step up to 1, constant to 50, half a cosine from 1 to 0.2 over 50 steps
    np.testing.assert_allclose(rates, [0.1, 0.5, 1.0, 1.0, 1.0, 0.6, 0.2], rtol=1e-6)


def test_clipping_by_hand():
    tree = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    assert float(global_norm(tree)) == 5.0
    np.testing.assert_allclose(clipped(tree, jnp.float32(5.0), 0.5)["b"], [0.4], rtol=1e-6)
    np.testing.assert_array_equal(clipped(tree, jnp.float32(5.0), 10.0)["a"], [3.0])


def test_adamw_is_that_of_optax():
    optimiser = Optimiser(weight_decay=0.1)
    params, gradient = jnp.array([1.0, -2.0, 3.0]), jnp.array([0.1, 0.2, -0.3])
    ours, theirs = direction(optimiser), optax.adamw(0.01, weight_decay=0.1)
    update, _ = ours.update(gradient, ours.init(params), params)
    expected, _ = theirs.update(gradient, theirs.init(params), params)
    np.testing.assert_allclose(-0.01 * update, expected, rtol=1e-6)


def test_muon_orthogonalises_matrices_and_leaves_the_rest_to_adam():
    rng = np.random.default_rng(0)
    shapes = {"conv/kernel": (3, 3, 4, 8), "point/kernel": (16, 8), "depth/kernel": (3, 3, 8), "point/bias": (8,)}
    tree = {name.split("/")[0]: {} for name in shapes}
    for name, shape in shapes.items():
        module, leaf = name.split("/")
        tree[module][leaf] = jnp.asarray(rng.normal(size=shape), jnp.float32)
    rule = direction(Optimiser("muon", weight_decay=0.0, muon_scale=1.0))
    update, _ = jax.jit(lambda tree: rule.update(tree, rule.init(tree), tree))(tree)
    for name in ("conv", "point"):
        values = np.linalg.svd(np.asarray(update[name]["kernel"]).reshape(-1, 8), compute_uv=False)
        assert values.min() > 0.5 * values.max()  # five Newton-Schulz steps bring all of them near 1
    for leaf in (update["depth"]["kernel"], update["point"]["bias"]):
        np.testing.assert_allclose(np.abs(leaf), 1.0, rtol=1e-3)  # Adam's first step is the sign


def test_packing_is_invertible():
    params = initialise(tiny, 0)
    packing = Packing.of(Optimiser(), params)
    back = jax.jit(lambda tree: packing.unpack("intra", packing.pack("intra", tree)))(params["intra"])
    jax.tree.map(np.testing.assert_array_equal, back, params["intra"])


def test_learning_rates_by_name():
    params = initialise(tiny, 0)
    scales = (("decoder_up", 0.1), ("inter/decoder_up/bias", 0.0))
    for optimiser in (Optimiser(scales=scales), Optimiser("muon", scales=scales)):
        packing = Packing.of(optimiser, params)
        found = packing.unpack("inter", packing.scales["inter"])
        assert float(found["decoder_up"]["kernel"].min()) == pytest.approx(0.1)
        assert float(found["decoder_up"]["bias"].max()) == 0.0
        assert float(found["encoder_in"]["kernel"].min()) == 1.0
    with pytest.raises(ConfigError, match="no parameter has 'decoder_upp' in its name"):
        Packing.of(Optimiser(scales=(("decoder_upp", 1.0),)), params)


def test_scaled_parameters_move_less():
    step, state = stepper(PICTURES, optimiser=Optimiser("adam", scales=(("intra", 0.0), ("intra/encoder_down", 1.0))))
    packing = step.packing
    gradients = {"intra": jnp.ones_like(state.params["intra"])}

    @jax.jit
    def update(state):
        new, _ = step._update(state, gradients, jnp.float32(0.01))
        trees = (packing.unpack("intra", each.params["intra"]) for each in (new, state))
        return jax.tree.map(lambda a, b: jnp.abs(a - b).max(), *trees)

    moved = jax.tree.map(float, update(state))
    assert moved["encoder_down"]["kernel"] == pytest.approx(0.01, rel=1e-3)
    assert moved["encoder_in"]["adaptor"]["kernel"] == 0.0


def test_gradients_reach_neighbouring_rows():
    tree = initialise(tiny, 0)["inter"]

    def row_20(reach):
        return jax.grad(lambda t: share_rows(t, reach)["q_encoder"]["vectors"][20].sum())(tree)["q_encoder"]["vectors"]

    assert np.abs(row_20(0.0)).sum(axis=1).nonzero()[0].tolist() == [20]
    np.testing.assert_allclose(row_20(3.0)[:, 0], np.exp(-0.5 * ((np.arange(72) - 20) / 3.0) ** 2), rtol=0, atol=1e-6)
    kernel = jax.grad(lambda t: share_rows(t, 3.0)["encoder_in"]["kernel"].sum())(tree)["encoder_in"]["kernel"]
    np.testing.assert_array_equal(kernel, 1.0)


def test_names_of_qp_buckets():
    assert bucket_names() == ["qp0_15", "qp16_31", "qp32_47", "qp48_63"]


@pytest.mark.parametrize(
    ("precision", "mode", "motion"),
    [
        pytest.param("float32", "plain", False, marks=pytest.mark.slow),
        pytest.param("bfloat16", "plain", False, marks=pytest.mark.slow),
        ("bfloat16", "cascaded", True),
    ],
)
def test_step_lowers_for_every_platform(precision, mode, motion):
    step, state = stepper(dataclasses.replace(VIDEO, frames=3, mode=mode), motion, precision=precision, strategy="xla")
    exported = lowered(jax.jit(lambda s, b: step(s, b)), state, batch(3))
    text = exported.mlir_module()
    assert ("bf16" in text) == (precision == "bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cascaded", "plain"])
def test_recomputing_activations_changes_no_gradient(mode):
    """Adam's first moments after a step are a tenth of the gradient."""
    moments = []
    for remat in (False, True):
        step, state = stepper(dataclasses.replace(VIDEO, frames=3, mode=mode, remat=remat))
        after, _ = jax.jit(lambda state, batch, step=step: step(state, batch))(state, batch(3))
        moments.append(after.moments["inter"][0].mu)
    kept, computed_again = moments
    assert np.linalg.norm(kept) > 0
    # float32 sums of two programs; a symbol on a rounding edge may become another one
    assert np.linalg.norm(computed_again - kept) < 2e-3 * np.linalg.norm(kept)


@pytest.mark.skipif(not native.available("float32"), reason="this processor has neither AVX2 nor AVX-512")
@pytest.mark.slow
def test_kernel_backends_agree_on_all_gradients():
    """C++ and XLA, all networks; the fast tests have those of blocks and convolutions."""
    gradients, video = {}, dataclasses.replace(VIDEO, train="all", first_reference="coded")
    for strategy in ("auto", "xla"):
        step, state = stepper(video, strategy=strategy)
        clips = prepare(step.config, video, batch(2), jax.random.key(0))
        gradients[strategy], _ = jax.jit(step.gradients)(state.params, clips)
    for part in ("intra", "inter"):
        found, expected = (step.packing.unpack(part, gradients[name][part]) for name in ("auto", "xla"))
        for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
            other = functools.reduce(lambda tree, key: tree[key.key], path, found)
            np.testing.assert_allclose(other, leaf, atol=2e-4 * np.abs(leaf).max(), err_msg=str(path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "motion"),
    [(PICTURES, False), (dataclasses.replace(VIDEO, frames=3), False), (dataclasses.replace(VIDEO, frames=3), True)],
)
def test_every_parameter_gets_a_gradient(stage, motion):
    """All of a codec's parameters but the rows of qps that were not drawn."""
    step, state = stepper(stage, motion)
    part = {"intra": "intra", "inter": "inter"}[stage.train]
    clips = prepared(batch(stage.frames), jax.random.key(0))
    gradients, _ = jax.jit(step.gradients)(state.params, clips)
    for path, leaf in jax.tree_util.tree_leaves_with_path(step.packing.unpack(part, gradients[part])):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


def test_references_are_blank_true_or_noisy_by_their_shares():
    stage = Stage("s", frames=3, steps=1, references=(1.0, 2.0, 1.0), reference_noise=0.1)
    given = jnp.full((2000, 1, 4, 4, 3), 0.5)
    keys = jax.random.split(jax.random.key(0), len(given))
    found, said = map(np.asarray, jax.jit(lambda p, k: hybrid_reference(stage, p, k))(given, keys))
    found = found.reshape(len(given), -1)
    blank, true = (found == 0).all(axis=1), (found == 0.5).all(axis=1)
    np.testing.assert_array_equal(said, blank)
    noisy = found[~blank & ~true] - 0.5
    assert (blank.mean(), true.mean()) == pytest.approx((0.25, 0.5), abs=0.04)  # deviations 0.01
    assert 0.01 < noisy.std() < 0.1
    assert np.abs(noisy.std(axis=1) - 0.05).max() < 0.08  # every clip has a deviation of its own, up to 0.1


PAIR = CodecConfig("pair", (("pair", PairConfig(**vars(tiny["inter"]), adaptor=Stack(1, 16))),), "pair", "pair")


HEADS = PAIR.replace("pair", dataclasses.replace(PAIR["pair"], heads=2))


def test_pictures_after_a_blank_reference_have_the_qp_of_those_that_start_a_run():
    """As in coding: the first picture of a run has the offset of the model instead of its place's."""
    stage = Stage("pairs", frames=5, steps=1, batch=32, size=32, references=(1.0, 1.0, 0.0))
    loss = Loss(
        intra_qp_offset=5, qp_offsets=(2, 8, 0, 4, 0, 4, 0, 4), frame_weights=((0, 0.5), (2, 0.7), (4, 0.9), (8, 1.2))
    )
    planes = tuple(np.tile(plane, (32, 1, 1, 1)) for plane in batch(5, 1).planes)
    config, clips = TrainConfig(PAIR, (stage,), loss=loss), Batch(planes, np.arange(32, dtype=np.uint32))
    clips = jax.jit(lambda key: prepare(config, stage, clips, key))(jax.random.key(0))
    qp, blank = np.asarray(clips.qp), ~np.asarray(clips.reference).any(axis=(1, 2, 3, 4))
    assert 8 < blank.sum() < 24
    start = np.minimum(qp + 5, 63)
    qps, weighting = np.asarray(clips.rest.qps), clips.rest.aux
    np.testing.assert_array_equal(qps[0, :, 0], np.where(blank, start, qp + 2))
    np.testing.assert_array_equal(qps[0, :, 1], qp + 8)
    np.testing.assert_array_equal(qps[1], np.stack([qp, qp + 4], axis=-1))
    schedule = Schedule(20).for_model(QpOffsets(loss.qp_offsets, loss.intra_qp_offset))
    assert schedule.packet(0, 2).qps == (25, 28)
    np.testing.assert_allclose(
        weighting.lambda_[0, :, 0], rate_weight(np.where(blank, start, qp), *loss.inter_lambda), rtol=1e-6
    )
    np.testing.assert_allclose(weighting.lambda_[0, :, 1], rate_weight(qp, *loss.inter_lambda), rtol=1e-6)
    np.testing.assert_allclose(weighting.weight[0], [[0.7, 1.2]] * 32)


@pytest.mark.parametrize(
    ("codec", "frames", "mode"),
    [(PAIR, 3, "plain"), *(pytest.param(codec, 5, "cascaded", marks=pytest.mark.slow) for codec in (PAIR, HEADS))],
)
def test_a_codec_of_one_network_trains_on_pairs_after_a_reference(codec, frames, mode):
    stage = Stage("pairs", frames=frames, steps=1, batch=2, size=32, mode=mode, references=(1.0, 0.0, 0.0))
    config, params = TrainConfig(codec, (stage,)), synthetic.model_of(codec).params
    packing = Packing.of(config.optimiser, params)
    step, state = Step(config, stage, 0, packing), started(config, params, packing)
    after, metrics = jax.jit(lambda s, b: step(s, b))(state, batch(frames))
    assert np.isfinite(float(metrics["loss"]))
    assert int(metrics["skipped"]) == 0
    old, new = (packing.unpack("pair", each.params["pair"]) for each in (state, after))
    heads = (
        {"recon_out"}
        if codec is PAIR
        else {f"recon_{part}_{number}" for part in ("blocks", "out") for number in (0, 1)}
    )
    for module in heads | {"adaptor_picture", "adaptor_blocks_0", "q_recon", *["adaptor_feature"][: frames // 5]}:
        assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (old[module], new[module])), strict=True)), (
            module
        )


def test_frames_of_a_codec_of_one_network():
    assert TrainConfig(PAIR, (Stage("a", frames=3, steps=1),)).trained(Stage("a", frames=3, steps=1)) == ("pair",)
    for frames in (1, 2, 4):
        with pytest.raises(ConfigError, match="pair takes 3 and multiples of 2 more"):
            TrainConfig(PAIR, (Stage("a", frames=frames, steps=1),))
