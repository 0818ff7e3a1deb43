"""Contents of tests/data/golden_tiny.npz: streams of the synthetic tiny codec. Made by tools/make_test_data.py."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streams
import synthetic
from recording import FrameRecord, distance_from_edge, frames, recorded_stages

from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.spec import Dialect
from nvc_jax.video import YuvFrame

DATA = Path(__file__).parent / "data" / "golden_tiny.npz"
SIZE = 17, 33
FRAMES = 6


@dataclass(frozen=True)
class Case:
    schedule: Schedule
    skip_threshold: float | None
    dialect: Dialect


CASES = {
    "skip": Case(Schedule(qp=20, intra_qp=24, reset_interval=3), skip_threshold=0.12, dialect="one_stream"),
    "two_streams": Case(Schedule(qp=44, intra_qp=40, intra_period=4, reset_interval=64), None, dialect="two_streams"),
}


def encode(codec: Codec, case: Case, seed: int) -> tuple[bytes, list[FrameRecord]]:
    """The stream of a case, and what its stages computed."""
    source = synthetic.moving_picture(*SIZE, FRAMES, seed)
    with recorded_stages() as calls:
        stream, _ = streams.encode(codec, source, case.schedule, case.skip_threshold, False, case.dialect)
    return stream, frames(calls)


def decode(codec: Codec, case: Case, stream: bytes) -> list[YuvFrame]:
    """The pictures of a stream."""
    return [frame.planes for frame in streams.decode(codec, stream, case.skip_threshold)]


def margin(case: Case, records: list[FrameRecord]) -> float:
    """Distance of any number from a decision: of a latent from a rounding tie, of a scale from another index.

    Float32 arithmetic of any machine stays within 1e-4, so a larger margin makes the bytes the same everywhere.
    """
    margins = []
    for record in records:
        _, z = record.latents()
        for x in (z, *record.residuals()):
            margins.append(np.abs(x - np.floor(x) - 0.5).min())
        margins += [distance_from_edge(scale, case.skip_threshold).min() for scale in record.scales()]
    return float(min(margins))
