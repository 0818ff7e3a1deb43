"""DC blocks with any middle of their FFN, against the definition in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from nvc_jax.models.layers import DCBlock
from nvc_jax.models.params import flatten, unflatten

CASES = [
    (16, 1),
    (16, 2),
    (40, 4),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in ((16, 4), (40, 1), (40, 2))),
]


def random_block(channels, middle):
    """A block with shortcut, its parameters and an input, in double precision."""
    module, shape = DCBlock(channels, shortcut=True, middle=middle), (1, 2, 3, channels)
    rng, params = np.random.default_rng(channels), jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(shape))
    leaves = {n: rng.normal(0, 0.5 / np.sqrt(leaf.shape[0]), leaf.shape) for n, leaf in flatten(params).items()}
    return module, unflatten(leaves), rng.standard_normal(shape)


def wsilu(x):
    return x / (1 + np.exp(-4 * x))


def defined(params, x):
    """Spec 1, written once more."""
    p = {name.removeprefix("params/"): leaf for name, leaf in flatten(params).items()}
    first = wsilu(x @ p["pointwise_in/kernel"] + p["pointwise_in/bias"])
    padded, (_, h, w, _) = np.pad(first, ((0, 0), (1, 1), (1, 1), (0, 0))), x.shape
    taps = ((i, j, padded[:, i : i + h, j : j + w]) for i in range(3) for j in range(3))
    filtered = sum(tap * p["depthwise/kernel"][i, j] for i, j, tap in taps) + p["depthwise/bias"]
    inner = filtered @ p["pointwise_out/kernel"] + p["pointwise_out/bias"] + x
    middle = wsilu(inner @ p["ffn/kernel_in"] + p["ffn/bias_in"])
    half = middle.shape[-1] // 2
    return inner + (middle[..., :half] + middle[..., half:]) @ p["ffn/kernel_out"] + p["ffn/bias_out"] + x


@pytest.mark.parametrize(("channels", "middle"), CASES)
def test_value_and_gradients(channels, middle):
    module, params, x = random_block(channels, middle)
    assert params["params"]["ffn"]["kernel_in"].shape == (channels, middle * channels)
    assert params["params"]["ffn"]["kernel_out"].shape == (middle * channels // 2, channels)
    with jax.enable_x64(True):
        apply = jax.jit(module.apply)
        np.testing.assert_allclose(apply(params, x), defined(params, x), rtol=1e-9, atol=1e-9)
        check_grads(apply, (params, x), order=1, modes=["rev"], rtol=1e-5)
