"""Streams with random access."""

import bisect
import dataclasses
import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING

from nvc_jax.api.pictures import Output, Pictures, check_output, picture_of, stacked
from nvc_jax.bitstream import DcvcReader, LostPicture, NvcHeader, NvcReader, Packet, stream_reader
from nvc_jax.codec.containers import is_coded_rgb
from nvc_jax.codec.decoder import DecodedFrame, Decoder
from nvc_jax.codec.descriptions import trained_identity
from nvc_jax.errors import BitstreamError, ConfigError, FrameNumberError
from nvc_jax.io.files import explained
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD
from nvc_jax.video import Colour

if TYPE_CHECKING:
    from nvc_jax.api.codec import Codec

Source = bytes | str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Description of a stream.

    Attributes:
        container: "nvc" or "dcvc"; the official one says none of what is None here.
        width: of the pictures in pixels.
        height: likewise.
        frames: number of pictures.
        fps: frames per second.
        model: name of the architecture.
        identity: of the model, 64 hexadecimal digits.
        precision: of the arithmetic.
        qp: base qp of inter frames.
        intra_period: frames from one intra frame to the next, -1 for only the first.
        colour: description of the planes.
    """

    container: str
    width: int
    height: int
    frames: int
    fps: Fraction | None = None
    model: str | None = None
    identity: str | None = None
    precision: str | None = None
    qp: float | None = None
    intra_period: int | None = None
    colour: Colour = Colour()  # noqa: RUF009  (frozen)

    @property
    def duration(self) -> float | None:
        """Seconds."""
        return None if self.fps is None else float(self.frames / self.fps)


class Video:
    """A stream as a sequence of pictures: `len`, indexes, slices, iteration; use it in a `with` block.

    Going on from the last picture decodes the next one only; other pictures are decoded from the intra frame before
    them. A stream without an index, as official ones are, is read as a whole when it is opened.

    Attributes:
        metadata: size, frame rate, model, ...
    """

    def __init__(
        self,
        source: Source,
        codec: "Callable[[NvcHeader | None], Codec]",
        output: Output = "rgb",
        skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
    ) -> None:
        """See `nvc_jax.open`; codec: finds the codec of a stream."""
        check_output(output)
        self._output = output
        self._resources = ExitStack()
        self.name = "stream" if isinstance(source, bytes) else os.fspath(source)
        self._closed = False
        with self._resources, self._named():
            file = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")
            self._resources.enter_context(file)
            self._reader = stream_reader(file)
            self._packets = _listed(self._reader)
            header = self._reader.header
            self._codec = codec(header)
            self._coder = self._codec.for_stream(header)
            self._threshold = skip_threshold if header is None else header.skip_threshold
            self.metadata = _metadata(header, self._packets)
            self._frames: Iterator[DecodedFrame] = iter(())
            self._next = len(self)  # picture that `_frames` gives next
            self._resources = self._resources.pop_all()

    def __repr__(self) -> str:
        size = f"{self.metadata.width}x{self.metadata.height}"
        return f"<nvc_jax.Video {self.name}, {len(self)} frames of {size}>"

    def __len__(self) -> int:
        return self.metadata.frames

    def __getitem__(self, number: int | slice) -> Pictures:
        """A picture [H, W, 3], or the pictures [n, H, W, 3] of a slice; `Planes` if they were asked for.

        Raises:
            FrameNumberError: there is no such picture, or the slice is empty.
            BitstreamError: the stream is damaged there.
        """
        count = len(self)
        if isinstance(number, slice):
            wanted = range(count)[number]
            if not wanted:
                raise FrameNumberError(f"{self.name}: no frame in {_shown(number)}, there are {count}.")
            rising = wanted if wanted.step > 0 else wanted[::-1]
            pictures = list(itertools.islice(self._from(rising[0]), 0, rising[-1] - rising[0] + 1, rising.step))
            return stacked(pictures if wanted.step > 0 else pictures[::-1])
        if not hasattr(number, "__index__"):
            raise FrameNumberError(f"{self.name}: frames have whole numbers, not {number!r}.")
        if not -count <= number < count:
            raise FrameNumberError(f"{self.name}: there is no frame {number}, there are {count}.")
        return next(self._from(number % count))

    def __iter__(self) -> Iterator[Pictures]:
        return itertools.islice(self._from(0), len(self))

    def close(self) -> None:
        """Release the file. A second call does nothing."""
        self._closed = True
        self._resources.close()

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _from(self, number: int) -> Iterator[Pictures]:
        """The pictures from one on."""
        colour = self.metadata.colour
        while True:
            if self._closed:
                raise ConfigError(f"{self.name}: the video is closed.")
            with self._named(), self._codec.on_device():
                picture = picture_of(self._decoded(number), self._output, colour)
            yield picture
            number += 1

    def _decoded(self, number: int) -> DecodedFrame:
        start = self._packets.start_before(number)
        if not start <= self._next <= number:
            rgb = self._output == "rgb" and is_coded_rgb(self._reader.header)
            self._frames = Decoder(self._coder, self._threshold, rgb).frames(self._packets.seek(number))
            self._next = start
        begin, self._next = self._next, len(self)  # what follows an error is decoded from its intra frame again
        for _ in range(begin, number + 1):
            frame = next(self._frames)
        self._next = number + 1
        return frame

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of a block name the stream."""
        try:
            with explained(BitstreamError, f"{self.name}: cannot read"):
                yield
        except BitstreamError as error:
            text = str(error)
            raise type(error)(text if text.startswith(self.name) else f"{self.name}: {text}") from None


def open_stream(
    source: Source,
    model: "Codec | str | os.PathLike[str] | None" = None,
    *,
    output: Output = "rgb",
    skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
) -> Video:
    """Open a stream for random access; `nvc_jax.open`.

    Args:
        source: the path of a stream, or its bytes.
        model: a codec, the name of a packaged model or a model directory; by default the packaged model that the stream
            names, and the default one for official streams.
        output: "rgb" for pictures [H, W, 3] uint8, "planes" for `Planes`.
        skip_threshold: of the encoder, for official streams; others say it.

    Raises:
        BitstreamError: it cannot be read, or is no stream.
        ModelError: the model is not packaged, or has not made the stream.
        ConfigError: the stream was made in another precision than the codec is held to.
    """
    from nvc_jax.api.loading import codec_of

    if not isinstance(source, bytes | bytearray | memoryview | str | os.PathLike):
        raise ConfigError(
            f"a stream is a path or bytes, not {type(source).__name__}; Codec.encode makes one of pictures."
        )
    return Video(source, lambda header: codec_of(model, header), output, skip_threshold)


def decode(
    source: Source,
    model: "Codec | str | os.PathLike[str] | None" = None,
    *,
    output: Output = "rgb",
    skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
) -> Pictures:
    """Decode a stream: all pictures [T, H, W, 3], or `Planes`. See `nvc_jax.open` for arguments and errors."""
    with open_stream(source, model, output=output, skip_threshold=skip_threshold) as video:
        return video[:]


class _Indexed:
    """Packets of a stream that has an index."""

    def __init__(self, reader: NvcReader, frames: int) -> None:
        self.frames, self._reader = frames, reader

    def start_before(self, number: int) -> int:
        """First picture of the last start packet not after a picture."""
        start = self._reader.start_before(number)
        if start is None:
            raise BitstreamError(f"frame {number}: no intra frame comes before it")
        return start

    def seek(self, number: int) -> Iterator[Packet | LostPicture]:
        """The packets from there on."""
        self._reader.seek(number)
        return iter(self._reader)


class _Listed:
    """Packets of a stream without an index, in memory."""

    def __init__(self, packets: list[Packet]) -> None:
        if not packets:
            raise BitstreamError("the stream holds no frame")
        self.packets = packets
        self.frames = packets[-1].index + len(packets[-1].qps)
        self._starts = [position for position, packet in enumerate(packets) if packet.start]

    def start_before(self, number: int) -> int:
        """See `_Indexed`."""
        return self.packets[self._position(number)].index

    def seek(self, number: int) -> Iterator[Packet]:
        """See `_Indexed`."""
        return iter(self.packets[self._position(number) :])

    def _position(self, number: int) -> int:
        before = bisect.bisect_right(self._starts, number, key=lambda position: self.packets[position].index)
        if not before:
            raise BitstreamError(f"frame {number}: no intra frame comes before it")
        return self._starts[before - 1]


def _listed(reader: DcvcReader | NvcReader) -> _Indexed | _Listed:
    if isinstance(reader, NvcReader) and reader.frame_count:
        return _Indexed(reader, reader.frame_count)
    return _Listed([packet for packet in reader if isinstance(packet, Packet)])


def _metadata(header: NvcHeader | None, packets: _Indexed | _Listed) -> Metadata:
    if header is None:
        assert isinstance(packets, _Listed)
        first = packets.packets[0]
        return Metadata("dcvc", first.width, first.height, packets.frames)
    return Metadata(
        container="nvc",
        width=header.width,
        height=header.height,
        frames=packets.frames,
        fps=header.fps,
        model=header.model,
        identity=trained_identity(header.identity),
        precision=header.precision,
        qp=header.qp,
        intra_period=header.intra_period,
        colour=Colour(*header.colour),
    )


def _shown(part: slice) -> str:
    """A slice as it is written."""
    bounds = [part.start, part.stop] + ([] if part.step is None else [part.step])
    return ":".join("" if bound is None else str(bound) for bound in bounds)
