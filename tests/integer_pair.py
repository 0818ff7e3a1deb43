"""Decoder of UI2C in int16, in plain NumPy and int64 (docs/INT16.md, docs/UI2C.md), beside `integer_codec.py`.

Nothing of the networks of the package is used; symbols are read from payloads by its entropy coder.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from integer_codec import Inter, Parameters, code, planes_from_picture, times, to_depth, to_space


class Pair(Inter):
    """Two pictures as one of six channels; `qp` is that of each."""

    qp: Sequence[int]

    def bank(self, name, x):
        """Each picture has the row of its qp in its half of the channels."""
        halves = np.split(self.parameters[f"{name}/vectors"].astype(np.int64), 2, axis=-1)
        return times(x, np.concatenate([half[qp] for half, qp in zip(halves, self.qp, strict=True)]))

    def features(self, reference, kind):
        if kind == "feature":
            return super().features(reference, kind)
        x = self.blocks("adaptor_blocks", self.block("adaptor_picture", to_depth(reference, 8)))
        x = self.blocks("extractor_prior", x)
        return self.blocks("extractor_context", x), self.bank("q_feature", x)

    def reconstruct(self, feature):
        """[1, H, W, 6], by one stack and head or by one for each picture."""
        if "recon_out/kernel" in self.parameters:
            return super().reconstruct(feature)
        count = sum(
            name.startswith("recon_blocks") and name.endswith("pointwise_in/kernel") for name in self.parameters
        )
        vectors = np.split(self.parameters["q_recon/vectors"].astype(np.int64), 2, axis=-1)
        pictures = []
        for number, (rows, qp) in enumerate(zip(vectors, self.qp, strict=True)):
            x = feature
            for block in range(number * count // 2, (number + 1) * count // 2):
                x = self.block(f"recon_blocks_{block}", x)
            pictures.append(to_space(self.conv(f"recon_out_{number}", times(x, rows[qp])), 8))
        return np.clip(np.concatenate(pictures, axis=-1), 0, 512)


class Payload:
    """Symbols of a packet, read as their table rows become known."""

    def __init__(self, decoder, qp: int, shape: tuple[int, int, int]) -> None:
        self._decoder = decoder
        self.z = decoder.z(qp, shape).astype(np.int64)

    def plane(self, step: int, rows: np.ndarray) -> np.ndarray:
        symbols = self._decoder.plane(np.ascontiguousarray(rows, np.uint8)).astype(np.int64)
        if step == 1:
            self._decoder.finish()
        return symbols


def decode(parameters: Parameters, packets, open_payload, threshold: float) -> Iterator[tuple[np.ndarray, ...]]:
    """The planes of every picture of a sequence.

    parameters: by names such as `pair/encoder_in/kernel`; packets: as the reader of the container gives them;
    open_payload: starts the entropy decoder of a payload.
    """
    network = Pair({name.removeprefix("pair/"): value for name, value in parameters.items()})
    reference = None
    for packet in packets:
        network.qp = [round(qp) for qp in (*packet.qps, packet.qps[-1])[:2]]  # a missing picture repeats the last one
        height, width = (side + -side % 16 for side in (packet.height, packet.width))
        if packet.start:
            reference = np.zeros((1, height, width, 3), np.int64), "picture"
        hyper = parameters["pair/hyper_encoder/down_1/block/ffn/bias_out"].size
        shape = hyper, math.ceil(height / 64), math.ceil(width / 64)
        payload = Payload(open_payload(packet.payload), network.qp[-1], shape)
        coded = code(network, np.zeros((1, height, width, 6), np.int64), reference, threshold, symbols=payload)
        pictures = network.reconstruct(coded.feature)
        for number in range(len(packet.qps)):
            yield planes_from_picture(pictures[..., 3 * number : 3 * number + 3], packet.width, packet.height)
        reference = coded.feature, "feature"
