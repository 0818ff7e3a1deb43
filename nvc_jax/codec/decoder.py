"""Packets to pictures: the sequence loop of the decoder."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

import jax.numpy as jnp
from jax import Array

from nvc_jax.bitstream import LostPicture, Packet
from nvc_jax.bitstream.packets import shared
from nvc_jax.codec.history import History
from nvc_jax.codec.loop import batched, filled
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import Download, download_planes, download_rgb
from nvc_jax.codec.pipeline import MAX_DELAY, Pipeline
from nvc_jax.codec.reading import decode
from nvc_jax.errors import BitstreamError
from nvc_jax.io.timing import Timer
from nvc_jax.spec import PICTURE_STRIDE
from nvc_jax.video import RgbFrame, YuvFrame

LOST = "lost"  # the type of a lost picture in reports


@dataclasses.dataclass(frozen=True)
class DecodedFrame:
    """One decoded picture.

    Attributes:
        index: its number.
        packet: as found in the container; a LostPicture repeats the picture before it.
        number: of the picture in the packet.
        pictures: those of the packet [1, T, H', W', 3], YCbCr, padded, not rounded, on the device: float32 in 0..1,
            int16 in 1/512 or uint16 in 1/4096.
        planes: the picture in 8-bit 4:2:0.
        rgb: the same in RGB (BT.709 from 4:4:4), if asked for.
        resynced: how many table indexes of the packet had to be taken otherwise than computed (codec/resync.py).
    """

    index: int
    packet: Packet | LostPicture
    number: int
    pictures: Array
    planes: YuvFrame
    rgb: RgbFrame | None
    resynced: int

    @property
    def picture(self) -> Array:
        """[1, H', W', 3]."""
        return self.pictures[:, self.number]

    @property
    def type(self) -> str:
        """In reports: see `CodedPacket.types`, or LOST."""
        if isinstance(self.packet, LostPicture):
            return LOST
        return self.packet.types[self.number]

    @property
    def qp(self) -> float | None:
        """Its qp, None if it is lost."""
        return None if isinstance(self.packet, LostPicture) else self.packet.qps[self.number]

    @property
    def bits(self) -> int:
        """Its share of the bits of the packet, 0 if it is lost."""
        if isinstance(self.packet, LostPicture):
            return 0
        return shared(8 * self.packet.size_bytes, len(self.packet.qps))[self.number]


@dataclasses.dataclass(frozen=True)
class _Submitted:
    shown: list[Packet | LostPicture]
    numbers: Sequence[int]  # of the pictures to show
    pictures: Array
    planes: Download[YuvFrame]
    rgb: Download[RgbFrame] | None
    resynced: int


class Decoder:
    """Decodes the packets of one sequence, as they come (`decode`, `flush`) or from an iterable (`frames`).

    Attributes:
        timer: time spent in here, entropy decoding included.
    """

    def __init__(
        self,
        codec: Codec,
        skip_threshold: float | None,
        rgb: bool = False,
        conceal: bool = False,
        delay: int = MAX_DELAY,
    ) -> None:
        """Prepare to decode.

        Args:
            codec: the model the stream was made with.
            skip_threshold: that of the encoder; the official container does not carry it.
            rgb: give pictures in RGB too.
            conceal: after a packet that does not decode, repeat the last picture up to the next start packet.
            delay: see `Pipeline`.

        Raises:
            ConfigError: the delay is out of its range.
        """
        self.timer = Timer()
        self._codec = codec
        self._rgb = rgb
        self._conceal = conceal
        self._networks = codec.networks(skip_threshold)
        self._history = History(self._networks)
        self._pipeline = Pipeline(self._submit, self._finish, delay)
        self._size = 0, 0
        self._pictures: Array | None = None
        self._last = 0  # the picture of them that was shown last
        self._lost = ""  # why the pictures since the last start packet are lost, if they are

    def decode(self, packet: Packet | LostPicture) -> list[DecodedFrame]:
        """Decode a packet; gives the pictures that are complete: its own, or with a delay those of the one before it.

        Raises:
            BitstreamError: the packet is damaged; `flush` still gives the pictures before it.
        """
        return [frame for members in self._pipeline.push([packet]) for frame in members]

    def flush(self) -> list[DecodedFrame]:
        """The pictures that are left. More packets may follow."""
        return [frame for members in self._pipeline.push([], flush=True) for frame in members]

    def frames(self, packets: Iterable[Packet | LostPicture]) -> Iterator[DecodedFrame]:
        """Decode packets one by one, and flush; holds two at a time.

        Raises:
            BitstreamError: at the first packet that is damaged, after all pictures before it.
        """
        for members in self._pipeline.run(packets):
            yield from members

    def _submit(self, packet: Packet | LostPicture) -> _Submitted:
        with self.timer():
            shown, flips = self._decode_or_conceal(packet)
            assert self._pictures is not None
            size = packet.width, packet.height
            rgb = download_rgb(self._pictures, *size) if self._rgb else None
            lost = isinstance(shown[0], LostPicture)
            numbers = [self._last] * len(shown) if lost else range(len(shown))
            return _Submitted(shown, numbers, self._pictures, download_planes(self._pictures, *size), rgb, flips)

    def _finish(self, job: _Submitted) -> list[DecodedFrame]:
        with self.timer():
            planes = job.planes.wait()
            rgb = [None] * len(planes) if job.rgb is None else job.rgb.wait()
        first = job.shown[0].index
        return [
            DecodedFrame(first + i, shown, n, job.pictures, planes[n], rgb[n], job.resynced)
            for i, (shown, n) in enumerate(zip(job.shown, job.numbers, strict=True))
        ]

    def _decode_or_conceal(self, packet: Packet | LostPicture) -> tuple[list[Packet | LostPicture], int]:
        """Leave the pictures to show, decoded or, where they are lost, the last ones; the number: see `reading.decode`.

        Returns:
            The packet for each picture to show.
        """
        if isinstance(packet, Packet) and (packet.start or not self._lost):
            try:
                flips = self._decode_packet(packet)
                self._pictures, self._last, self._lost = self._history.pictures, len(packet.qps) - 1, ""
                return [packet] * len(packet.qps), flips
            except BitstreamError as error:
                if not self._conceal:
                    raise
                self._lost = str(error)
        pictures = len(packet.qps) if isinstance(packet, Packet) else 1
        self._lost = packet.reason if isinstance(packet, LostPicture) else self._lost
        if self._pictures is None:
            padded = [-(-side // PICTURE_STRIDE) * PICTURE_STRIDE for side in (packet.height, packet.width)]
            self._pictures = jnp.full((1, 1, *padded, 3), 0.5)  # nothing was shown yet: grey
        members = range(packet.index, packet.index + pictures)
        return [LostPicture(index, packet.width, packet.height, self._lost) for index in members], 0

    def _decode_packet(self, packet: Packet) -> int:
        index, size = packet.index, (packet.width, packet.height)
        if not packet.start and self._history.empty:
            raise BitstreamError(f"frame {index}: inter, without an intra frame before it (byte {packet.offset}).")
        if not packet.start and size != self._size:
            raise BitstreamError(f"frame {index}: the picture size changes at an inter frame (byte {packet.offset}).")
        self._size = size
        config = self._codec.stored.config
        name = config.network_of(packet.start)
        coder = self._codec.entropy_coders(packet.dialect)[name]
        qps = filled(packet.qps, config[name].pictures)
        padded = [-(-side // PICTURE_STRIDE) * PICTURE_STRIDE for side in reversed(size)]
        try:
            if len(packet.qps) > config[name].pictures:
                raise BitstreamError(f"{len(packet.qps)} pictures in a packet, the model has {config[name].pictures}")
            state = self._history.state(name, packet.start, packet.refresh, (1, config[name].pictures, *padded, 3))
            open_payload = functools.partial(coder.decoder, packet.payload, packet.check)
            synthesis, flips = decode(self._networks[name], open_payload, state, qps, size)
        except BitstreamError as error:
            if packet.check is None:
                cause = "damaged, or coded with another model, precision or skip threshold?"
            else:
                cause = "the file is not damaged: it was coded with another model"
                cause += "" if self._codec.precision == "int16" else " or on another kind of machine"
            raise type(error)(f"frame {index}: {error} (frame at byte {packet.offset}); {cause}") from None
        self._history.keep(name, state, synthesis, batched(qps))
        return flips
