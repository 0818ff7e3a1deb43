"""The training graph against the codec: the same frames, the same pictures, the same bits."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic
from launch import QUICKLY

from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.models.inter import InterModel
from nvc_jax.models.intra import IntraModel
from nvc_jax.models.state import Reference, reference_after
from nvc_jax.ops.colour import planes_to_picture
from nvc_jax.training import forward
from nvc_jax.training.forward import Coded, FrameInput, cast, code_frame, code_inter_frames, runs
from nvc_jax.video import open_video


def pictures(frames):
    """[T, 1, H, W, 3]."""
    return jnp.stack([planes_to_picture(f.y[None], f.u[None], f.v[None]) for f in frames])


def on_device(params):
    return jax.tree.map(jnp.asarray, params)


@pytest.mark.parametrize("motion", [pytest.param(False, marks=pytest.mark.slow), True])
def test_scan_is_the_unrolled_sequence(motion):
    stored = synthetic.tiny_model(motion)
    params = on_device(stored.params["inter"])
    clip = pictures(synthetic.moving_picture(32, 32, 4))
    qps = jnp.array([[28.0], [20.0], [24.0]])
    frames = FrameInput(clip[1:], qps, None)
    model = InterModel(stored.config.inter)
    quick = functools.partial(jax.jit, compiler_options=QUICKLY)
    scanned = quick(lambda f: code_inter_frames(model, params, f, clip[0], lambda coded, _: coded))(frames)
    code = quick(lambda frame, reference: code_frame(model, params, frame, reference))
    reference = Reference(clip[0], "picture")
    for number in range(3):
        coded = code(jax.tree.map(lambda x, n=number: x[n], frames), reference)
        reference = reference_after(model.config, coded.feature, coded.picture)
        # float32 through some hundred layers in two programs; a flipped symbol would show as 1e-2 and more
        jax.tree.map(
            lambda one, all_, n=number: np.testing.assert_allclose(one, all_[n], rtol=1e-4, atol=1e-4), coded, scanned
        )


def test_refresh_cuts_a_clip_into_runs():
    frames = FrameInput(jnp.arange(7), jnp.arange(7), None)
    assert [run.qp.tolist() for run in runs(frames, 0)] == [[0, 1, 2, 3, 4, 5, 6]]
    assert [run.qp.tolist() for run in runs(frames, 3)] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("refresh", [0, 1, 3])
def test_refresh_is_that_of_the_schedule(refresh, monkeypatch):
    """Frames start from the picture before them where the encoder's do, and from its feature elsewhere."""

    def code(model, params, frame, reference, precision, skip):
        number = frame.qp
        from_picture = jnp.full_like(number, reference.kind == "picture")
        before = jnp.broadcast_to(reference.value, number.shape)
        return Coded(100.0 + number, 200.0 + number, from_picture, before, jnp.zeros_like(number))

    monkeypatch.setattr(forward, "code_frame", code)
    numbers = jnp.arange(1.0, 9.0)[:, None]
    frames = FrameInput(numbers, numbers, None)
    coded = code_inter_frames(Toy(), {}, frames, jnp.array([100.0]), lambda coded, _: coded, refresh)
    plans = [Schedule(reset_interval=refresh or 1000).frame(number) for number in range(1, 9)]
    assert coded.bits_y[:, 0].tolist() == [plan.refresh for plan in plans]
    before = [(100.0 if plan.refresh else 200.0) + plan.index - 1 for plan in plans]
    assert coded.bits_z[:, 0].tolist() == before


def test_bfloat16_keeps_the_prior_of_z():
    cast_params = cast(synthetic.tiny_model().params["intra"], jnp.bfloat16)
    assert cast_params["encoder_down"]["kernel"].dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(cast_params["z_prior"]))


class Toy:
    """A model whose picture is the latent times a parameter, which gets a gradient of 1 per frame."""

    class config:
        steps = 2
        motion = False

    def apply(self, variables, *args, method):
        weight = variables["params"]["weight"]
        latent = jnp.ones((1, 2, 2, 2), weight.dtype)
        return {
            "temporal": lambda: (latent, None),
            "context": lambda: None,
            "analyse": lambda: (latent, latent),
            "z_cdf": lambda: jax.nn.sigmoid(args[0]),
            "prior": lambda: Prior(latent, latent, latent, 0 * latent, latent),
            "refine": lambda: (latent, 0 * latent),
            "synthesise": lambda: args[0],
            "reconstruct": lambda: (args[0] * weight).mean(axis=(1, 2, 3)),
        }[method]()


class Prior(NamedTuple):
    gain_in: jax.Array
    gain_out: jax.Array
    scale: jax.Array
    mean: jax.Array
    shared: jax.Array


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_of_many_bfloat16_frames_add_up_in_float32(remat):
    """513 frames of a gradient of 1 each; sums in bfloat16 stop at 256."""
    frames = FrameInput(jnp.zeros((513, 1, 16, 16, 3)), jnp.zeros((513, 1)), None)

    def total(weight, precision):
        params = {"weight": weight, "z_prior": jnp.zeros(1)}
        first = jnp.zeros((1, 16, 16, 3))
        return code_inter_frames(
            Toy(), params, frames, first, lambda coded, _: coded.picture, remat=remat, precision=precision
        ).sum()

    found, expected = (
        jax.jit(jax.grad(lambda weight, p=precision: total(weight, p)))(jnp.float32(0.5))
        for precision in ("bfloat16", "float32")
    )
    assert found.dtype == jnp.float32
    assert float(found) == float(expected) == 513.0


@pytest.mark.slow
@pytest.mark.parametrize("qp", [15, 45])
def test_estimated_bits_are_those_of_the_stream(clips, qp):
    """Rounded symbols, no skipping (a saving of the coder that training does not know): within 1 % of real bytes.

    The four bytes of the coder's last state, which every payload has, are counted with the estimate.
    """
    codec = Codec.load("embedded", "float32")
    params = on_device(codec.stored.params)
    with open_video(clips / "test" / "foreman_352x288.y4m", frames=3) as reader:
        frames = list(reader)
    clip = pictures(frames)
    schedule = Schedule(qp, qp)
    plans = [schedule.frame(number) for number in range(3)]
    intra, inter = IntraModel(codec.stored.config.intra), InterModel(codec.stored.config.inter)

    @jax.jit
    def estimate(clip, qps):
        first = code_frame(intra, params["intra"], FrameInput(clip[0], qps[0], None), None)
        rest = FrameInput(clip[1:], qps[1:], None)
        bits = code_inter_frames(inter, params["inter"], rest, first.picture, lambda c, _: c.bits)
        return jnp.concatenate([first.bits[None], bits])[:, 0]

    estimated = estimate(clip, jnp.array([[plan.qp] for plan in plans], jnp.float32))
    encoder = Encoder(codec, 352, 288, schedule, skip_threshold=None, dialect="one_stream")
    payloads = [8 * len(frame.coded.payload) for frame in encoder.encode(iter(frames))]
    assert float(estimated.sum()) + 8 * 4 * len(payloads) == pytest.approx(sum(payloads), rel=0.01)
