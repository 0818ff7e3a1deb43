"""Whole sequences with real entropy coding, in memory, and where the time of the host goes."""

import dataclasses
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from nvc_jax.bitstream import FrameUnit
from nvc_jax.codec import transfer
from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.many import decode_many
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import ConfigError
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD, Dialect
from nvc_jax.video import Frame, RgbFrame, YuvFrame, chroma_size, coded_colour, open_video, rgb_to_yuv

DROPPED = 10  # frames at the start of a sequence that do not count, the rule of the official test
_DIALECT: Dialect = "interleaved"

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Run:
    """A sequence that was coded or decoded.

    Attributes:
        frames: seconds of every frame, from one to the next.
        parts: seconds of the host in the frames that count: waiting for the device, copying from it, entropy coding,
            and everything else, which is Python, JAX and copies to the device.
    """

    frames: Sequence[float]
    parts: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Frames per second and shares."""
        counted = self.frames[DROPPED:]
        return {
            "fps": len(counted) / sum(counted),
            "median_s": statistics.median(counted),
            "all_s": list(counted),
            "shares": {name: seconds / sum(counted) for name, seconds in self.parts.items()},
        }


class _Watched(Iterator[Item]):
    """An iterator that notes the time of every item and of the parts of those that count."""

    def __init__(self, codec: Codec, items: Iterable[Item]) -> None:
        self._items, self._codec = iter(items), codec
        self._before: dict[str, float] = {}
        self._seconds: list[float] = []

    def __next__(self) -> Item:
        if len(self._seconds) == DROPPED:
            self._before = self._parts()
        start = time.perf_counter()
        item = next(self._items)
        self._seconds.append(time.perf_counter() - start)
        return item

    def _parts(self) -> dict[str, float]:
        return {
            "device": transfer.waiting.seconds,
            "copies": transfer.copying.seconds,
            "coder": self._codec.entropy_seconds,
        }

    def run(self) -> Run:
        """When there are no more items."""
        parts = {name: seconds - self._before.get(name, seconds) for name, seconds in self._parts().items()}
        return Run(self._seconds, parts | {"python": sum(self._seconds[DROPPED:]) - sum(parts.values())})


def encode(codec: Codec, frames: Sequence[YuvFrame], schedule: Schedule) -> tuple[list[FrameUnit], Run]:
    """Code frames; the units are what a decoder finds in a file."""
    width, height = frames[0].size
    encoder = Encoder(codec, width, height, schedule, DEFAULT_SKIP_THRESHOLD, _DIALECT, skip_blocks=False)
    coded = _Watched(codec, encoder.encode(frames))
    units = [
        FrameUnit(**vars(frame.coded), index=i, width=width, height=height, offset=0, size_bytes=0)
        for i, frame in enumerate(coded)
    ]
    return units, coded.run()


def decode(codec: Codec, units: Sequence[FrameUnit]) -> Run:
    """Decode frames to 8-bit planes on the host."""
    decoded = _Watched(codec, Decoder(codec, DEFAULT_SKIP_THRESHOLD).decode(units))
    for _ in decoded:
        pass
    return decoded.run()


def decode_at_once(codec: Codec, units: Sequence[FrameUnit], count: int) -> dict[str, Any]:
    """Decode a sequence several times at once; frames per second of all together, without the first of each."""
    streams = [(Decoder(codec, DEFAULT_SKIP_THRESHOLD), units) for _ in range(count)]
    moments = []
    for _ in decode_many(streams):
        moments.append(time.perf_counter())
    counted = np.diff(moments[DROPPED * count - 1 :])
    return {
        "fps": len(counted) / float(counted.sum()),
        "median_s": float(np.median(counted)),
        "all_s": counted.tolist(),
        "streams": count,
    }


def scaled_clip(path: str, size: tuple[int, int], count: int) -> list[YuvFrame]:
    """The first frames of a video, scaled to a size.

    Raises:
        VideoError: it cannot be read.
        ConfigError: it has fewer frames.
    """
    with open_video(path, frames=count) as reader:
        colour = coded_colour(reader.info)

        def scaled(frame: Frame) -> YuvFrame:
            frame = rgb_to_yuv(frame, colour) if isinstance(frame, RgbFrame) else frame
            sizes = size, *[chroma_size(*size)] * 2
            return YuvFrame(*map(_scaled, (frame.y, frame.u, frame.v), sizes))

        frames = [scaled(frame) for frame in reader]
    if len(frames) < count:
        raise ConfigError(f"{path}: has {len(frames)} frames, and {count} are to be coded; lower --frames.")
    return frames


def _scaled(plane: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    if plane.shape[::-1] == size:
        return np.array(plane)
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC))
