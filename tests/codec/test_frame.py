"""One packet: fractional qps, states, batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from nvc_jax.codec import stages
from nvc_jax.codec.loop import batched, encode
from nvc_jax.codec.pictures import upload
from nvc_jax.codec.reading import decode
from nvc_jax.models.layers import QualityBank
from nvc_jax.models.state import Feature, Pictures

SIZE = 17, 33


@pytest.fixture(scope="module")
def pictures():
    return [upload([frame]) for frame in synthetic.moving_picture(*SIZE, 2)]


def round_trip(codec, name, picture, state, qp):
    """(payload, synthesis) of the encoder, after the decoder has given the same feature."""
    loaded, coder = codec.networks(0.12)[name], codec.entropy_coders("one_stream")[name]
    symbols, synthesis = encode(loaded, picture, state, batched((qp,)))
    side, z, y = symbols.pack().to_host()
    payload, check = coder.encode(round(qp), z, y, side)
    again, flips = decode(loaded, lambda: coder.decoder(payload, check), state, (qp,), SIZE)
    assert flips == 0
    np.testing.assert_array_equal(again.feature, synthesis.feature)
    return payload, synthesis


@pytest.mark.parametrize(("name", "qp"), [("intra", 20.5), ("intra", 55.75), ("inter", 20.5), ("inter", 70.25)])
def test_fractional_qp(tiny_codec, pictures, name, qp):
    state = None if name == "intra" else Pictures(pictures[0])
    payload, synthesis = round_trip(tiny_codec, name, pictures[1], state, qp)
    for whole in (np.floor(qp), np.ceil(qp)):
        other, other_synthesis = round_trip(tiny_codec, name, pictures[1], state, whole)
        assert payload != other
        assert (synthesis.feature != other_synthesis.feature).any()


def test_gains_between_two_qps():
    """Linear between the rows of a bank, each packet of a batch with its own qp (paper C.4)."""
    bank = QualityBank(rows=4, channels=2)
    vectors = np.array([[0, 8], [1, 4], [3, 6], [10, 0]], np.float32)
    gains = bank.apply({"params": {"vectors": vectors}}, jnp.array([[0.0], [1.25], [2.5], [3.0]]))
    np.testing.assert_array_equal(gains[:, 0, 0], [[0, 8], [1.5, 4.5], [6.5, 3], [10, 0]])
    of_pairs = bank.apply({"params": {"vectors": vectors}}, jnp.array([[0.0, 1.25], [2.5, 3.0]]))
    np.testing.assert_array_equal(of_pairs[:, 0, 0], [[0, 4.5], [6.5, 0]])  # half of the channels for each picture


@pytest.mark.parametrize("kind", [Pictures, Feature])
def test_states(tiny_codec, pictures, kind):
    loaded = tiny_codec.networks(0.12)["inter"]
    feature = jnp.full((1, 6, 4, loaded.network.config.width), 0.3)
    _, synthesis = round_trip(tiny_codec, "inter", pictures[1], kind(pictures[0] if kind is Pictures else feature), 40)
    picture = loaded.reconstruct(synthesis, batched((40,)))
    assert picture.shape == pictures[1].shape
    assert 0 <= picture.min() < picture.max() <= 1


def test_a_batch_is_its_pictures(tiny_codec, pictures):
    """Each picture of a batch has its own qp (training); here only nearly equal, as the programs differ (D2)."""
    loaded = tiny_codec.networks(None)["intra"]
    qps = [10.0, 50.0]
    y, z = loaded.run(stages.analyse, jnp.concatenate(pictures), None, jnp.array(qps)[:, None])
    for number, (picture, qp) in enumerate(zip(pictures, qps, strict=True)):
        one_y, one_z = loaded.run(stages.analyse, picture, None, batched((qp,)))
        np.testing.assert_allclose(y[number], one_y[0], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(z[number], one_z[0])


def test_a_qp_first_seen_in_a_trace_is_no_tracer():
    qp = 17.25  # of no other test
    jax.jit(lambda x: x + batched((qp,)))(1.0)
    np.testing.assert_array_equal(batched((qp,)), [[qp]])
