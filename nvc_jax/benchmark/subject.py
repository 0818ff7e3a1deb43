"""What is measured: an inter frame of a codec, with all that coding it needs."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax import Array

from nvc_jax.codec.frame import FrameCodec, FrameSymbols, batched
from nvc_jax.codec.model import PRECISIONS, Codec
from nvc_jax.codec.pictures import upload
from nvc_jax.codec.store import load_model, make_model, packaged_models
from nvc_jax.entropy.coder import FrameDecoder
from nvc_jax.models.config import CONFIGS, PATCH
from nvc_jax.models.params import flatten, initialise, unflatten
from nvc_jax.models.state import Reference, Synthesis, reference_after
from nvc_jax.ops.arithmetic import arithmetic, to_precision
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD
from nvc_jax.video import YuvFrame, chroma_size

QP = 30
# By the end of a parameter's name: what keeps random networks from blowing up over frames, and makes their symbols
# about as small and as often skipped as trained ones do (dcvc_rt: half a bit per pixel, a fifth of positions coded).
_RANDOM_SCALES = {
    "pointwise_out/kernel": 0.2,
    "ffn/kernel_out": 0.2,
    "inter/decoder_out/kernel": 0.5,
    "encoder_down/kernel": 0.5,
    "hyper_encoder/down_1/down/kernel": 0.5,
    "fusion_out/kernel": 0.3,
    "spatial_out/kernel": 0.3,
}


def load(name: str, precision: str, strategy: str | None = None, platform: str | None = None) -> tuple[Codec, bool]:
    """A model by name or folder; a configuration without weights gets random ones. Other arguments: see `Codec`.

    Returns:
        The codec, and whether its weights are random.
    """
    if name not in CONFIGS or name in packaged_models():
        return Codec(load_model(name), precision, strategy, platform), False
    flat = {
        key: np.float32(next((s for part, s in _RANDOM_SCALES.items() if key.endswith(part)), 1.0)) * leaf
        for key, leaf in flatten(initialise(CONFIGS[name], 0)).items()
    }
    return Codec(make_model(CONFIGS[name], unflatten(flat), "random"), precision, strategy, platform), True


@dataclasses.dataclass(frozen=True)
class Subject:
    """An inter frame and its reference, on the device; as the official encoder would, without RDOQ and skipped blocks.

    Attributes:
        codec: the inter codec.
        picture: [1, H', W', 3].
        reference: a random feature; with motion the picture before.
        size: (width, height) before padding.
    """

    codec: FrameCodec
    picture: Array
    reference: Reference
    size: tuple[int, int]

    @classmethod
    def of(cls, codec: Codec, width: int, height: int) -> "Subject":
        """The frame of a picture size."""
        frame_codec = codec.frame_codecs(DEFAULT_SKIP_THRESHOLD)["P"]
        before, picture = map(upload, moving_picture(width, height, 2))
        shape = (1, picture.shape[1] // PATCH, picture.shape[2] // PATCH, frame_codec.model.config.width)
        feature = 0.1 * jax.random.normal(jax.random.key(0), shape)
        feature, before = (to_precision(x, PRECISIONS[codec.precision]) for x in (feature, before))
        before = arithmetic(before).widen(before)  # as `reconstruct` gives pictures
        reference = reference_after(frame_codec.model.config, feature, before)
        return cls(frame_codec, picture, reference, (width, height))

    @property
    def pixels(self) -> int:
        """Of the picture."""
        return self.size[0] * self.size[1]

    def encode(self) -> tuple[FrameSymbols, Synthesis]:
        """Picture and reference to symbols on their way to the host, and what the picture is made of."""
        return self.codec.encode(self.picture, self.reference, QP)

    def network_encode(self) -> Any:
        """All of encoding but the entropy coder; waits."""
        symbols, synthesis = self.encode()
        synthesis.feature.block_until_ready()
        return symbols.to_host()

    def network_decode(self, recorded: "RecordedSymbols") -> Array:
        """All of decoding but the entropy coder."""
        synthesis, _ = self.codec.decode(lambda: recorded, self.reference, QP, *self.size)
        return self.codec.reconstruct(synthesis, QP)


class RecordedSymbols(FrameDecoder):
    """Stands in for the entropy decoder: gives the symbols of an encoded frame."""

    def __init__(self, symbols: FrameSymbols) -> None:
        self._symbols, self._planes, self._motion = symbols.to_host()

    def motion(self, height: int, width: int) -> npt.NDArray[np.int8]:
        """The motion of the blocks."""
        assert self._motion is not None
        return self._motion

    def z(self, qp: int, shape: tuple[int, int, int]) -> npt.NDArray[np.int8]:
        """Start over with the symbols of z."""
        assert self._symbols.shape == shape
        self._next = iter(self._planes)
        return self._symbols

    def plane(self, indexes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        """The symbols of the next coding step."""
        return next(self._next)[0]

    def finish(self) -> None:
        """Nothing to check."""


def qps() -> Array:
    """The qp of the frame as the stages take it."""
    return batched(QP)


def moving_picture(width: int, height: int, frames: int) -> Iterator[YuvFrame]:
    """A random picture with large and small shapes that moves by one pixel per frame, and a little noise."""
    rng = np.random.default_rng(0)

    def texture(columns: int, rows: int) -> npt.NDArray[np.float32]:
        total = np.zeros((rows, columns), np.float32)
        for cell in (4, 16, 64):
            coarse = rng.normal(0, 1.5 * cell**0.5, (rows // cell + 1, columns // cell + 1)).astype(np.float32)
            total += np.kron(coarse, np.ones((cell, cell), np.float32))[:rows, :columns]
        return 128 + total

    sizes = (width, height), *[chroma_size(width, height)] * 2
    textures = [texture(columns + frames, rows) for columns, rows in sizes]
    for number in range(frames):
        planes = []
        for (columns, rows), whole in zip(sizes, textures, strict=True):
            noisy = whole[:, number : number + columns] + rng.normal(0, 1, (rows, columns))
            planes.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
        yield YuvFrame(*planes)
