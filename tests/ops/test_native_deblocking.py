"""Deblocking in C++ equals XLA's on CPU, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic

from native_coder import deblocking_functions  # noqa: TID251
from nvc_jax.ops import native, native_deblocking
from nvc_jax.ops.deblocking import deblock

pytestmark = pytest.mark.skipif(not deblocking_functions(), reason="this processor has no AVX2")

SHAPE = 2, 48, 80
QPS_AND_STRENGTHS = (0.0, 512), (0.0, 38), (21.4, 38), (63.0, 38)


def test_xla_takes_the_functions():
    assert native.available("deblocking") == tuple(deblocking_functions())


def plain(*operands):
    """Deblocking of XLA."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_deblocking, "usable", lambda _: False)
        return deblock(*operands)


of_xla = jax.jit(lambda *operands: plain(*operands))
found = jax.jit(lambda *operands: deblock(*operands))


def pictures(shape):
    """Blocks with a level each, and noise, of some contrasts, in 0..1."""
    b, h, w = shape
    for contrast in (0.005, 0.04, 0.15, 0.8):
        levels = synthetic.uniform(f"levels {contrast}", (b, h // 16, w // 16, 3), -contrast, contrast)
        noise = synthetic.uniform(f"noise {contrast}", (*shape, 3), -1, 1) ** 3 * contrast
        yield np.clip(0.5 + levels.repeat(16, 1).repeat(16, 2) + noise, 0, 1).astype(np.float32)
    yield np.round(synthetic.uniform("black and white", (*shape, 3), 0, 1)).astype(np.float32)


def weak_edges(shape):
    b, h, w = shape
    sides = (b, h // 16 - 1, w // 16), (b, h // 16, w // 16 - 1)
    return tuple(synthetic.uniform(f"weak {side}", side, 0, 1) < 0.3 for side in sides)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (SHAPE, np.float32),
        (SHAPE, np.int16),
        (SHAPE, np.uint16),
        ((1, 16, 48), np.int16),
        ((1, 64, 16), np.int16),
    ],
)
def test_smooth_pictures_have_the_same_bits(shape, dtype):
    all_pictures = list(pictures(shape))
    if dtype != np.float32:
        limits = np.iinfo(dtype)
        any_number = synthetic.uniform("any", (*shape, 3), limits.min, limits.max).astype(dtype)
        white = 512 if dtype == np.int16 else 4096
        all_pictures = [np.round(white * picture).astype(dtype) for picture in all_pictures] + [any_number]
    for picture in all_pictures:
        changed = 0
        for qp, strength in QPS_AND_STRENGTHS:
            operands = picture, qp + np.arange(shape[0], dtype=np.float32) / 3, strength, weak_edges(shape)
            smooth, right = np.asarray(found(*operands)), np.asarray(of_xla(*operands))
            assert smooth.dtype == dtype
            assert smooth.tobytes() == right.tobytes()
            changed += (smooth != picture).sum()
        assert changed > picture.size // 100


def test_weak_edges_may_be_none():
    picture, qps = np.round(512 * next(pictures(SHAPE))).astype(np.int16), np.float32([20, 40])
    weak = weak_edges(SHAPE)
    none = tuple(np.zeros_like(mask) for mask in weak)
    smooth = found(picture, qps, 38, None)
    np.testing.assert_array_equal(smooth, of_xla(picture, qps, 38, none))
    assert (np.asarray(smooth) != of_xla(picture, qps, 38, weak)).any()


def test_gradients_are_left_to_xla():
    """In a scan that computes pictures again, as training has them. test_deblocking.py has their values."""
    picture = jnp.zeros((1, 32, 32, 3))

    def loss(gain):
        step = jax.checkpoint(lambda x, _: (deblock(x * gain, jnp.zeros(1), 38, weak_edges((1, 32, 32))), None))
        return jax.lax.scan(step, picture, None, length=2)[0].sum()

    assert "nvc_deblocking" in jax.jit(loss).lower(0.9).as_text()
    assert "nvc_deblocking" not in jax.jit(jax.grad(loss)).lower(0.9).as_text()


def test_programs_for_other_devices_have_no_call_of_ours():
    traced = jax.jit(lambda x: deblock(x, jnp.zeros(1), 38)).trace(jnp.zeros((1, 32, 32, 3), jnp.int16))
    calls = ["nvc_deblocking" in traced.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "cuda", "tpu")]
    assert calls == [True, False, False]


def test_other_pictures_are_left_to_xla():
    assert not native_deblocking.usable(jnp.zeros((1, 32, 32, 3), jnp.bfloat16))
    assert not native_deblocking.usable(jnp.zeros((1, 32, 32, 1)))


@pytest.mark.parametrize("height", [24, 32])
def test_other_shapes_are_refused(height):
    """Sides that are no multiples of 16, or sizes of other pictures."""
    picture, sizes = jnp.zeros((1, height, 32, 3), jnp.int16), jnp.zeros(2, jnp.int32)
    with pytest.raises(jax.errors.JaxRuntimeError, match="sides are multiples of 16"):
        native_deblocking.deblock(picture, sizes, None)
