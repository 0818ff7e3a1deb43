"""Starting from a model of another architecture, and training a part of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from nvc_jax.codec.store import save_model
from nvc_jax.errors import ConfigError
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.params import flatten, initialise, unflatten
from nvc_jax.training.adoption import adopt
from nvc_jax.training.config import Optimiser, Stage, TrainConfig
from nvc_jax.training.export import load_parameters
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.step import Step, initial_state


def test_what_agrees_is_taken_by_hand():
    mine = {"a": {"x_0": {"kernel": np.zeros((2, 3))}, "x_1": {"kernel": np.zeros((3, 3))}, "y": np.zeros(4)}}
    theirs = {"a": {"x_0": {"kernel": np.ones((2, 3))}, "x_1": {"kernel": np.ones((3, 4))}, "z": np.ones(4)}}
    found = adopt(mine, theirs | {"b": {"y": np.ones(4)}})
    assert (found.taken, found.fresh) == (("a/x_0/kernel",), ("a/x_1/kernel", "a/y"))
    assert found.params["a"]["x_0"]["kernel"].min() == 1
    assert found.params["a"]["x_1"]["kernel"].max() == found.params["a"]["y"].max() == 0


def teacher_of(student):
    """The parameters of a teacher with two more decoder blocks, and twice the width in an FFN and in reconstruction."""
    flat = flatten(student)
    teacher = {name: leaf + 1 for name, leaf in flat.items()}
    for name in [name for name in flat if "inter/decoder_blocks_0/ffn" in name]:
        teacher |= {name.replace("blocks_0", f"blocks_{number}"): flat[name] for number in (1, 2)}
    for name, axis in {"kernel_in": 1, "bias_in": 0, "kernel_out": 0}.items():
        key = f"inter/extractor_context_0/ffn/{name}"
        teacher[key] = flat[key].repeat(2, axis)
    for name in [name for name in flat if "recon" in name and name != "inter/recon_out/bias"]:
        teacher[name] = flat[name].repeat(2, 0 if name == "inter/recon_out/kernel" else -1)
    return unflatten(teacher)


def test_a_student_takes_first_blocks_and_what_is_outside_of_narrower_ffns():
    student = synthetic.tiny_model().params
    teacher = teacher_of(student)
    found = adopt(student, teacher)
    values, theirs, mine = map(flatten, (found.params, teacher, student))
    assert values.keys() == mine.keys()
    assert all(values[name] is theirs[name] for name in found.taken)
    assert all(values[name] is mine[name] for name in found.fresh)
    fresh = {name.removeprefix("inter/") for name in found.fresh}
    ffn = {f"extractor_context_0/ffn/{leaf}" for leaf in ("kernel_in", "bias_in", "kernel_out")}
    recon = {name for name in fresh if name.startswith("recon_blocks_0/")}
    assert fresh == ffn | recon | {"recon_out/kernel", "q_recon/vectors"}
    first, second = found.lines("big")
    counts = [sum(mine[name].size for name in names) for names in (found.taken, mine)]
    assert first == "{:,} of {:,} parameters are those of big, initialised are".format(*counts)
    assert set(second.split(", ")) == {
        "inter/extractor_context in part", "inter/recon_blocks", "inter/recon_out in part", "inter/q_recon"
    }  # fmt: skip


def test_the_same_architecture_is_taken_whole(tmp_path):
    stored = synthetic.tiny_model()
    save_model(tmp_path / "model", stored)
    adopted = load_parameters(str(tmp_path / "model"), tiny, initialise(tiny, 0))
    assert adopted.fresh == ()
    (line,) = adopted.lines("m")
    assert line.endswith(" parameters are those of m")
    jax.tree.map(np.testing.assert_array_equal, adopted.params, unflatten(flatten(stored.params)))


def test_a_model_of_which_nothing_fits_is_refused():
    other = CodecConfig("other", (("one", tiny["inter"]),), "one", "one")
    with pytest.raises(ConfigError, match="embedded: no parameter of its architecture, embedded, has name and shape"):
        load_parameters("embedded", other, {"one": {"x": np.zeros(3)}})


@pytest.mark.parametrize("name", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_a_part_is_trained_and_the_rest_stays_bit_for_bit(name):
    stage = Stage("decoder", frames=2, steps=2, batch=1, size=16, train="inter")
    optimiser = Optimiser(name, weight_decay=0.1, scales=(("", 0.0), ("inter/decoder", 1.0)))
    config, params = TrainConfig(tiny, (stage,), optimiser=optimiser, average_decay=0.9), synthetic.tiny_model().params
    packing = Packing.of(optimiser, params)
    state = jax.jit(lambda params: initial_state(config, params, packing))(params)
    ones = jax.tree.map(jnp.ones_like, state.params["inter"])
    update = jax.jit(lambda state: Step(config, stage, 0, packing)._update(state, {"inter": ones}, jnp.float32(0.01)))
    after = state
    for _ in range(2):
        after, norm = update(after)
    assert float(norm) > 0
    unpack = jax.jit(lambda packed: packing.unpack("inter", packed))
    old, new = (flatten(unpack(each.params["inter"])) for each in (state, after))
    for key, leaf in old.items():
        assert np.array_equal(leaf, new[key]) != key.startswith("decoder"), key


def test_frozen_parameters_have_no_gradient():
    """They count for nothing where gradients are clipped."""
    params = synthetic.tiny_model().params
    packing = Packing.of(Optimiser(scales=(("", 0.0), ("inter/decoder", 0.5))), params)

    def total(packed):
        return sum(leaf.sum() for leaf in jax.tree.leaves(packing.unpack("inter", packed)))

    @jax.jit
    def gradient_of(tree):
        return packing.unravel["inter"](jax.grad(total)(packing.pack("inter", tree)))

    gradient = gradient_of(params["inter"])
    for name, leaf in flatten(gradient).items():
        np.testing.assert_array_equal(leaf, float(name.startswith("decoder")), err_msg=name)
