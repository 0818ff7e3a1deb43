"""Cut batches on the device: the clips of a small set stay in its memory, and steps run without the host.

Augmentation of a clip depends only on the key and on its number in the run.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from nvc_jax.errors import ConfigError
from nvc_jax.training.config import Data, Stage
from nvc_jax.training.data import LARGEST_PLANE, Batch, ClipSet

_CROPS = 0xC4095  # folded into the keys of crops, to separate them from those of the noise


@flax.struct.dataclass
class DeviceClips:
    """All clips of a set, concatenated, on the host or on a device.

    Attributes:
        planes: uint8 of y, u and v [n], or of RGB [n, 3].
        offsets: [clips, planes] start of a clip in each plane.
        sizes: [clips, 3] frames, height, width.
        epoch: [n] numbers of clips to draw from, each as often as windows fit into it.
        data: how clips are cut.
    """

    planes: tuple[Array | npt.NDArray[np.uint8], ...]
    offsets: Array | npt.NDArray[np.int32]
    sizes: Array | npt.NDArray[np.int32]
    epoch: Array | npt.NDArray[np.int32]
    data: Data = flax.struct.field(pytree_node=False)


def device_clips(clips: ClipSet, stage: Stage) -> DeviceClips:
    """Decode the clips that are large enough for a stage to NumPy arrays.

    Raises:
        ConfigError: their planes are too large.
        VideoError: a clip cannot be read.
    """
    epoch = clips.epoch(stage)
    usable = list(dict.fromkeys(epoch))
    if sum(clip.plane_bytes for clip in usable) > LARGEST_PLANE:
        raise ConfigError(f"{clips.data.source}: too large for data.on_device=true; at most 2 GB of luma when decoded.")
    number = {clip.name: i for i, clip in enumerate(usable)}
    parts = [clip.read(0, clip.frames) for clip in usable]
    planes = []
    offsets = np.zeros((len(parts), len(parts[0])), np.int64)
    for i, of_clips in enumerate(zip(*parts, strict=True)):
        flat = [plane.reshape(-1, *plane.shape[3:]) for plane in of_clips]
        offsets[:, i] = np.cumsum([0, *map(len, flat)])[:-1]
        planes.append(np.concatenate(flat))
    sizes = np.array([part[0].shape[:3] for part in parts], np.int32)
    drawn = np.array([number[clip.name] for clip in epoch], np.int32)
    return DeviceClips(tuple(planes), offsets.astype(np.int32), sizes, drawn, clips.data)


def cut_batch(clips: DeviceClips, stage: Stage, sample: Array, key: Array) -> Batch:
    """Cut the crops with numbers `sample` [B]."""
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.fold_in(key, _CROPS), number))(sample)
    return Batch(jax.vmap(lambda of_crop: _cut(clips, stage, of_crop))(keys), sample)


def _cut(clips: DeviceClips, stage: Stage, key: Array) -> tuple[Array, ...]:
    """Cut planes [T, S, S, ...] of a crop, with the augmentations of `data.cut_clip`."""
    data = clips.data
    keys = iter(jax.random.split(key, 10))
    clip = clips.epoch[jax.random.randint(next(keys), (), 0, len(clips.epoch))]
    length, height, width = clips.sizes[clip]
    skip = jax.random.randint(next(keys), (), 1, data.skip + 1)
    order = _frame_order(length, stage.frames, skip, jax.random.uniform(next(keys)))
    order = jnp.where(jax.random.uniform(next(keys)) < data.reverse, order[::-1], order)
    most = jnp.clip(jnp.minimum(height, width) // stage.size, 1, int(data.scale[1]))
    box = jax.random.randint(next(keys), (), 1, most + 1)
    side = box * stage.size
    top, left = (_even(next(keys), jnp.maximum(0, extent - side)) for extent in (height, width))
    flips = [jax.random.uniform(next(keys)) < share for share in (data.flip_vertical, data.flip)]
    is_rgb = clips.planes[0].ndim == 2
    cropped = []
    for number, (plane, factor) in enumerate(zip(clips.planes, (1,) if is_rgb else (1, 2, 2), strict=True)):
        size = stage.size // factor
        extents = [-(-extent // factor) for extent in (height, width)]
        numbers = jnp.arange(size) * box
        rows, columns = (
            jnp.where(flip, numbers[::-1], numbers) + first // factor
            for flip, first in zip(flips, (top, left), strict=True)
        )
        total = jnp.zeros((stage.frames, size, size, *plane.shape[1:]), jnp.int32)
        for dy, dx in np.ndindex(*[int(data.scale[1])] * 2):
            inside = (dy < box) & (dx < box)
            y, x = (
                jnp.minimum(part + shift, extent - 1)
                for part, shift, extent in zip((rows, columns), (dy, dx), extents, strict=True)
            )
            place = (order[:, None, None] * extents[0] + y[:, None]) * extents[1] + x
            total = total + jnp.where(inside, plane[clips.offsets[clip, number] + place].astype(jnp.int32), 0)
        cropped.append(((total + box * box // 2) // (box * box)).astype(jnp.uint8))
    return tuple(cropped)


def _even(key: Array, most: Array) -> Array:
    """Draw an even number from 0 to `most`."""
    return 2 * jax.random.randint(key, (), 0, most // 2 + 1)


def _frame_order(length: Array, frames: int, skip: Array, place: Array) -> Array:
    """Compute `data.frame_order` on the device."""
    skip = jnp.minimum(skip, jnp.maximum(1, (length - 1) // max(1, frames - 1)))
    span = (frames - 1) * skip + 1
    straight = (place * (length - span + 1)).astype(jnp.int32) + skip * jnp.arange(frames)
    period = jnp.maximum(1, 2 * length - 2)
    phase = (jnp.arange(frames) + (place * period).astype(jnp.int32)) % period
    there_and_back = jnp.minimum(phase, period - phase)
    return jnp.where(span <= length, jnp.minimum(straight, length - 1), jnp.minimum(there_and_back, length - 1))
