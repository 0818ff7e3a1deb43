"""The subject of measurements: a packet of a codec, with everything needed to code it."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax import Array

from nvc_jax.codec.descriptions import packaged_models
from nvc_jax.codec.loop import CodedSymbols, Given, LoadedNetwork, batched, code, encode
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import upload
from nvc_jax.codec.store import load_model, make_model
from nvc_jax.codec.transfer import to_host
from nvc_jax.models.codecs import CONFIGS
from nvc_jax.models.network import State
from nvc_jax.models.params import ParamTree, dtype, flatten, initialise, unflatten
from nvc_jax.models.state import Synthesis
from nvc_jax.ops.arithmetic import to_precision
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD, PICTURE_STRIDE
from nvc_jax.video import YuvFrame, chroma_size

QP = 30
# By the end of a parameter's name: random networks neither blow up over frames nor code more symbols, or larger ones,
# than trained networks do (dcvc_rt: half a bit per pixel, a fifth of positions coded).
_RANDOM_SCALES = {
    "pointwise_out/kernel": 0.2,
    "ffn/kernel_out": 0.2,
    "decoder_out/kernel": 0.5,
    "encoder_down/kernel": 0.5,
    "hyper_encoder/down_1/down/kernel": 0.5,
    "fusion_out/kernel": 0.3,
    "spatial_out/kernel": 0.3,
}


def load(name: str, precision: str, strategy: str | None = None, platform: str | None = None) -> tuple[Codec, bool]:
    """Load a model by name or folder; a configuration without weights gets random ones. Other arguments: see `Codec`.

    Returns:
        The codec, and True if its weights are random.
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
    """A packet that goes on a sequence, and its state, on the device.

    Coded as by the official encoder: without RDOQ and without skipped blocks.

    Attributes:
        loaded: the network that codes it.
        pictures: [1, T, H', W', 3].
        state: left by the packet before it.
        size: (width, height) before padding.
    """

    loaded: LoadedNetwork
    pictures: Array
    state: State
    size: tuple[int, int]

    @classmethod
    def of(cls, codec: Codec, width: int, height: int) -> "Subject":
        """Make the packet of a picture size, and code the one before it, which follows original pictures."""
        loaded = codec.networks(DEFAULT_SKIP_THRESHOLD, skip_blocks=False)[codec.stored.config.rest]
        network, count = loaded.network, loaded.network.config.pictures
        frames = list(moving_picture(width, height, 3 * count))
        original, before, pictures = (upload(frames[i : i + count]) for i in range(0, 3 * count, count))
        state = network.start(to_precision(original, network.picture_type(dtype(loaded.params))))
        first = cls(loaded, before, state, (width, height))
        _, feature, decoded = code_packet(loaded, *first.inputs)
        return dataclasses.replace(first, pictures=pictures, state=network.advance(state, feature, lambda: decoded))

    @property
    def count(self) -> int:
        """Number of pictures of the packet."""
        return self.loaded.network.config.pictures

    @property
    def pixels(self) -> int:
        """Number of pixels of the packet, before padding."""
        return self.count * self.size[0] * self.size[1]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Arguments of `code_packet` after the network."""
        qps = batched((QP,) * self.count)
        return self.loaded.params, self.pictures, self.state, qps

    def encode(self) -> tuple[CodedSymbols, Synthesis]:
        """Code the pictures. Nothing waits."""
        return encode(self.loaded, *self.inputs[1:])

    def network_encode(self) -> Any:
        """Run all of encoding but the entropy coder, and wait."""
        symbols, synthesis = self.encode()
        packed = symbols.pack()
        synthesis.feature.block_until_ready()
        return packed.to_host()

    def sides(self) -> dict[str, Callable[[], Any]]:
        """All of the network on each side, "encode" and "decode", without the entropy coder."""
        symbols = jax.device_get(self.encode()[0])
        return {"encode": self.network_encode, "decode": lambda: self.network_decode(symbols)}

    def network_decode(self, symbols: CodedSymbols) -> Array:
        """Run all of decoding but the entropy coder; symbols: on the host, of a batch of one."""
        *_, qps = self.inputs
        latent_size = tuple(side // PICTURE_STRIDE for side in self.pictures.shape[2:4])
        given = Given(self.loaded.network, symbols, to_host)
        return self.loaded.reconstruct(code(self.loaded, self.state, qps, latent_size, given), qps)


def code_packet(loaded: LoadedNetwork, params: ParamTree, pictures: Array, state: State, qps: Array) -> Any:
    """Encode a packet on the device, and give symbols, decoder feature, and decoded pictures."""
    loaded = dataclasses.replace(loaded, params=params)
    symbols, synthesis = encode(loaded, pictures, state, qps)
    return symbols, synthesis.feature, loaded.reconstruct(synthesis, qps)


def moving_picture(width: int, height: int, frames: int) -> Iterator[YuvFrame]:
    """Make a random picture with large and small shapes that moves by one pixel per frame, and a little noise."""
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
