"""Distillation: signatures by hand, steps with a teacher, runs that resume with one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic
from launch import metrics

from nvc_jax.codec.store import load_model, save_model
from nvc_jax.errors import ConfigError
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import PairConfig, Stack
from nvc_jax.models.networks import networks
from nvc_jax.training.abstract import abstract_step
from nvc_jax.training.clips import Weighting, prepare
from nvc_jax.training.config import DEMO, Data, Logging, Loss, Stage, Teacher, TrainConfig
from nvc_jax.training.data import Batch
from nvc_jax.training.distillation import averaging, compared, differences, signature
from nvc_jax.training.forward import Coded, PacketInput
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.overview import parameter_counts, teacher_bytes
from nvc_jax.training.run import train
from nvc_jax.training.settings import load_config, override
from nvc_jax.training.step import Step, initial_state, terms
from nvc_jax.training.teacher import load_teacher

VIDEO = Stage("video", frames=3, steps=4, batch=1, size=32, train="inter", first_reference="original", distil=2.0)


def test_signatures_by_hand():
    """A side of 4 in 2 cells, magnitudes 1 to 16 with signs."""
    feature = np.arange(1.0, 17.0).reshape(1, 4, 4, 1) * np.array([1, -1, 1, -1])[:, None]
    means = np.array([[1 + 2 + 5 + 6, 3 + 4 + 7 + 8], [9 + 10 + 13 + 14, 11 + 12 + 15 + 16]]) / 4
    np.testing.assert_allclose(signature(jnp.asarray(feature), 2)[0, :, :, 0], means, rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "windows"),
    [
        (8, [(i, i + 1) for i in range(8)]),
        (16, [(2 * i, 2 * i + 2) for i in range(8)]),
        (4, [(0, 1), (0, 1), (1, 2), (1, 2), (2, 3), (2, 3), (3, 4), (3, 4)]),  # smaller: cells repeat
        (11, [(0, 2), (1, 3), (2, 5), (4, 6), (5, 7), (6, 9), (8, 10), (9, 11)]),  # no multiple: they overlap
    ],
)
def test_cells_are_those_of_adaptive_pooling(size, windows):
    """Windows by hand: floor(i * size / 8) to ceil((i + 1) * size / 8), as PyTorch's AdaptiveAvgPool2d has them."""
    expected = np.zeros((8, size), np.float32)
    for cell, (begin, end) in enumerate(windows):
        expected[cell, begin:end] = 1 / (end - begin)
    np.testing.assert_array_equal(averaging(size, 8), expected)


def test_both_sides_are_pooled_in_float32():
    feature = jax.random.normal(jax.random.key(0), (2, 11, 6, 3)).astype(jnp.bfloat16)
    found = signature(feature)
    assert found.shape == (2, 8, 8, 3)
    assert found.dtype == jnp.float32
    corner = np.abs(np.asarray(feature, np.float32))[:, 9:11, 5:6].mean(axis=(1, 2))
    np.testing.assert_allclose(found[:, 7, 7], corner, rtol=1e-6)


def test_differences_by_hand():
    """Energies do not see signs, features do; means are over cells or positions, and channels."""
    one, other = jnp.full((2, 8, 8, 4), 0.5), jnp.full((2, 8, 8, 4), -0.25).at[1].set(-0.5)
    pictures = jnp.zeros((2, 1, 64, 64, 3)), jnp.full((2, 1, 64, 64, 3), 0.1)
    for kind, expected in (("efd", [0.25**2, 0.0]), ("mse", [0.75**2, 1.0]), ("picture", [0.01, 0.01])):
        teacher = Teacher(kind=kind, features=("feature",))
        lessons = [compared(teacher, {"feature": x}, y) for x, y in zip((one, other), pictures, strict=True)]
        (found,) = differences(*lessons).values()
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def batch(frames, count=1):
    clips = [synthetic.moving_picture(32, 32, frames, seed) for seed in range(count)]
    planes = tuple(np.stack([[getattr(f, name) for f in clip] for clip in clips]) for name in "yuv")
    return Batch(planes, np.arange(count, dtype=np.uint32))


def taught_step(kind, mode="cascaded"):
    """The step of a student that is its own teacher, its first state, and the teacher's parameters."""
    stage = dataclasses.replace(VIDEO, mode=mode)
    params = synthetic.tiny_model().params
    config = TrainConfig(tiny, (stage,), teacher=Teacher("m", kind=kind), strategy="xla")
    packing = Packing.of(config.optimiser, params)
    step = Step(config, stage, 0, packing, teacher=networks(tiny)["inter"])
    state = jax.jit(lambda params: initial_state(config, params, packing))(params)
    return step, state, jax.device_put(params["inter"])


@pytest.fixture(scope="module")
def efd_step():
    step, state, teacher = taught_step("efd")
    run = jax.jit(lambda s, b, t: step(s, b, teacher=t))
    return run, state, teacher


@pytest.mark.slow
def test_a_student_like_its_teacher_has_nothing_to_learn_from_it(efd_step):
    run, state, teacher = efd_step
    _, found = run(state, batch(3), teacher)
    names = ["distillation", *(f"distillation_{name}" for name in ("context", "feature", "patches"))]
    assert [float(found[name]) for name in names] == pytest.approx([0.0] * 4, abs=1e-6)


@pytest.mark.slow
def test_the_teacher_is_an_argument_and_its_distance_is_in_the_loss(efd_step):
    run, state, teacher = efd_step
    other = teacher | {"recon_out": jax.tree.map(lambda leaf: 1.5 * leaf, teacher["recon_out"])}
    alike, found = (run(state, batch(3), each)[1] for each in (teacher, other))
    assert float(found["distillation"]) > 1e-3
    assert float(found["distillation_context"]) == pytest.approx(0.0, abs=1e-6)
    assert float(found["distillation_patches"]) == pytest.approx(float(found["distillation"]), rel=1e-4)
    assert float(found["loss"] - alike["loss"]) == pytest.approx(2.0 * float(found["distillation"]), rel=1e-3)


@pytest.mark.slow
def test_one_update_per_packet_has_lessons_too():
    step, state, teacher = taught_step("mse", "plain")
    _, found = jax.eval_shape(lambda s, b, t: step(s, b, teacher=t), state, batch(3), teacher)
    assert {"distillation", "distillation_context", "distillation_feature", "distillation_patches"} <= found.keys()


def test_pictures_of_the_teacher_weigh_as_the_distortion_by_hand():
    """Lambda 16 with a balance of 0.5, weight 0.5, distil 3: 3 * 4 * 0.5 * 0.1**2."""
    source, decoded = jnp.full((1, 1, 16, 16, 3), 0.5), jnp.full((1, 1, 16, 16, 3), 0.6)
    nothing, weight = jnp.zeros(1), jnp.full((1, 1), 0.5)
    lesson = {"picture": source}
    packets = (
        PacketInput(source, weight, None, Weighting(jnp.full((1, 1), 16.0), weight, each)) for each in (None, lesson)
    )
    coded, settings = Coded(decoded, nothing, nothing, nothing, nothing), Teacher(kind="picture")
    direct, taught = (terms(Loss(balance=0.5), coded, packet, settings, 3.0) for packet in packets)
    assert direct.differences == {}
    assert float(taught.differences["picture"][0]) == pytest.approx(0.01, rel=1e-4)
    assert float((taught.loss - direct.loss)[0]) == pytest.approx(0.06, rel=1e-4)


def test_lessons_are_those_of_the_teacher_alone():
    """Rounded symbols: no noise, and nothing of the student."""
    step, state, teacher = taught_step("efd")
    key = jax.random.wrap_key_data(state.key)
    clips = jax.jit(lambda b: prepare(step.config, step.stage, b, key))(batch(3))
    other = dataclasses.replace(clips.rest, keys=clips.rest.keys[::-1])

    @jax.jit
    def lessons(rest):
        return step._with_lessons(teacher, rest, clips.reference).aux.lesson

    one, two = lessons(clips.rest), lessons(other)
    assert one["patches"].shape == (2, 1, 8, 8, 192)
    jax.tree.map(np.testing.assert_array_equal, one, two)


RUN = TrainConfig(
    tiny,
    (
        Stage("a", 2, steps=3, batch=1, size=16, train="inter", first_reference="original", distil=1.0),
        Stage("b", 2, steps=2, batch=1, size=16, train="inter", first_reference="original"),
    ),
    Data(source=DEMO),
    logging=Logging(checkpoint_steps=2, tensorboard=False),
)


@pytest.mark.slow
@pytest.mark.parametrize("on_device", [False, True])
def test_a_run_resumes_value_for_value(tmp_path, on_device):
    """A student of fewer blocks, stopped in its first stage and between both; the second one has no teacher."""
    teacher = tmp_path / "teacher"
    save_model(
        teacher, synthetic.model_of(tiny.replace("inter", dataclasses.replace(tiny["inter"], decoder=Stack(2, 16))))
    )
    config = override(RUN, [f"teacher.model={teacher}", f"data.on_device={str(on_device).lower()}", "steps_per_call=2"])
    said = []
    train(config, tmp_path / "whole", None, print, say=said.append)
    assert any(line.startswith("teacher  ") for line in said)
    assert any(line.startswith("init     ") and "initialised" not in line for line in said)
    for stop in (1, 3, 5):
        train(config, tmp_path / "parts", stop, print)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert ["distillation" in record for record in metrics(tmp_path / "whole")] == [True] * 3 + [False] * 2
    student, source = load_model(tmp_path / "whole" / "model"), load_model(teacher)
    jax.tree.map(np.testing.assert_array_equal, student.params["intra"], source.params["intra"])
    save_model(teacher, synthetic.tiny_model())
    with pytest.raises(ConfigError, match="is another model than when the run in"):
        train(config, tmp_path / "parts", None, print)


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers") / "tiny"
    save_model(folder, synthetic.tiny_model())
    return folder


def test_a_step_without_devices_has_its_teacher():
    stage = RUN.stages[0]
    with pytest.raises(ConfigError, match="stage 'a' is distilled from a teacher; name the teacher's architecture"):
        abstract_step(RUN, stage)
    made = abstract_step(RUN, stage, teacher=tiny)
    found = jax.eval_shape(
        lambda state, batch, lent: made.step(state, batch, teacher=lent)[1], made.state, made.batch, made.teacher
    )
    assert "distillation" in found


def test_memory_of_a_teacher():
    taught = override(RUN, ["teacher.model=tiny", "teacher.kind=picture"])
    parameters = 4 * parameter_counts(tiny)["inter"]
    stage = taught.stages[0]
    pictures = 4 * 3 * (stage.frames - taught.begin) * stage.batch * stage.size**2
    assert teacher_bytes(taught, stage, 2) == parameters + pictures / 2
    assert teacher_bytes(override(taught, ["teacher.kind=efd"]), stage, 2) == parameters
    assert teacher_bytes(override(taught, ["teacher.kind=none"]), stage, 2) == 0


def test_teachers_that_do_not_fit_are_one_sentence(teacher_folder):
    config = override(RUN, [f"teacher.model={teacher_folder}"])
    assert load_teacher(config).network == networks(tiny)["inter"]
    assert load_teacher(override(config, ["teacher.kind=none"])) is None
    with pytest.raises(ConfigError, match=r"stage 'a' is distilled from a teacher; set teacher\.model=DIR"):
        load_teacher(RUN)
    wide = dataclasses.replace(
        config, codec=tiny.replace("inter", dataclasses.replace(tiny["inter"], extractor_context=Stack(1, 8)))
    )
    with pytest.raises(ConfigError, match="its context has 16 channels, that of tiny 8; leave context out of"):
        load_teacher(wide)
    assert load_teacher(override(wide, ['teacher.features=["feature", "patches"]'])) is not None
    assert load_teacher(override(wide, ["teacher.kind=picture"])) is not None
    pair = dataclasses.replace(
        tiny, networks=(("pair", PairConfig(**vars(tiny["inter"]), adaptor=Stack(1, 16))),), first="pair", rest="pair"
    )
    stages = tuple(dataclasses.replace(stage, frames=3, train="all", first_reference="coded") for stage in RUN.stages)
    with pytest.raises(ConfigError, match="tiny codes 1 picture in a packet, tiny 2 pictures in a packet; a teacher"):
        load_teacher(dataclasses.replace(config, codec=pair, stages=stages))


def test_settings_of_teachers():
    assert override(RUN, ["teacher.model=x"]).start == "x"
    assert override(RUN, ["teacher.model=x", "init=y"]).start == "y"
    assert override(RUN, ["teacher.model=x", "teacher.start=false"]).start == ""
    with pytest.raises(ConfigError, match=r"teacher\.features\.0 is 'y'; it must be one of context, feature, patches"):
        override(RUN, ['teacher.features=["y"]'])
    with pytest.raises(ConfigError, match=r"stage 'a': distil is 1\.0, but inter is not trained"):
        override(RUN, ["stages.0.frames=1", "stages.0.train=intra", "stages.0.first_reference=coded"])


@pytest.mark.parametrize("recipe", ["kd_nvc", "kd_small"])
def test_recipes(recipe):
    """Beta is 1 first and 0 afterwards; only the inter network is trained, from the teacher."""
    for student in ("s", "t"):
        config = override(load_config(f"{recipe}:{student}"), ["teacher.model=x"])
        assert config.codec.name == f"{recipe}_{student}"
        assert config.start == "x"
        weights = [stage.distil for stage in config.stages]
        assert weights == sorted(weights, reverse=True)
        assert {weights[0], weights[-1]} == {1.0, 0.0}
        assert {stage.train for stage in config.stages} == {"inter"}
    with pytest.raises(ConfigError, match="unknown student 'u'; available: s, t"):
        load_config(f"{recipe}:u")
