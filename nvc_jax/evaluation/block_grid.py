"""How much of the grid of blocks is seen in decoded pictures, and what deblocking of other strengths would leave."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nvc_jax.codec.containers import default_rdoq
from nvc_jax.codec.encoder import RECORD_BYTES, Encoder
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.codec.store import StoredModel
from nvc_jax.errors import VideoError
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD, PICTURE_STRIDE
from nvc_jax.video import YuvFrame, open_video
from nvc_jax.video.quality import frame_psnr


class StepIndex:
    """Mean step of luma across the edges of 16x16 blocks, over that between all other neighbours.

    About 1 in pictures without a grid; both directions and all pictures count together.
    """

    def __init__(self) -> None:
        self._sums, self._counts = np.zeros(2), np.zeros(2)  # at edges, elsewhere

    def add(self, luma: npt.NDArray[np.uint8]) -> None:
        """Count a picture [H, W]."""
        for plane in (luma, luma.T):
            steps = np.abs(np.diff(plane.astype(np.int16), axis=1))
            at_edges = steps[:, PICTURE_STRIDE - 1 :: PICTURE_STRIDE]
            for part, (total, count) in enumerate(
                ((at_edges.sum(), at_edges.size), (steps.sum() - at_edges.sum(), steps.size - at_edges.size))
            ):
                self._sums[part] += total
                self._counts[part] += count

    @property
    def value(self) -> float:
        """The index; 1 where nothing steps, or there are no edges."""
        if not self._counts.all() or not self._sums.any():
            return 1.0
        at_edges, elsewhere = self._sums / self._counts
        return float(at_edges / elsewhere) if elsewhere else float("inf")


@dataclasses.dataclass(frozen=True)
class GridPoint:
    """A clip, coded at a qp.

    Attributes:
        video: its path.
        deblocking: strength.
        qp: the base qp.
        kbits: of a picture, without the file's header and index.
        psnr: 6:1:1, dB, mean of the pictures.
        source: step index of the source.
        decoded: of the decoded pictures.
    """

    video: str
    deblocking: int
    qp: int
    kbits: float
    psnr: float
    source: float
    decoded: float


def measure(
    model: StoredModel, strengths: Sequence[int], videos: Sequence[str], qps: Sequence[int], frames: int | None
) -> Iterator[GridPoint]:
    """Code clips with deblocking of some strengths, in int16; frames: of each at most.

    Raises:
        ConfigError: the codec has no deblocking, or a strength is out of range.
        ModelError: the model is an int16 one.
        VideoError: a clip cannot be read, or is RGB.
    """
    for strength in strengths:
        codec = Codec(model.with_deblocking(strength), "int16")
        for video in videos:
            with open_video(video, frames=frames) as reader:
                if reader.info.is_rgb:
                    raise VideoError(f"{video}: is RGB; give a clip of 4:2:0 planes.")
                sources = [frame for frame in reader if isinstance(frame, YuvFrame)]
            for qp in qps:
                yield _coded(codec, strength, video, sources, qp)


def _coded(codec: Codec, strength: int, video: str, sources: list[YuvFrame], qp: int) -> GridPoint:
    height, width = sources[0].y.shape
    rdoq = default_rdoq("nvc", codec.stored.config)
    encoder = Encoder(codec, width, height, Schedule(qp), DEFAULT_SKIP_THRESHOLD, "interleaved", True, rdoq)
    before, after, size, psnr = StepIndex(), StepIndex(), 0, 0.0
    for packet in encoder.packets(sources):
        size += len(packet.coded.payload) + RECORD_BYTES
        assert packet.reconstructions is not None
        for source, decoded in zip(packet.sources, packet.reconstructions, strict=True):
            assert isinstance(source, YuvFrame)
            before.add(source.y)
            after.add(decoded.y)
            psnr += frame_psnr(decoded, source)["psnr"]
    count = len(sources)
    return GridPoint(video, strength, qp, size * 8e-3 / count, psnr / count, before.value, after.value)
