"""What tests/data/golden_tiny.npz holds: streams of the synthetic tiny codec. Made by tools/make_test_data.py."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import synthetic
from recording import FrameRecord, distance_from_edge, frames, recorded_stages

from nvc_jax.bitstream.dcvc import DcvcReader, DcvcWriter
from nvc_jax.codec import encoder as encoder_module
from nvc_jax.codec.decoder import Decoder
from nvc_jax.codec.encoder import Encoder
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.video import YuvFrame

DATA = Path(__file__).parent / "data" / "golden_tiny.npz"
SIZE = 17, 33
FRAMES = 6


@dataclass(frozen=True)
class Case:
    schedule: Schedule
    skip_threshold: float | None
    two_streams: bool


CASES = {
    "skip": Case(Schedule(qp=20, intra_qp=24, reset_interval=3), skip_threshold=0.12, two_streams=False),
    "two_streams": Case(Schedule(qp=44, intra_qp=40, intra_period=4, reset_interval=64), None, two_streams=True),
}


def encode(codec: Codec, case: Case, seed: int) -> tuple[bytes, list[FrameRecord]]:
    """The stream of a case, and what its stages computed."""
    file = io.BytesIO()
    writer = DcvcWriter(file)
    with recorded_stages() as calls, pytest.MonkeyPatch.context() as patch:
        if case.two_streams:  # what large pictures have
            patch.setattr(encoder_module, "TWO_STREAMS_ABOVE", 0)
        encoder = Encoder(codec, *SIZE, case.schedule, case.skip_threshold)
        for frame in encoder.encode(synthetic.moving_picture(*SIZE, FRAMES, seed)):
            writer.write_frame(frame.header, frame.plan.kind, round(frame.plan.qp), frame.payload)
    return file.getvalue(), frames(calls)


def decode(codec: Codec, case: Case, stream: bytes) -> list[YuvFrame]:
    """The pictures of a stream."""
    decoder = Decoder(codec, case.skip_threshold)
    return [frame.planes for frame in decoder.decode(DcvcReader(io.BytesIO(stream)))]


def margin(case: Case, records: list[FrameRecord]) -> float:
    """How near any number comes to a decision: a latent to a rounding tie, a scale to another index.

    Float32 arithmetic of any machine stays within 1e-4, so a larger margin makes the bytes the same everywhere.
    """
    margins = []
    for record in records:
        _, z = record.latents()
        for x in (z, *record.residuals()):
            margins.append(np.abs(x - np.floor(x) - 0.5).min())
        margins += [distance_from_edge(scale, case.skip_threshold).min() for scale in record.scales()]
    return float(min(margins))
