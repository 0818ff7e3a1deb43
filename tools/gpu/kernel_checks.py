"""Kernels for one kind of device against the plain functions that they stand in for.

A check gives whether it passed and what to say about it. Add one to KERNEL_CHECKS with every kernel that is written.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.ops.depthwise import depthwise3x3

Outcome = tuple[bool, str]


def depthwise_by_grouped_convolution() -> Outcome:
    """The depthwise convolution by shifts, against XLA's own grouped one in float32."""
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


KERNEL_CHECKS: list[tuple[str, Callable[[], Outcome]]] = [
    ("depthwise convolution, float32", depthwise_by_grouped_convolution),
]
