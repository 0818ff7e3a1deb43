"""The training graph against the codec: the same frames, the same pictures, the same bits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from nvc_jax.codec import stages
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.models.networks import networks
from nvc_jax.models.state import Either, Prior, Synthesis
from nvc_jax.ops.colour import planes_to_picture
from nvc_jax.ops.motion import compensate
from nvc_jax.training.forward import Coded, PacketInput, code_packet, code_packets, prepared, training_strategy
from nvc_jax.video import open_video


def pictures(frames):
    """[n, 1, 1, H, W, 3]: packets of one picture."""
    return jnp.stack([planes_to_picture(f.y[None], f.u[None], f.v[None])[None] for f in frames])


def coded_packets(network, params, packets, first, refresh=0, code=code_packet, **settings):
    """All `Coded` of the packets after the first."""

    def code_one(_, state, packet):
        coded = code(network, params, packet, state, **settings)
        return None, coded, coded

    precision = settings.get("precision", "float32")
    return code_packets(network, packets, first, code_one, None, refresh, precision)[1]


@pytest.mark.parametrize("motion", [pytest.param(False, marks=pytest.mark.slow), True])
def test_scan_is_the_unrolled_sequence(motion):
    stored = synthetic.tiny_model(motion)
    params = jax.device_put(stored.params["inter"])
    clip = pictures(synthetic.moving_picture(32, 32, 4))
    packets = PacketInput(clip[1:], jnp.array([[28.0], [20.0], [24.0]])[:, None], None)
    network = networks(stored.config)["inter"]
    scanned = jax.jit(lambda p: coded_packets(network, params, p, clip[0]))(packets)
    code = jax.jit(lambda packet, state: code_packet(network, params, packet, state))
    state = network.start(clip[0])
    for number in range(3):
        coded = code(jax.tree.map(lambda x, n=number: x[n], packets), state)
        state = network.advance(state, coded.feature, lambda found=coded: found.pictures)
        # float32 through some hundred layers in two programs; a flipped symbol would show as 1e-2 and more
        jax.tree.map(
            lambda one, all_, n=number: np.testing.assert_allclose(one, all_[n], rtol=1e-4, atol=1e-4), coded, scanned
        )


def test_gradients_of_a_residual_network_reach_the_picture_before():
    """Through the difference and through the sum, where the network itself gives nothing; in C++ where there is any."""
    stored = synthetic.tiny_model(residual=True)
    network, params = networks(stored.config)["inter"], jax.device_put(stored.params["inter"])
    params |= {"recon_out": jax.tree.map(jnp.zeros_like, params["recon_out"])}
    params = prepared(params, "float32", training_strategy("float32"))
    before, picture = pictures(synthetic.moving_picture(32, 32, 2))
    qps, feature = jnp.array([[30.0]]), jnp.ones((1, 4, 4, 16))
    weights = jnp.asarray(synthetic.uniform("weights", picture.shape), jnp.float32)

    def outputs(before):
        _, side = network.search(picture, network.start(before), qps, 0.0)
        return network.source(picture, side), stages.reconstruct(network, params, Synthesis(feature, side), qps)

    pull, nothing = jax.vjp(outputs, before)[1], jnp.zeros_like(weights)
    (given,), (shown,) = pull((weights, nothing)), pull((nothing, weights))
    _, side = network.search(picture, network.start(before), qps, 0.0)
    assert side.symbols[..., :2].any()
    (expected,) = jax.vjp(lambda x: compensate(x[:, 0], side.symbols[..., :2])[:, None], before)[1](weights)
    np.testing.assert_allclose(given, -expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("refresh", [0, 1, 3])
def test_refresh_is_that_of_the_schedule(refresh):
    """Packets start from the pictures before them where the encoder's do, and from the feature elsewhere."""

    def code(network, params, packet, state):
        number = packet.qps
        from_pictures = jnp.full_like(number, state.starts)
        before = jnp.broadcast_to(jnp.where(state.starts, state.pictures, state.feature), number.shape)
        return Coded(100.0 + number, 200.0 + number, from_pictures, before, jnp.zeros_like(number))

    numbers = jnp.arange(1.0, 9.0)[:, None]
    packets = PacketInput(numbers, numbers, None)
    coded = coded_packets(Toy(1), {}, packets, jnp.array([100.0]), refresh, code)
    plans = [Schedule(reset_interval=refresh or 1000).packet(number, 1) for number in range(1, 9)]
    assert coded.bits_y[:, 0].tolist() == [plan.refresh for plan in plans]
    before = [(100.0 if plan.refresh else 200.0) + plan.index - 1 for plan in plans]
    assert coded.bits_z[:, 0].tolist() == before


def test_bfloat16_keeps_the_prior_of_z():
    cast_params = prepared(synthetic.tiny_model().params["intra"], "bfloat16", "xla")
    assert cast_params["encoder_down"]["kernel"].dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(cast_params["z_prior"]))


class Toy:
    """A network whose picture is the latent times a parameter, which gets a gradient of 1 per packet."""

    class config:
        steps, side = 2, None

    bank, predicts, goes_on_from_pictures = "weight", True, False
    stages = "features", "context", "analyse", "prior", "refine", "synthesise", "reconstruct", "z_cdf"
    modules = dict.fromkeys(stages, ("weight",))

    def __init__(self, *shape):
        self.shape = shape  # of the feature

    def either(self, starts, pictures, feature, dtype):
        return Either(starts, pictures, jnp.zeros(self.shape, dtype) if feature is None else feature)

    def search(self, pictures, state, qps, skip_bits):
        return state, None

    def picture_type(self, dtype):
        return jnp.float32

    def source(self, pictures, side):
        return pictures

    def uncoded(self, side):
        return None

    def apply(self, variables, *args, method):
        weight = variables["params"]["weight"]["vectors"]
        latent = jnp.ones((1, 1, 1, 2), weight.dtype)
        return {
            "features": lambda: (latent, None),
            "context": lambda: None,
            "analyse": lambda: (latent, latent),
            "z_cdf": lambda: jax.nn.sigmoid(args[0]),
            "prior": lambda: Prior(*[latent.astype(jnp.float32)] * 3, 0 * latent.astype(jnp.float32), latent),
            "refine": lambda: (latent.astype(jnp.float32), 0 * latent.astype(jnp.float32)),
            "synthesise": lambda: args[0],
            "reconstruct": lambda: (args[0] * weight).mean(axis=(1, 2, 3)),
        }[method]()


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_of_many_bfloat16_packets_add_up_in_float32(remat):
    """513 packets of a gradient of 1 each; sums in bfloat16 stop at 256."""
    packets = PacketInput(jnp.zeros((513, 1, 1, 16, 16, 3)), jnp.zeros((513, 1, 1)), None)
    toy = Toy(1, 1, 1, 2)

    def code(network, params, packet, state, precision):
        coded = functools.partial(code_packet, network, precision=precision)
        return (jax.checkpoint(coded) if remat else coded)(params, packet, state)

    def total(weight, precision):
        params = {"weight": {"vectors": weight}, "z_prior": jnp.zeros(1)}
        first = jnp.zeros((1, 1, 16, 16, 3))
        return coded_packets(toy, params, packets, first, code=code, precision=precision).pictures.sum()

    found, expected = (
        jax.jit(jax.grad(lambda weight, p=precision: total(weight, p)))(jnp.float32(0.5))
        for precision in ("bfloat16", "float32")
    )
    assert found.dtype == jnp.float32
    assert float(found) == float(expected) == 513.0


@pytest.mark.slow
@pytest.mark.parametrize("qp", [15, 45])
def test_estimated_bits_are_those_of_the_stream(clips, qp):
    """Rounded symbols, no skipping (a saving of the coder that training does not know): within 2 % of real bytes.

    Scales are those of symbols with noise, a little wide for rounded ones, and rows of the table are rounded down: P
    frames of low qps take 1 to 2 % less than estimated. The four bytes of the coder's last state, which every payload
    has, are counted with the estimate.
    """
    codec = Codec.load("embedded", "float32")
    params = jax.device_put(codec.stored.params)
    with open_video(clips / "test" / "foreman_352x288.y4m", frames=3) as reader:
        frames = list(reader)
    clip = pictures(frames)
    schedule = Schedule(qp, qp)
    plans = [schedule.packet(number, 1) for number in range(3)]
    intra, inter = (networks(codec.stored.config)[name] for name in ("intra", "inter"))

    @jax.jit
    def estimate(clip, qps):
        first = code_packet(intra, params["intra"], PacketInput(clip[0], qps[0], None), None)
        rest = PacketInput(clip[1:], qps[1:], None)
        bits = coded_packets(inter, params["inter"], rest, first.pictures).bits
        return jnp.concatenate([first.bits[None], bits])[:, 0]

    estimated = estimate(clip, jnp.array([[plan.qps] for plan in plans], jnp.float32))
    encoder = Encoder(codec, 352, 288, schedule, skip_threshold=None, dialect="one_stream", skip_blocks=False)
    payloads = [8 * len(frame.coded.payload) for frame in encoder.packets(iter(frames))]
    assert float(estimated.sum()) + 8 * 4 * len(payloads) == pytest.approx(sum(payloads), rel=0.02)
