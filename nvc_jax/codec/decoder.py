"""Packets to frames: the sequence loop of the decoder."""

import dataclasses
from collections.abc import Iterable, Iterator

from jax import Array

from nvc_jax.bitstream.dcvc import FrameUnit
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import Download, download_planes, download_rgb
from nvc_jax.codec.pipeline import one_ahead
from nvc_jax.codec.reference import ReferenceBuffer
from nvc_jax.errors import BitstreamError
from nvc_jax.timing import Timer
from nvc_jax.video import RgbFrame, YuvFrame


@dataclasses.dataclass(frozen=True)
class DecodedFrame:
    """One decoded frame.

    Attributes:
        index: frame number.
        unit: what was read from the container.
        picture: [1, H', W', 3] float32 YCbCr in 0..1, padded, not rounded, on the device.
        planes: the picture in 8-bit 4:2:0.
        rgb: the same in RGB (BT.709 from 4:4:4), if asked for.
    """

    index: int
    unit: FrameUnit
    picture: Array
    planes: YuvFrame
    rgb: RgbFrame | None


@dataclasses.dataclass(frozen=True)
class _Submitted:
    index: int
    unit: FrameUnit
    picture: Array
    planes: Download[YuvFrame]
    rgb: Download[RgbFrame] | None


class Decoder:
    """Decodes the frames of one sequence.

    Attributes:
        timer: time spent in here, entropy decoding included.
    """

    def __init__(self, codec: Codec, skip_threshold: float | None, rgb: bool = False) -> None:
        """Prepare to decode.

        Args:
            codec: the model the stream was made with.
            skip_threshold: that of the encoder; the official container does not carry it.
            rgb: give pictures in RGB too.
        """
        self.timer = Timer()
        self._codec = codec
        self._rgb = rgb
        self._frame_codecs = codec.frame_codecs(skip_threshold)
        self._buffer = ReferenceBuffer(self._frame_codecs["P"])
        self._size = 0, 0

    def decode(self, units: Iterable[FrameUnit]) -> Iterator[DecodedFrame]:
        """Decode frames one by one; holds two at a time.

        Raises:
            BitstreamError: at the first frame that is damaged, after all frames before it.
        """
        return one_ahead(enumerate(units), self._submit, self._finish)

    def _submit(self, item: tuple[int, FrameUnit]) -> _Submitted:
        with self.timer():
            return self._decode_frame(*item)

    def _finish(self, job: _Submitted) -> DecodedFrame:
        with self.timer():
            rgb = None if job.rgb is None else job.rgb.wait()
            return DecodedFrame(job.index, job.unit, job.picture, job.planes.wait(), rgb)

    def _decode_frame(self, index: int, unit: FrameUnit) -> _Submitted:
        size = unit.header.width, unit.header.height
        if unit.kind == "P" and self._buffer.empty:
            raise BitstreamError(f"frame {index}: inter, without an intra frame before it (byte {unit.offset}).")
        if unit.kind == "P" and size != self._size:
            raise BitstreamError(f"frame {index}: the picture size changes at an inter frame (byte {unit.offset}).")
        self._size = size
        codec = self._frame_codecs[unit.kind]
        coder = self._codec.entropy_coder(unit.kind, unit.header.two_streams)
        try:
            reference = self._buffer.reference(unit.kind, unit.header.use_adaptor_i)
            feature = codec.decode(coder.decoder(unit.payload), reference, unit.qp, *size)
        except BitstreamError as error:
            raise type(error)(
                f"frame {index}: {error} (frame at byte {unit.offset}); damaged, or coded with another model, "
                "precision or skip threshold?"
            ) from None
        picture = codec.reconstruct(feature, unit.qp)
        if unit.kind == "I":
            self._buffer.keep_picture(picture)
        else:
            self._buffer.keep_feature(feature, unit.qp)
        rgb = download_rgb(picture, *size) if self._rgb else None
        return _Submitted(index, unit, picture, download_planes(picture, *size), rgb)
