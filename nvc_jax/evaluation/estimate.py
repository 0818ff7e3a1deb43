"""Rates from likelihoods, without entropy coder and stream.

The encoder runs as ever, and its symbols are priced by the coder's own tables; the rest of a stream (headers, the
coder's final states) is added, so that the rates are those of real streams but for a few bits.
"""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.bitstream.packets import shared
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.files import create_writer
from nvc_jax.codec.memory import enough_memory
from nvc_jax.codec.model import Codec
from nvc_jax.entropy.coder import SIDE_INFORMATION
from nvc_jax.entropy.payload_size import estimate_payload_bytes
from nvc_jax.entropy.tables import gaussian_tables, symbol_bits
from nvc_jax.evaluation.coders import (
    Measured,
    ModelCoder,
    check_count,
    check_finite,
    count_to_last,
    load_codec,
    open_source,
    viewable,
)
from nvc_jax.evaluation.metrics import picture_quality
from nvc_jax.evaluation.results import FrameResult
from nvc_jax.evaluation.sequences import Video
from nvc_jax.spec import NOT_CODED, Dialect


@dataclasses.dataclass(frozen=True)
class EstimatingCoder(ModelCoder):
    """A model of this package, by estimated rates."""

    @property
    def suffix(self) -> str:
        """Empty: there is no stream."""
        return ""

    @property
    def name(self) -> str:
        """Name of the model, marked: both may go into one folder."""
        return f"{super().name}_estimated"

    def settings(self, sequence: Video, qp: int) -> dict[str, Any]:
        """Settings of the model, marked."""
        return super().settings(sequence, qp) | {"estimated": True}

    def measure(self, sequence: Video, qp: int, stream: Path) -> Measured:
        """See `Coder`; there is no stream."""
        del stream
        codec = load_codec(self.model, self.precision)
        with open_source(sequence) as source, enough_memory(codec, source.info.width, source.info.height, source.name):
            width, height = source.info.width, source.info.height
            schedule, threshold = self.schedule(sequence, qp), self.skip_threshold
            writer = create_writer(io.BytesIO(), self.container, codec, source.info, schedule, threshold)
            encoder = Encoder(
                codec, width, height, schedule, threshold, writer.dialect, True, self.rdoq, self.skip_blocks
            )
            encoder.coders = {name: _Prices(codec, name, writer.dialect) for name, _ in codec.stored.config.networks}
            frames: list[FrameResult] = []
            for packet in encoder.encode(source):
                assert packet.pictures is not None
                pictures = len(packet.sources)
                sizes = (shared(8 * size, pictures) for size in (writer.write(packet.coded), len(packet.coded.payload)))
                for number, (bits, payload) in enumerate(zip(*sizes, strict=True)):
                    quality = picture_quality(packet.pictures[:, number], packet.sources[number])
                    check_finite(quality, sequence, packet.index + number)
                    frames.append(FrameResult(packet.coded.types[number], bits, payload, quality))
            check_count(sequence, frames)
            count_to_last(frames, 8 * writer.finish())
            assert packet.reconstructions is not None
            last = viewable(source, packet.sources[-1], packet.reconstructions[-1])
        return Measured(frames, width * height, last)


class _Prices:
    """In place of the entropy coder of a network: payloads of zeros, as long as the real ones."""

    def __init__(self, codec: Codec, name: str, dialect: Dialect) -> None:
        config = codec.stored.config[name]
        self._dialect, self._side = dialect, config.side
        self._y = np.zeros((NOT_CODED + 1, 256), np.float32)
        self._y[: gaussian_tables().rows] = symbol_bits(gaussian_tables())
        self._z = symbol_bits(codec.stored.tables[name]).reshape(config.qp_rows, config.hyper, 256)

    def encode(
        self,
        qp: int,
        z: npt.NDArray[np.int8],
        planes: Sequence[tuple[npt.NDArray[np.int8], npt.NDArray[np.uint8]]],
        side: npt.NDArray[np.int8] | None = None,
    ) -> tuple[bytes, int]:
        """See `EntropyCoder`; the check is 0."""
        channels = np.arange(z.shape[0])[:, None, None]
        bits, count = float(self._z[qp][channels, z.astype(np.int32) + 128].sum(dtype=np.float64)), z.size
        for symbols, indexes in planes:
            bits += float(self._y[indexes, symbols.astype(np.int32) + 128].sum(dtype=np.float64))
            count += int((indexes != NOT_CODED).sum())
        if side is not None and self._side is not None:
            bits += float(SIDE_INFORMATION[self._side].bits(side[None], np)[0])
            count += side.size
        return bytes(estimate_payload_bytes(self._dialect, bits, count)), 0
