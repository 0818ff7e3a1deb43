"""Encoder and decoder that take pictures and packets as they come."""

import contextlib
import dataclasses
import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from nvc_jax.api.options import EncodingOptions, check_numbers, exact_rate, split
from nvc_jax.api.pictures import Output, Picture, Pictures, check_output, copied, frame_of, frames_of, picture_of
from nvc_jax.bitstream import DcvcReader, LostPicture, NvcReader
from nvc_jax.bitstream import Packet as FoundPacket
from nvc_jax.bitstream.cursor import Cursor
from nvc_jax.codec import decoder
from nvc_jax.codec.containers import Container, StreamEncoder, Written, container_of, is_coded_rgb
from nvc_jax.codec.memory import enough_memory
from nvc_jax.codec.rate_control import BitrateController
from nvc_jax.errors import ConfigError
from nvc_jax.video import Colour, Frame, RgbFrame, VideoInfo

if TYPE_CHECKING:
    from nvc_jax.api.codec import Codec


@dataclasses.dataclass(frozen=True)
class Packet:
    """One coded packet: a picture, or the few that a model codes together.

    Attributes:
        data: its bytes.
        index: number of its first picture.
        intra: it decodes without the packets before it.
        qps: of its pictures, offsets included.
    """

    data: bytes
    index: int
    intra: bool
    qps: tuple[float, ...]

    def __bytes__(self) -> bytes:
        return self.data

    @property
    def bits(self) -> int:
        """Number of bits."""
        return 8 * len(self.data)


class Encoder:
    """Takes pictures as they come; `Codec.encoder` makes one.

    `header`, the data of all packets and what `finish` gives are an `.nvc` stream, one after the other.

    Attributes:
        header: what a decoder must have before the first packet; empty for the official container.
    """

    def __init__(
        self,
        codec: "Codec",
        precision: str,
        size: tuple[int, int],
        qp: float,
        fps: float | Fraction,
        container: Container,
        planes: bool,
        colour: Colour | None,
        delay: int,
        options: EncodingOptions,
    ) -> None:
        """See `Codec.encoder`."""
        if container_of("", container) != container:
            raise ConfigError(f"container {container!r} goes by the name of a file; name nvc or dcvc.")
        if colour is not None and not planes:
            raise ConfigError("a colour description is for planes; RGB is always coded as full-range BT.709.")
        schedule, rest = split(qp, options)
        info = VideoInfo(*size, exact_rate(fps), colour or Colour(), is_rgb=not planes)
        self._codec, self._coder, self._size = codec, codec.in_precision(precision), size
        self._planes, self._several = planes, codec.config.pictures > 1
        self._file = _Taken()
        self._count = 0
        self._closed = False
        with self._work():
            self._encoder = StreamEncoder(self._file, container, self._coder, info, schedule, delay=delay, **rest)
        self.header = self._file.take()
        self._counted = len(self.header)  # bytes that the size of the next packet counts too

    @property
    def qp(self) -> float:
        """Quality, 0 to 63; a new one counts from the next packet on.

        Raises:
            ConfigError: it is out of range, the container cannot hold it, or the encoder has rate control.
        """
        return self._encoder.schedule.qp

    @qp.setter
    def qp(self, qp: float) -> None:
        check_numbers({"qp": qp})
        if self._encoder.controller is not None:
            raise ConfigError("the encoder follows a bitrate or a PSNR and chooses qps itself.")
        self._encoder.schedule = dataclasses.replace(self._encoder.schedule, qp=qp)

    @property
    def bitrate(self) -> float | None:
        """Bits per second that the encoder follows, None without; a new one counts from the next packet on.

        Raises:
            ConfigError: it is not positive, or the encoder was made without.
        """
        controller = self._encoder.controller
        return controller.target.bitrate if isinstance(controller, BitrateController) else None

    @bitrate.setter
    def bitrate(self, bitrate: float) -> None:
        check_numbers({"bitrate": bitrate})
        controller = self._encoder.controller
        if not isinstance(controller, BitrateController):
            raise ConfigError("the encoder follows no bitrate; make it with bitrate=.")
        controller.target = dataclasses.replace(controller.target, bitrate=bitrate)

    def force_intra(self) -> None:
        """Make the next picture an intra frame, from which a new receiver can start."""
        self._encoder.force_intra()

    def encode(self, picture: Picture) -> list[Packet]:
        """Code a picture.

        Args:
            picture: uint8 RGB [H, W, 3], or planes (y, u, v) for an encoder of planes; NumPy or JAX. It may be
                overwritten afterwards.

        Returns:
            The packets that are complete: with `delay=0` that of the picture, where the model codes one picture a
            packet.

        Raises:
            VideoError: the picture is not 8 bit, or of another size or kind.
            ConfigError: the encoder is closed, or memory is too small.
            OutputError: a packet before it could not be written, so that nothing more can follow.
        """
        frame = self._checked(frame_of(picture, self._count))
        with self._work():
            return self._packets(self._encoder.encode(frame))

    def flush(self) -> list[Packet]:
        """The packets of all pictures so far; one that is not full ends short. More pictures may follow.

        Raises:
            ConfigError: the encoder is closed.
            OutputError: a packet before could not be written.
        """
        with self._work():
            return self._packets(self._encoder.flush())

    def finish(self) -> bytes:
        """Close the encoder: the packets that `flush` would give, and the end of a file, with an index for seeking.

        Raises:
            ConfigError: the encoder is closed already.
            OutputError: a packet before could not be written.
        """
        with self._work():
            self._encoder.flush()
            self._encoder.finish()
        self._closed = True
        return self._file.take()

    def packets(self, pictures: Any) -> Iterator[Packet]:
        """Code a clip, as `Codec.encode` takes it, packet by packet, and flush.

        Raises:
            VideoError: a picture is not 8 bit, or of another size or kind; the packets before it have been given.
            ConfigError: the encoder is closed.
        """
        written = self._encoder.packets(map(self._checked, frames_of(pictures)))
        while True:
            with self._work():
                found = next(written, None)
                if found is None:
                    return
                (packet,) = self._packets([found])
            yield packet

    def _checked(self, frame: Frame) -> Frame:
        if isinstance(frame, RgbFrame) == self._planes:
            found, wanted = ("RGB", "planes") if self._planes else ("planes", "RGB")
            raise ConfigError(
                f"picture {self._count} is {found}, the encoder takes {wanted}; make it with planes={not self._planes}."
            )
        self._count += 1
        return copied(frame) if self._several else frame

    def _packets(self, written: Iterable[Written]) -> list[Packet]:
        """The packets with their bytes."""
        data, begin, packets = self._file.take(), 0, []
        for packet, size_bytes in written:
            end = begin + size_bytes - self._counted
            packets.append(Packet(data[begin:end], packet.index, packet.coded.start, packet.coded.qps))
            begin, self._counted = end, 0
        return packets

    @contextlib.contextmanager
    def _work(self) -> Iterator[None]:
        if self._closed:
            raise ConfigError("the encoder is closed; make another one.")
        with self._codec.on_device(), enough_memory(self._coder, *self._size, "the encoder"):
            yield


class Decoder:
    """Takes packets as they come; `Codec.decoder` makes one."""

    def __init__(
        self,
        codec: "Codec",
        header: bytes | None,
        output: Output,
        conceal: bool,
        delay: int,
        skip_threshold: float | None,
    ) -> None:
        """See `Codec.decoder`."""
        check_output(output)
        self._codec, self._output = codec, output
        self._feed = _Feed(header or b"")
        self._reader: DcvcReader | NvcReader
        if header:
            self._reader = NvcReader(Cursor(cast(BinaryIO, self._feed)), conceal)
            skip_threshold = self._reader.header.skip_threshold
            self._colour = Colour(*self._reader.header.colour)
        else:
            self._reader, self._colour = DcvcReader(Cursor(cast(BinaryIO, self._feed))), Colour()
        coder = codec.for_stream(self._reader.header)
        rgb = output == "rgb" and is_coded_rgb(self._reader.header)
        with codec.on_device():
            self._decoder = decoder.Decoder(coder, skip_threshold, rgb, conceal, delay)

    def decode(self, packet: Packet | bytes) -> list[Pictures]:
        """Decode a packet.

        Args:
            packet: whole packets, of an encoder or their bytes.

        Returns:
            The pictures that are complete: with `delay=0` those of the packet, [H, W, 3] or `Planes`; with
            concealment also those that are missing before it, none for a damaged packet.

        Raises:
            BitstreamError: the packet is damaged or cut, or packets before it are missing.
        """
        with self._codec.on_device():
            return self._pictures(frame for found in self._read(bytes(packet)) for frame in self._decoder.decode(found))

    def flush(self) -> list[Pictures]:
        """The pictures that are left. More packets may follow."""
        with self._codec.on_device():
            return self._pictures(self._decoder.flush())

    def _read(self, data: bytes) -> Iterator[FoundPacket | LostPicture]:
        """The packets in some bytes. Nothing is left over from the bytes before, whatever was wrong with them."""
        self._feed.give(data)
        for found in self._reader:
            yield found
            if isinstance(found, FoundPacket) and self._feed.empty:
                return

    def _pictures(self, frames: Iterable[decoder.DecodedFrame]) -> list[Pictures]:
        return [picture_of(frame, self._output, self._colour) for frame in frames]


class _Taken(io.BytesIO):
    """Bytes that are taken out as they are written."""

    def take(self) -> bytes:
        data = self.getvalue()
        self.seek(0)
        self.truncate()
        return data


class _Feed(io.RawIOBase):
    """A pipe whose bytes are given one packet at a time."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.give(data)

    def give(self, data: bytes) -> None:
        self._data = memoryview(data)

    @property
    def empty(self) -> bool:
        return not self._data

    def read(self, size: int = -1, /) -> bytes:
        end = len(self._data) if size < 0 else size
        data, self._data = self._data[:end], self._data[end:]
        return bytes(data)
