"""Measuring without decoding: the pictures are the encoder's own reconstructions."""

import dataclasses
import io
from pathlib import Path
from typing import Any

from nvc_jax.bitstream.packets import shared
from nvc_jax.codec.containers import create_writer
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.memory import enough_memory
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


@dataclasses.dataclass(frozen=True)
class EstimatingCoder(ModelCoder):
    """A model of this package, measured while it encodes: no stream is kept, and none decoded."""

    @property
    def suffix(self) -> str:
        """Empty: no stream is kept."""
        return ""

    @property
    def name(self) -> str:
        """Name of the model, marked: both may go into one folder."""
        return f"{super().name}_estimated"

    def settings(self, sequence: Video, qp: int) -> dict[str, Any]:
        """Settings of the model, marked."""
        return super().settings(sequence, qp) | {"estimated": True}

    def measure(self, sequence: Video, qp: int, stream: Path) -> Measured:
        """See `Coder`."""
        del stream
        codec = load_codec(self.model, self.precision)
        with open_source(sequence) as source, enough_memory(codec, source.info.width, source.info.height, source.name):
            width, height = source.info.width, source.info.height
            schedule, threshold = self.schedule(sequence, qp), self.skip_threshold
            writer = create_writer(io.BytesIO(), self.container, codec, source.info, schedule, threshold)
            encoder = Encoder(
                codec,
                width,
                height,
                schedule,
                threshold,
                writer.dialect,
                True,
                self.rdoq,
                self.skip_blocks,
                self.preset,
            )
            frames: list[FrameResult] = []
            for packet in encoder.packets(source):
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
