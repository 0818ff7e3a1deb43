"""Check kernels for one kind of device against the plain functions they replace.

A check gives (passed, detail). Add one to `kernel_checks` with every new kernel.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from bench_kernels import packed, random_layers

from nvc_jax.ops import floating
from nvc_jax.ops.depthwise import depthwise3x3

Outcome = tuple[bool, str]


def depthwise_by_grouped_convolution() -> Outcome:
    """Check the depthwise convolution by shifts against XLA's grouped one in float32."""
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((1, 68, 120, 256), np.float32), rng.standard_normal((3, 3, 256), np.float32)
    ours = jax.jit(depthwise3x3)(x, kernel)
    theirs = jax.lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=256,
        precision=jax.lax.Precision.HIGHEST,
    )
    difference = float(jnp.abs(ours - theirs).max() / jnp.abs(theirs).max())
    return difference < 1e-5, f"largest difference {difference:.1e} of the largest number"


def pallas_dc_block() -> Outcome:
    """Check the Pallas kernels at every width of dcvc_rt: about as close to float32 as XLA is."""
    worst = []
    for channels in (128, 256, 320, 384):
        rng = np.random.default_rng(0)
        layers = random_layers(rng, channels, jnp.bfloat16)
        x = jnp.asarray(rng.standard_normal((1, 67, 119, channels)), jnp.bfloat16)  # tiles end within rows
        exact = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), layers)
        block = jax.jit(floating.dc_block, static_argnums=2)
        with jax.default_matmul_precision("highest"):
            expected = np.asarray(block(x.astype(jnp.float32), exact, True))
        found = (np.asarray(block(x, each, True), np.float32) for each in (layers, packed(layers)))
        worst.append([float(np.abs(y - expected).max() / np.abs(expected).max()) for y in found])
    xla, ours = np.max(worst, axis=0)
    return ours <= 1.2 * xla, f"largest difference {ours:.1e} of the largest activation; XLA's {xla:.1e}"


def kernel_checks() -> list[tuple[str, Callable[[], Outcome]]]:
    """List the checks for this device, once JAX is set up."""
    return [
        ("depthwise convolution, float32", depthwise_by_grouped_convolution),
        *([("DC block in Pallas, bfloat16", pallas_dc_block)] if jax.default_backend() == "gpu" else []),
    ]
