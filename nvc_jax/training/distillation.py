"""Distillation: how far a student's packet is from its teacher's (spec kd_nvc).

EFD compares energy signatures: few channels of a feature carry most of its energy, and where they do so matters more
than the values. Each comparison is a mean squared difference of something that both have; `Teacher.kind` chooses it.
"""

import math
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from nvc_jax.models.config import PATCH_CHANNELS, InterConfig
from nvc_jax.training.config import PICTURES, Teacher

Lesson = Mapping[str, Array]  # by the name of what is compared


def signature(feature: Array, cells: int = 8) -> Array:
    """Compute the energy signature of a feature: the mean magnitude of each channel in cells of the picture.

    Cells are those of PyTorch's AdaptiveAvgPool2d: number i of a side of H is rows floor(i H / cells) to
    ceil((i + 1) H / cells), so that they overlap where H is no multiple, and repeat where it is smaller.

    Args:
        feature: [B, H, W, C].
        cells: of a side.

    Returns:
        [B, cells, cells, C] float32.
    """
    _, height, width, _ = feature.shape
    energy = jnp.abs(feature.astype(jnp.float32))
    rows, columns = averaging(height, cells), averaging(width, cells)
    energy = jnp.einsum("jw,bhwc->bhjc", columns, energy, precision=lax.Precision.HIGHEST)
    return jnp.einsum("ih,bhjc->bijc", rows, energy, precision=lax.Precision.HIGHEST)


def averaging(size: int, cells: int) -> npt.NDArray[np.float32]:
    """Make the matrix [cells, size] that averages over the cells of a side."""
    weights = np.zeros((cells, size), np.float32)
    for cell in range(cells):
        begin, end = cell * size // cells, math.ceil((cell + 1) * size / cells)
        weights[cell, begin:end] = 1.0 / (end - begin)
    return weights


def compared(teacher: Teacher, features: Lesson, pictures: Array) -> dict[str, Array]:
    """Choose from a coded packet what is compared, [B, ...] each.

    Args:
        teacher: settings.
        features: of the packet, by the names in `Teacher.features`.
        pictures: decoded.
    """
    if teacher.kind == PICTURES:
        return {PICTURES: pictures}
    chosen = {name: features[name] for name in teacher.features}
    if teacher.kind == "efd":
        return {name: signature(feature, teacher.cells) for name, feature in chosen.items()}
    return {name: feature.astype(jnp.float32) for name, feature in chosen.items()}


def differences(student: Lesson, teacher: Lesson) -> dict[str, Array]:
    """Compute the mean squared difference of everything that is compared, [B] each."""
    return {name: _mean_square(student[name] - theirs) for name, theirs in teacher.items()}


def _mean_square(difference: Array) -> Array:
    return jnp.square(difference).mean(axis=tuple(range(1, difference.ndim)))


def channels(network: InterConfig) -> dict[str, int]:
    """Count the channels of the features that can be compared."""
    return {
        "context": network.extractor_context.width,
        "feature": network.width,
        "patches": network.pictures * PATCH_CHANNELS,
    }
