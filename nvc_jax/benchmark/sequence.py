"""Code whole sequences in memory, with entropy coding, and break down the host's time."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nvc_jax.bitstream import Packet
from nvc_jax.codec import transfer
from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.many import decode_many
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import ConfigError
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD, Dialect
from nvc_jax.video import Frame, RgbFrame, YuvFrame, chroma_size, coded_colour, open_video, rgb_to_yuv

DROPPED = 10  # first frames of a sequence, which do not count, as in the official test
LEAST_COUNTED = 10  # a rate of fewer frames says little: one late frame may halve it
_DIALECT: Dialect = "interleaved"


@dataclasses.dataclass(frozen=True)
class Run:
    """Times of coding or decoding a sequence.

    Attributes:
        frames: seconds from each frame to the next.
        parts: seconds of the host in the counted frames: waiting for the device, copying from it, entropy coding, and
            the rest: Python, JAX and copies to the device.
    """

    frames: Sequence[float]
    parts: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Collect frames per second and shares."""
        counted = self.frames[DROPPED:]
        return {
            "fps": len(counted) / sum(counted),
            "median_s": statistics.median(counted),
            "all_s": list(counted),
            "shares": {name: seconds / sum(counted) for name, seconds in self.parts.items()},
        }


def _watched(codec: Codec, frames: Iterator[Any]) -> Run:
    """Time every frame of an iterator, and the parts of the counted ones."""
    seconds: list[float] = []
    before: dict[str, float] = {}
    start = time.perf_counter()
    for _ in frames:
        seconds.append(time.perf_counter() - start)
        if len(seconds) == DROPPED:
            before = _parts(codec)
        start = time.perf_counter()
    parts = {name: total - before.get(name, total) for name, total in _parts(codec).items()}
    return Run(seconds, parts | {"python": sum(seconds[DROPPED:]) - sum(parts.values())})


def _parts(codec: Codec) -> dict[str, float]:
    return {
        "device": transfer.waiting.seconds,
        "copies": transfer.copying.seconds,
        "coder": codec.entropy_seconds,
    }


def encode(codec: Codec, frames: Sequence[YuvFrame], schedule: Schedule) -> tuple[list[Packet], Run]:
    """Code frames by the default preset; the packets are as a decoder finds them in a file."""
    width, height = frames[0].size
    encoder = Encoder(codec, width, height, schedule, DEFAULT_SKIP_THRESHOLD, _DIALECT)
    packets: list[Packet] = []

    def coded() -> Iterator[Frame]:
        for packet in encoder.packets(frames):
            place = functools.partial(Packet, index=packet.index, width=width, height=height, offset=0, size_bytes=0)
            packets.append(place(**vars(packet.coded)))
            yield from packet.sources

    return packets, _watched(codec, coded())


def decode(codec: Codec, packets: Sequence[Packet]) -> Run:
    """Decode frames to 8-bit planes on the host."""
    return _watched(codec, Decoder(codec, DEFAULT_SKIP_THRESHOLD).frames(packets))


def warm_up(codec: Codec, frames: Sequence[YuvFrame], schedule: Schedule) -> None:
    """Code the first frames, which compiles."""
    decode(codec, encode(codec, frames[: 3 * codec.stored.config.pictures], schedule)[0])


def both_sides(
    codec: Codec, frames: Sequence[YuvFrame], schedule: Schedule
) -> tuple[list[Packet], dict[str, dict[str, Any]]]:
    """Encode and decode frames; gives the packets, and speeds by side, with the bytes of the payloads."""
    packets, run = encode(codec, frames, schedule)
    size_bytes = sum(len(packet.payload) for packet in packets)
    return packets, {"encode": run.to_json() | {"bytes": size_bytes}, "decode": decode(codec, packets).to_json()}


def of_median_speed(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run of median speed."""
    return sorted(runs, key=lambda run: run["fps"])[len(runs) // 2]


def decode_at_once(codec: Codec, packets: Sequence[Packet], count: int) -> dict[str, Any]:
    """Decode a sequence several times at once; measure the frame rate of all, without the first frames."""
    streams = [(Decoder(codec, DEFAULT_SKIP_THRESHOLD), packets) for _ in range(count)]
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
    """Read the first frames of a video, scaled to a size.

    Raises:
        VideoError: the video cannot be read.
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
        raise ConfigError(f"{path}: has {len(frames)} frames, and {count} are to be coded; code fewer.")
    return frames


def _scaled(plane: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    if plane.shape[::-1] == size:
        return np.array(plane)
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC))
