"""Whole sequences with real entropy coding, in memory, and where the time of the host goes."""

import dataclasses
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from nvc_jax.bitstream import FrameUnit
from nvc_jax.codec import transfer
from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD, Dialect
from nvc_jax.video import YuvFrame

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
    coded = _Watched(codec, Encoder(codec, width, height, schedule, DEFAULT_SKIP_THRESHOLD, _DIALECT).encode(frames))
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
