"""Weights for AMX in the order of its tiles; native_coder/fuzz tests the kernels, also where there is no AMX.

A product of tiles as Intel documents it: row m, column n of a sum has the products of group k of row m of the
activations with column n of row k of the weights; a group is four bytes, or two bfloat16.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from test_exact import extreme

from native_coder import PANEL, TILE_BYTES, bfloat16_functions, int16_functions  # noqa: TID251
from nvc_jax.codec import floats, integers
from nvc_jax.errors import ConfigError
from nvc_jax.ops import native_floating, native_int16

TILE_ROWS = 16
SHAPES = [(1, 3), (64, 32), (65, 40), (200, 100)]


def tiles(panel, channels, group):
    """A panel [K/group, channels, group] as [tiles of K, tiles of channels, row, column, group]."""
    return panel.reshape(-1, TILE_ROWS, channels // TILE_ROWS, TILE_ROWS, group).swapaxes(1, 2)


def product(x, panel, channels, group):
    """The product of x [M, K], which is padded."""
    all_tiles = tiles(panel, channels, group)
    groups = np.pad(x, ((0, 0), (0, len(all_tiles) * TILE_ROWS * group - x.shape[1])))
    groups = groups.reshape(len(x), len(all_tiles), TILE_ROWS, group)
    return np.einsum("mbkg,bckng->mcn", groups, all_tiles).reshape(len(x), channels)


def panels(weights, outputs, size):
    """Those of packed weights with their channels, `size` numbers of each."""
    start = 0
    for first in range(0, outputs, PANEL):
        channels = min(PANEL, -(-outputs // TILE_ROWS) * TILE_ROWS - first)
        yield weights[start : start + size * channels], channels
        start += size * channels
    assert start == len(weights)


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_tiles_of_int16_multiply(inputs, outputs):
    """By the planes of both sides, of which the lower of the activations is unsigned."""
    rng = np.random.default_rng(inputs)
    weights = extreme(rng, (inputs, outputs), 32639).astype(np.int16)
    packed = native_int16.pack(weights, np.full(outputs, 13, np.uint8), "amx")
    x = extreme(rng, (5, inputs), 32767).astype(np.int16)
    x_planes = x.astype(np.int64) >> 8, x.astype(np.int64) & 255
    padded = -(-inputs // TILE_BYTES) * TILE_BYTES
    results = []
    for strip in np.asarray(packed.weights).view(np.int8).reshape(-1, padded // TILE_BYTES, 2, TILE_ROWS * TILE_BYTES):
        upper, lower = (plane.astype(np.int64).ravel() for plane in strip.swapaxes(0, 1))
        sums = [[product(a, b, TILE_ROWS, 4) for b in (upper, lower)] for a in x_planes]
        results.append((sums[0][0] << 16) + ((sums[0][1] + sums[1][0]) << 8) + sums[1][1])
    result = np.concatenate(results, axis=1)
    np.testing.assert_array_equal(result[:, :outputs], x.astype(np.int64) @ weights.astype(np.int64))
    assert not result[:, outputs:].any()


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_tiles_of_bfloat16_multiply(inputs, outputs):
    rng = np.random.default_rng(inputs)
    weights, x = rng.integers(-9, 9, (inputs, 2 * outputs)), rng.integers(-9, 9, (5, inputs))
    packed = native_floating.pack(weights.astype(np.float32), "amx", 2, jnp.bfloat16)
    padded = -(-inputs // (TILE_BYTES // 2)) * TILE_BYTES // 2
    for part, right in zip(
        np.split(np.asarray(packed.weights, np.float32), 2), np.split(weights, 2, axis=1), strict=True
    ):
        results = [product(x, panel, channels, 2) for panel, channels in panels(part, outputs, padded)]
        np.testing.assert_array_equal(np.concatenate(results, axis=1)[:, :outputs], x @ right)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks Linux")
def test_are_there_only_where_the_processor_has_the_instructions():
    """And Linux lets a process use them, which it need not."""
    flags = Path("/proc/cpuinfo").read_text()
    assert ("amx" in int16_functions()) == ("amx" in bfloat16_functions())
    assert "amx" not in int16_functions() or "amx_int8" in flags


@pytest.mark.skipif("amx" in int16_functions(), reason="this processor has AMX")
def test_elsewhere_the_request_is_refused():
    with pytest.raises(ConfigError, match=r"^unknown kernel backend 'amx'; available: "):
        floats.prepare_params({}, jnp.bfloat16, "amx")
    kernel = {"network": {"layer": {"kernel": np.ones((2, 2), np.int16), "bits": np.full(2, 13, np.uint8)}}}
    with pytest.raises(ConfigError, match=r"^unknown kernel backend 'amx'; available: "):
        integers.prepare_params(kernel, "amx")
