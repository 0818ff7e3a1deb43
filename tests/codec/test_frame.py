"""One frame: fractional qps, reference kinds, batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from nvc_jax.codec import stages
from nvc_jax.codec.frame import batched
from nvc_jax.codec.pictures import upload
from nvc_jax.models.layers import QualityBank
from nvc_jax.models.state import Reference

SIZE = 17, 33


@pytest.fixture(scope="module")
def pictures():
    return [upload(frame) for frame in synthetic.moving_picture(*SIZE, 2)]


def round_trip(codec, kind, picture, reference, qp):
    """(payload, synthesis) of the encoder, after the decoder has given the same feature."""
    frame_codec, coder = codec.frame_codecs(0.12)[kind], codec.entropy_coder(kind, "one_stream")
    symbols, synthesis = frame_codec.encode(picture, reference, qp)
    payload, check = coder.encode(round(qp), *symbols.to_host())
    again, flips = frame_codec.decode(lambda: coder.decoder(payload, check), reference, qp, *SIZE)
    assert flips == 0
    np.testing.assert_array_equal(again.feature, synthesis.feature)
    return payload, synthesis


@pytest.mark.parametrize(("kind", "qp"), [("I", 20.5), ("I", 55.75), ("P", 20.5), ("P", 70.25)])
def test_fractional_qp(tiny_codec, pictures, kind, qp):
    reference = None if kind == "I" else Reference(pictures[0], "picture")
    payload, synthesis = round_trip(tiny_codec, kind, pictures[1], reference, qp)
    for whole in (np.floor(qp), np.ceil(qp)):
        other, other_synthesis = round_trip(tiny_codec, kind, pictures[1], reference, whole)
        assert payload != other
        assert (synthesis.feature != other_synthesis.feature).any()


def test_gains_between_two_qps():
    """Linear between the rows of a bank, each picture of a batch with its own qp (paper C.4)."""
    bank = QualityBank(rows=4, channels=2)
    vectors = np.array([[0, 8], [1, 4], [3, 6], [10, 0]], np.float32)
    gains = bank.apply({"params": {"vectors": vectors}}, jnp.array([0.0, 1.25, 2.5, 3.0]))
    np.testing.assert_array_equal(gains[:, 0, 0], [[0, 8], [1.5, 4.5], [6.5, 3], [10, 0]])


@pytest.mark.parametrize("kind", ["picture", "feature"])
def test_references(tiny_codec, pictures, kind):
    codec = tiny_codec.frame_codecs(0.12)["P"]
    value = pictures[0] if kind == "picture" else jnp.full((1, 6, 4, tiny_codec.stored.config.inter.width), 0.3)
    _, synthesis = round_trip(tiny_codec, "P", pictures[1], Reference(value, kind), 40)
    picture = codec.reconstruct(synthesis, 40)
    assert picture.shape == pictures[1].shape
    assert 0 <= picture.min() < picture.max() <= 1


def test_a_batch_is_its_pictures(tiny_codec, pictures):
    """Each picture of a batch has its own qp (training); here only nearly equal, as the programs differ (D2)."""
    codec = tiny_codec.frame_codecs(None)["I"]
    qps = [10.0, 50.0]
    y, z = stages.analyse(codec.model, codec.params, jnp.concatenate(pictures), None, jnp.array(qps))
    for number, (picture, qp) in enumerate(zip(pictures, qps, strict=True)):
        one_y, one_z = stages.analyse(codec.model, codec.params, picture, None, batched(qp))
        np.testing.assert_allclose(y[number], one_y[0], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(z[number], one_z[0])


def test_a_qp_first_seen_in_a_trace_is_no_tracer():
    qp = 17.25  # of no other test
    jax.jit(lambda x: x + batched(qp))(1.0)
    np.testing.assert_array_equal(batched(qp), [qp])
