"""Packets to frames: the sequence loop of the decoder."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import jax.numpy as jnp
from jax import Array

from nvc_jax.bitstream import FrameUnit, LostFrame
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import Download, download_planes, download_rgb
from nvc_jax.codec.pipeline import one_ahead
from nvc_jax.codec.reference import ReferenceBuffer
from nvc_jax.errors import BitstreamError
from nvc_jax.io.timing import Timer
from nvc_jax.spec import PICTURE_STRIDE
from nvc_jax.video import RgbFrame, YuvFrame


@dataclasses.dataclass(frozen=True)
class DecodedFrame:
    """One decoded frame.

    Attributes:
        unit: what was read from the container; a LostFrame repeats the picture before it.
        picture: [1, H', W', 3] float32 YCbCr in 0..1, padded, not rounded, on the device.
        planes: the picture in 8-bit 4:2:0.
        rgb: the same in RGB (BT.709 from 4:4:4), if asked for.
        resynced: how many table indexes had to be taken otherwise than they were computed (codec/resync.py).
    """

    unit: FrameUnit | LostFrame
    picture: Array
    planes: YuvFrame
    rgb: RgbFrame | None
    resynced: int


@dataclasses.dataclass(frozen=True)
class _Submitted:
    unit: FrameUnit | LostFrame
    picture: Array
    planes: Download[YuvFrame]
    rgb: Download[RgbFrame] | None
    resynced: int


class Decoder:
    """Decodes the frames of one sequence.

    Attributes:
        timer: time spent in here, entropy decoding included.
    """

    def __init__(self, codec: Codec, skip_threshold: float | None, rgb: bool = False, conceal: bool = False) -> None:
        """Prepare to decode.

        Args:
            codec: the model the stream was made with.
            skip_threshold: that of the encoder; the official container does not carry it.
            rgb: give pictures in RGB too.
            conceal: after a frame that does not decode, repeat the last picture up to the next intra frame.
        """
        self.timer = Timer()
        self._codec = codec
        self._rgb = rgb
        self._conceal = conceal
        self._frame_codecs = codec.frame_codecs(skip_threshold)
        self._buffer = ReferenceBuffer(self._frame_codecs["P"])
        self._size = 0, 0
        self._picture: Array | None = None
        self._lost = ""  # why the pictures since the last intra frame are lost, if they are

    def decode(self, units: Iterable[FrameUnit | LostFrame]) -> Iterator[DecodedFrame]:
        """Decode frames one by one; holds two at a time.

        Raises:
            BitstreamError: at the first frame that is damaged, after all frames before it.
        """
        return one_ahead(units, self._submit, self._finish)

    def _submit(self, unit: FrameUnit | LostFrame) -> _Submitted:
        with self.timer():
            shown, flips = self._decode_or_conceal(unit)
            assert self._picture is not None
            size = unit.width, unit.height
            rgb = download_rgb(self._picture, *size) if self._rgb else None
            return _Submitted(shown, self._picture, download_planes(self._picture, *size), rgb, flips)

    def _finish(self, job: _Submitted) -> DecodedFrame:
        with self.timer():
            rgb = None if job.rgb is None else job.rgb.wait()
            return DecodedFrame(job.unit, job.picture, job.planes.wait(), rgb, job.resynced)

    def _decode_or_conceal(self, unit: FrameUnit | LostFrame) -> tuple[FrameUnit | LostFrame, int]:
        """Leave the picture to show, decoded or, for a LostFrame, the last one; `FrameCodec.decode` has the number."""
        if isinstance(unit, FrameUnit) and not (self._lost and unit.kind == "P"):
            try:
                self._picture, flips = self._decode_frame(unit)
                self._lost = ""
                return unit, flips
            except BitstreamError as error:
                if not self._conceal:
                    raise
                self._lost = str(error)
        self._lost = unit.reason if isinstance(unit, LostFrame) else self._lost
        if self._picture is None:
            padded = [-(-side // PICTURE_STRIDE) * PICTURE_STRIDE for side in (unit.height, unit.width)]
            self._picture = jnp.full((1, *padded, 3), 0.5)  # nothing was shown yet: grey
        return LostFrame(unit.index, unit.width, unit.height, self._lost), 0

    def _decode_frame(self, unit: FrameUnit) -> tuple[Array, int]:
        index, size = unit.index, (unit.width, unit.height)
        if unit.kind == "P" and self._buffer.empty:
            raise BitstreamError(f"frame {index}: inter, without an intra frame before it (byte {unit.offset}).")
        if unit.kind == "P" and size != self._size:
            raise BitstreamError(f"frame {index}: the picture size changes at an inter frame (byte {unit.offset}).")
        self._size = size
        codec = self._frame_codecs[unit.kind]
        coder = self._codec.entropy_coder(unit.kind, unit.dialect)
        open_payload = functools.partial(coder.decoder, unit.payload, unit.check)
        try:
            reference = self._buffer.reference(unit.kind, unit.refresh)
            synthesis, flips = codec.decode(open_payload, reference, unit.qp, *size)
        except BitstreamError as error:
            if unit.check is None:
                cause = "damaged, or coded with another model, precision or skip threshold?"
            else:
                cause = "the file is not damaged: it was coded with another model"
                cause += "" if self._codec.precision == "int16" else " or on another kind of machine"
            raise type(error)(f"frame {index}: {error} (frame at byte {unit.offset}); {cause}") from None
        picture = codec.reconstruct(synthesis, unit.qp)
        self._buffer.keep(unit.kind, synthesis.feature, picture, unit.qp)
        return picture, flips
