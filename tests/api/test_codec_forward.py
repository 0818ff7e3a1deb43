"""`Codec.forward`: the pictures and bits of the codec, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nvc_jax
from nvc_jax.codec.integers import integerise
from nvc_jax.errors import ConfigError, VideoError

COUNT = 3
EXACT = {"rdoq": 0.0, "skip_threshold": None, "preset": "fast"}  # what forward does


@pytest.mark.parametrize(
    "name", ["residual", *(pytest.param(name, marks=pytest.mark.slow) for name in ("codec", "moving", "pair"))]
)
def test_pictures_and_bits_are_those_of_the_codec(request, rgb, name):
    codec = request.getfixturevalue(name)
    floats = nvc_jax.Codec(codec.stored, precision="float32")
    coded = codec.forward(rgb[:COUNT], 40)
    stream = floats.encode(rgb[:COUNT], 40, **EXACT)
    difference = np.abs(np.clip(coded.pictures, 0, 1) * 255 - floats.decode(stream).astype(float))
    assert coded.pictures.shape == (COUNT, 17, 33, 3)
    assert difference.max() < 0.51
    encoder = floats.encoder(33, 17, 40, **EXACT)
    packets = list(encoder.packets(rgb[:COUNT]))
    assert coded.bits.total.shape == (len(packets),) == (len(coded.latents),)
    estimated, real = float(coded.bits.total.sum()), sum(packet.bits for packet in packets)
    assert estimated == pytest.approx(real, rel=0.1, abs=8 * 20 * len(packets))  # headers of packets, lanes


def test_latents(residual, rgb):
    first, second, _ = residual.forward(rgb[:COUNT], 40).latents
    assert second.y.shape == second.y_hat.shape == second.mean.shape == second.scale.shape
    assert (first.y.shape[:2], first.z_hat.shape[:2]) == ((2, 3), (1, 1))
    symbols = np.asarray(first.y_hat - first.mean)
    np.testing.assert_allclose(symbols, np.round(symbols), atol=1e-4)
    assert np.abs(first.y - first.y_hat).max() < 0.51
    np.testing.assert_array_equal(first.z_hat, np.round(first.z_hat))


@pytest.mark.slow
def test_gradients(codec, rgb):
    """Gradients of rate and distortion, by the clip and by the parameters."""
    clip = jnp.asarray(rgb[:2], jnp.float32) / 255

    @jax.jit
    def loss(params, clip):
        coded = codec.forward(clip, 40.0, params=params)
        return coded.bits.total.sum(), jnp.square(coded.pictures - clip).sum()

    gradients, of_both = jax.vjp(loss, dict(codec.params), clip)[1], {}
    for part, weights in {"rate": (1.0, 0.0), "distortion": (0.0, 1.0)}.items():
        by_params, by_clip = gradients(tuple(map(jnp.float32, weights)))
        assert jax.tree.structure(by_params) == jax.tree.structure(dict(codec.params))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((by_params, by_clip)))
        assert by_clip.shape == clip.shape
        assert np.abs(by_clip).max() > 0
        of_both[part] = by_clip
    assert not np.allclose(of_both["rate"], of_both["distortion"])


def test_noise(residual, rgb):
    """Only the rate sees it."""
    first, second = (residual.forward(rgb[:1], 40, key=jax.random.key(seed)) for seed in (0, 1))
    assert first.bits.y != second.bits.y
    np.testing.assert_array_equal(first.pictures, second.pictures)


@pytest.mark.slow
def test_jit_and_vmap(codec, rgb):
    clip = rgb[:2]
    one = codec.forward(clip, 20)
    compiled = jax.jit(codec.forward)(clip, 20)
    np.testing.assert_allclose(compiled.pictures, one.pictures, atol=1e-4)
    bits = jax.vmap(lambda qp: codec.forward(clip, qp).bits.total.sum())(jnp.array([20.0, 60.0]))
    np.testing.assert_allclose(bits[0], one.bits.total.sum(), rtol=1e-3)
    assert bits[1] > bits[0]
    both = codec.forward(np.stack([clip, clip[::-1]]), np.array([20, 60]))
    np.testing.assert_allclose(both.pictures[0], one.pictures, atol=1e-4)
    assert both.pictures.shape == (2, *clip.shape)
    assert both.bits.y.shape == (2, 2)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros((17, 33, 3)), r"the clip is float64\[17, 33, 3\]; give RGB \[T, H, W, 3\] or \[B, T, H, W, 3\]"),
        (np.zeros((1, 17, 33, 3), int), r"the clip is int64\[1, 17, 33, 3\]"),
        ([1, 2], "the clip is of type list; give an array"),
    ],
)
def test_other_clips_are_refused(codec, clip, message):
    with pytest.raises(VideoError, match=message):
        codec.forward(clip)


def test_misuse(codec, rgb):
    for qp in (64, [0, -1]):
        with pytest.raises(ConfigError, match="it must be from 0 to 63"):
            codec.forward(rgb[:1], np.array(qp))
    with pytest.raises(ConfigError, match="forward has no option 'rdoq'"):
        codec.forward(rgb[:1], rdoq=0.06)
    with pytest.raises(ConfigError, match="the int16 model of tiny holds integers, which have no gradients"):
        nvc_jax.Codec(integerise(codec.stored)).forward(rgb[:1])
