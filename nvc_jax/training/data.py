"""Batches of clips through grain, a function of nothing but the seed and the number of the batch."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import av
import flax.struct
import grain
import jax
import numpy as np
import numpy.typing as npt
from jax import Array

from nvc_jax.errors import ConfigError, VideoError
from nvc_jax.training.config import Data, Stage
from nvc_jax.training.sources import Clip, Planes, as_rgb, find_clips, in_memory

LARGEST_PLANE = 2**31 - 1  # bytes of a plane of all clips on a device: indexes are int32
_MIB = 1 << 20
_TRIES = 5  # clips tried for one crop


@flax.struct.dataclass
class Batch:
    """Clips of one step, on the host or on a device.

    Attributes:
        planes: uint8 4:2:0 planes y [B, T, S, S], u and v [B, T, S/2, S/2], or one RGB array [B, T, S, S, 3].
        sample: [B] uint32, number of the clip in the run, which seeds everything drawn for it.
    """

    planes: tuple[Array | npt.NDArray[np.uint8], ...]
    sample: Array | npt.NDArray[np.uint32]


@dataclasses.dataclass(frozen=True)
class ClipSet:
    """The clips of a run, all 4:2:0 or all RGB.

    Attributes:
        clips: at least one.
        data: how they are cut.
        seed: of the run.
        note: takes sentences for the user.
        broken: names of clips with unreadable frames that were reported to the user.
    """

    clips: tuple[Clip, ...]
    data: Data
    seed: int
    note: Callable[[str], Any]
    broken: set[str] = dataclasses.field(default_factory=set)

    @property
    def identity(self) -> str:
        """Hash of the training data: names within the source, frame counts, sizes."""
        source = self.data.source
        listed = [(clip.name.removeprefix(source).lstrip("/\\"), clip.frames, clip.size) for clip in self.clips]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    def usable(self, stage: Stage) -> list[Clip]:
        """List the clips that are large enough for a stage.

        Raises:
            ConfigError: no clip is.
        """
        side = _side(stage.size, self.data.scale[1])
        clips = [clip for clip in self.clips if self.data.small == "pad" or min(clip.size) >= side]
        if not clips:
            raise ConfigError(
                f"{self.data.source}: no clip is {side}x{side} or larger, as stage {stage.name!r} needs; "
                "set data.small=pad or a smaller size."
            )
        return clips

    def epoch(self, stage: Stage) -> list[Clip]:
        """List the clips of an epoch, with repetitions."""
        clips = self.usable(stage)
        if self.data.epoch == "clips":
            return clips
        pixels = stage.frames * stage.size**2
        windows = [max(1, round(clip.frames * clip.size[0] * clip.size[1] / pixels)) for clip in clips]
        return [clip for clip, count in zip(clips, windows, strict=True) for _ in range(count)]


def open_clips(data: Data, seed: int, note: Callable[[str], Any]) -> ClipSet:
    """Find the clips of a run, and decode them if they fit into memory.

    Args:
        data: source and settings.
        seed: of the run.
        note: takes sentences for the user.

    Raises:
        ConfigError: no clip can be found or decoded.
    """
    clips, notes = find_clips(data.source)
    if len({clip.is_rgb for clip in clips}) > 1:
        notes.append(f"{data.source}: holds 4:2:0 and RGB clips; all are taken as RGB.")
        clips = [as_rgb(clip) for clip in clips]
    too_large = data.on_device and sum(clip.plane_bytes for clip in clips) > LARGEST_PLANE  # see device_data
    if sum(clip.size_bytes for clip in clips) <= data.memory_mb * _MIB and not too_large:
        with ThreadPoolExecutor() as threads:
            decoded = list(threads.map(_decoded, clips))
        notes += [f"{clip}; the clip is left out." for clip in decoded if isinstance(clip, VideoError)]
        clips = [clip for clip in decoded if isinstance(clip, Clip)]
    for text in notes:
        note(text)
    if not clips:
        raise ConfigError(f"{data.source}: no clip can be decoded.")
    return ClipSet(tuple(clips), data, seed, note)


def _decoded(clip: Clip) -> Clip | VideoError:
    try:
        return in_memory(clip)
    except VideoError as error:
        return error


def batches(
    clips: ClipSet, stage: Stage, number: int, first_sample: int, shard: tuple[int, int] = (0, 1)
) -> grain.DatasetIterator:
    """Iterate endlessly over batches of a stage, prefetched by threads; `set_state` restores the position.

    Args:
        clips: of the run.
        stage: a stage of the run.
        number: index of the stage.
        first_sample: number of clips of the run before the stage.
        shard: (index, count) of processes; each gets its part of every batch.

    Raises:
        ConfigError: no clip is large enough, or the processes do not divide a batch.
    """
    if stage.batch % shard[1]:
        raise ConfigError(f"stage {stage.name!r}: a batch of {stage.batch} does not divide by {shard[1]} processes.")
    epoch = clips.epoch(stage)
    cut = functools.partial(_sample, clips, stage, number, epoch, first_sample)
    dataset = (
        grain.MapDataset.range(len(epoch))
        .seed(int(np.random.SeedSequence((clips.seed, number)).generate_state(1)[0]) & 0x7FFFFFFF)
        .shuffle()
        .repeat()
        .map_with_index(lambda index, clip: (index, clip))
        .slice(slice(shard[0], None, shard[1]))
        .map(lambda pair: cut(*pair))
        .batch(stage.batch // shard[1], drop_remainder=True, batch_fn=_collate)  # or grain overflows at 1
    )
    options = grain.ReadOptions(num_threads=clips.data.threads, prefetch_buffer_size=clips.data.prefetch)
    return iter(dataset.to_iter_dataset(options))


def samples(clips: ClipSet, stage: Stage, count: int) -> list[Planes]:
    """Cut crops for a stage, spread evenly over all clips, without threads."""
    usable = clips.usable(stage)
    return [_sample(clips, stage, 0, usable, 0, i, i * len(usable) // count)[0] for i in range(count)]


def _sample(
    clips: ClipSet, stage: Stage, number: int, epoch: list[Clip], first_sample: int, index: int, entry: int
) -> tuple[Planes, int]:
    """Cut the crop with a number from an entry of the epoch, or from another one if that cannot be read."""
    rng = np.random.default_rng((clips.seed, number, index))
    for left in reversed(range(_TRIES)):
        clip = epoch[entry]
        try:
            return cut_clip(clip, clips.data, stage.frames, stage.size, rng), first_sample + index
        except VideoError as error:
            if not left:
                raise
            if clip.name not in clips.broken:
                clips.broken.add(clip.name)
                clips.note(f"{str(error).rstrip('.')}; other clips replace its unreadable windows.")
            entry = int(rng.integers(len(epoch)))
    raise AssertionError


def _collate(parts: Iterable[tuple[Planes, int]]) -> Batch:
    clips, numbers = zip(*parts, strict=True)
    planes = tuple(np.stack(plane) for plane in zip(*clips, strict=True))
    return Batch(planes, np.array(numbers, np.uint32))


def cut_clip(clip: Clip, data: Data, frames: int, size: int, rng: np.random.Generator) -> Planes:
    """Cut a random window of a clip, with the configured augmentations.

    Returns:
        Planes [T, size, size, ...].

    Raises:
        VideoError: the clip cannot be read.
    """
    order = frame_order(clip.frames, frames, int(rng.integers(1, data.skip + 1)), rng.random())
    if rng.random() < data.reverse:
        order = order[::-1]
    start = int(order.min())
    planes = clip.read(start, int(order.max()) + 1 - start)
    order = np.minimum(order - start, len(planes[0]) - 1)  # a container may declare more frames than it holds
    scale = np.exp(rng.uniform(*np.log(data.scale)))
    side = _side(size, scale)
    height, width = planes[0].shape[1:3]
    top, left = (2 * int(rng.integers(0, max(0, length - side) // 2 + 1)) for length in (height, width))
    flips = rng.random() < data.flip, rng.random() < data.flip_vertical
    cropped = []
    for plane, factor in zip(planes, (1,) if clip.is_rgb else (1, 2, 2), strict=True):  # of chroma subsampling
        part = plane[order, top // factor : (top + side) // factor, left // factor : (left + side) // factor]
        part = _resized(_padded(part, side // factor, factor), size // factor)
        part = part[:, :, ::-1] if flips[0] else part
        cropped.append(part[:, ::-1] if flips[1] else part)
    return tuple(np.ascontiguousarray(part) for part in cropped)


def frame_order(length: int, frames: int, skip: int, place: float) -> npt.NDArray[np.int64]:
    """Choose the frames of a window, `skip` apart; short clips play back and forth.

    Args:
        length: number of frames in the clip.
        frames: number of frames in the window.
        skip: distance of frames, reduced if the clip is too short for it.
        place: start of the window in 0..1.
    """
    skip = min(skip, max(1, (length - 1) // max(1, frames - 1)))
    span = (frames - 1) * skip + 1
    if span <= length:
        return int(place * (length - span + 1)) + skip * np.arange(frames)
    period = max(1, 2 * length - 2)
    phase = (np.arange(frames) + int(place * period)) % period
    return np.minimum(phase, period - phase)


def _side(size: int, scale: float) -> int:
    """Compute the even number of source pixels that a crop of `size` covers."""
    return max(2, 2 * round(size * scale / 2))


def _padded(plane: npt.NDArray[np.uint8], side: int, factor: int) -> npt.NDArray[np.uint8]:
    """Pad pictures smaller than a crop by repeating edges, with an even number of luma pixels before them."""
    missing = [max(0, side - length) for length in plane.shape[1:3]]
    if not any(missing):
        return plane
    before = [2 * (n * factor // 4) // factor for n in missing]
    around = [(0, 0), *((b, n - b) for b, n in zip(before, missing, strict=True)), *[(0, 0)] * (plane.ndim - 3)]
    return np.pad(plane, around, mode="edge")


def _resized(plane: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Resize [T, H, W] or [T, H, W, 3] to [T, side, side, ...], by area averages down and bicubic up."""
    if plane.shape[1] == side:
        return plane
    layout: Literal["gray", "rgb24"] = "gray" if plane.ndim == 3 else "rgb24"
    method = "AREA" if plane.shape[1] > side else "BICUBIC"

    def resize(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=layout)
        return np.asarray(frame.reformat(side, side, interpolation=method).to_ndarray(), np.uint8)

    return np.stack([resize(picture) for picture in plane])


def on_devices(batch: Batch, devices: int) -> Batch:
    """Reshape [B, ...] to [devices, B / devices, ...] for `pmap`."""
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
