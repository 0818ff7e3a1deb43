"""docs/INT16.md in plain NumPy and int64: an independent encoder and decoder for small pictures.

Nothing of the networks of the package is used; entropy coding is left out (symbols go from encoder to decoder).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Parameters = dict[str, np.ndarray]
ACTIVE = {2: [[0, 1, 1, 0], [1, 0, 0, 1]], 4: [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1], [1, 0, 3, 2]]}
HASHES = {  # of section 3
    "W9": "578f6d0b2ec335ff4e2448557472687fa9be6e6944394bd2e5d8d13f3c9d1b05",
    "W8": "2ee98349aca4f3c463c60b68def76181ae8ed558ebb2bd63cbde93cfc39cf14a",
    "G": "9720ca774574af0658f36fb269029cbed99bdbe141497fca731b51272682a87b",
    "S": "f6c653fdb4d3e50723e5d263347a4a9556dab45126f4334bb53d27b1f495e49b",
}


def tables() -> dict[str, np.ndarray]:
    """W9, W8, G and S of section 3, checked against their hashes."""
    i = [np.arange(n, dtype=np.longdouble) for n in (1024, 4096, 8137, 512)]
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    scale = np.floor(127 * np.log((i[2] + 56) / 512 / np.longdouble("0.11")) / np.log(16 / np.longdouble("0.11")))
    scale[0], scale[-1] = 0, 127
    result = {
        "W9": np.floor(i[0] * (1 - sigmoid(4 * i[0] / 512)) + 0.5).astype("u1"),
        "W8": np.floor(i[3] * (1 - sigmoid(4 * i[3] / 256)) + 0.5).astype("u1"),
        "G": np.floor(768 * (sigmoid(i[1] / 512) - 0.5) + 0.5).astype("<i2"),
        "S": scale.astype("u1"),
    }
    assert {name: hashlib.sha256(table.tobytes()).hexdigest() for name, table in result.items()} == HASHES
    return {name: table.astype(np.int64) for name, table in result.items()}


TABLES = tables()


def saturate(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -32768, 32767)


def rd(x: np.ndarray, n: int | np.ndarray) -> np.ndarray:
    """Half away from zero, by magnitude and sign."""
    return np.sign(x) * ((np.abs(x) + 2 ** (n - 1)) // 2**n)


def times(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return saturate(rd(x * gain, 9))


def wsilu(x: np.ndarray, unit: int) -> np.ndarray:
    return np.maximum(x, 0) - TABLES[f"W{unit}"][np.minimum(np.abs(x), 2 ** (unit + 1) - 1)]


def to_depth(x: np.ndarray, n: int) -> np.ndarray:
    b, h, w, c = x.shape
    return np.einsum("bhywxc->bhwcyx", x.reshape(b, h // n, n, w // n, n, c)).reshape(b, h // n, w // n, c * n * n)


def to_space(x: np.ndarray, n: int) -> np.ndarray:
    b, h, w, c = x.shape
    return np.einsum("bhwcyx->bhywxc", x.reshape(b, h, w, c // n**2, n, n)).reshape(b, h * n, w * n, c // n**2)


def pad(x: np.ndarray, n: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, -x.shape[1] % n), (0, -x.shape[2] % n), (0, 0)), mode="edge")


def windows(x: np.ndarray) -> np.ndarray:
    """[B, H, W, 3, 3, C]: the 3x3 neighbourhoods, zeros outside."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.einsum("bhwcyx->bhwyxc", np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)))


@dataclass
class Network:
    """One network: the blocks of section 4 by the names of their parameters."""

    parameters: Parameters
    qp: int = 0
    white: int = 512

    def _finish(self, total: np.ndarray, name: str, suffix: str = "") -> np.ndarray:
        bits, bias = (self.parameters[f"{name}/{part}{suffix}"].astype(np.int64) for part in ("bits", "bias"))
        return saturate(rd(total + bias, bits))

    def conv(self, name: str, x: np.ndarray, suffix: str = "") -> np.ndarray:
        kernel = self.parameters[f"{name}/kernel{suffix}"].astype(np.int64)
        return self._finish(x @ kernel, name, suffix)

    def conv3x3(self, name: str, x: np.ndarray, stride: int = 1) -> np.ndarray:
        kernel = self.parameters[f"{name}/kernel"].astype(np.int64)
        total = np.einsum("bhwyxc,yxcn->bhwn", windows(x)[:, ::stride, ::stride], kernel)
        return self._finish(total, name)

    def depthwise(self, name: str, x: np.ndarray) -> np.ndarray:
        kernel = self.parameters[f"{name}/kernel"].astype(np.int64)
        return self._finish(np.einsum("bhwyxc,yxc->bhwc", windows(x), kernel), name)

    def block(self, name: str, x: np.ndarray, shortcut: bool = False) -> np.ndarray:
        unit = int(self.parameters[f"{name}/unit"])
        if f"{name}/adaptor/kernel" in self.parameters:
            x = self.conv(f"{name}/adaptor", x)
        h = self.depthwise(f"{name}/depthwise", wsilu(self.conv(f"{name}/pointwise_in", x), unit))
        h = saturate(self.conv(f"{name}/pointwise_out", h) + x)
        middle = wsilu(self.conv(f"{name}/ffn", h, "_in"), unit)
        half = middle.shape[-1] // 2
        y = saturate(h + self.conv(f"{name}/ffn", saturate(middle[..., :half] + middle[..., half:]), "_out"))
        return saturate(y + x) if shortcut else y

    def blocks(self, name: str, x: np.ndarray) -> np.ndarray:
        number = 0
        while f"{name}_{number}/pointwise_in/kernel" in self.parameters:
            x = self.block(f"{name}_{number}", x)
            number += 1
        return x

    def down(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.block(f"{name}/block", self.conv(f"{name}/down", to_depth(x, 2)), shortcut=True)

    def up(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.block(f"{name}/block", to_space(self.conv(f"{name}/up", x), 2), shortcut=True)

    def bank(self, name: str, x: np.ndarray) -> np.ndarray:
        return times(x, self.parameters[f"{name}/vectors"][self.qp].astype(np.int64))

    def hyper_encode(self, y: np.ndarray) -> np.ndarray:
        x = self.down("hyper_encoder/down_0", self.block("hyper_encoder/block", pad(y, 4)))
        return self.down("hyper_encoder/down_1", x)

    def hyper_decode(self, z: np.ndarray) -> np.ndarray:
        x = self.up("hyper_decoder/up_1", self.up("hyper_decoder/up_0", 256 * z))
        return self.block("hyper_decoder/block", x)


class Intra(Network):
    steps = 4

    def analyse(self, picture, context):
        x = self.bank("q_encoder", self.block("encoder_in", to_depth(picture, 8)))
        return self.conv3x3("encoder_down", self.blocks("encoder_blocks", x), stride=2)

    def prior(self, z, temporal, h, w):
        x = self.conv("fusion_out", self.blocks("fusion_blocks", self.hyper_decode(z)))[:, :h, :w]
        gains = 640 + np.sign(x[..., :2]) * TABLES["G"][np.minimum(np.abs(x[..., :2]), 4095)]
        scale, mean = np.split(x[..., 2:], 2, axis=-1)
        return (lambda y: times(y, gains[..., :1])), gains[..., 1:], scale, mean, self.conv("spatial_reduction", x)

    def refine(self, step, y_hat, shared):
        x = self.block(f"spatial_adaptors_{step - 1}", np.concatenate([y_hat, shared], axis=-1))
        return np.split(self.conv("spatial_out", self.blocks("spatial_blocks", x)), 2, axis=-1)

    def synthesise(self, y_hat, context):
        return self.bank("q_decoder", self.blocks("decoder_blocks", self.up("decoder_up", y_hat)))

    def reconstruct(self, feature, added=0):
        return np.clip(saturate(to_space(self.block("decoder_out", feature), 8) + added), 0, self.white)


class Inter(Network):
    steps = 2

    def features(self, reference, kind):
        if kind == "picture":
            x = self.block("adaptor_picture", to_depth(reference, 8))
        else:
            x = self.conv("adaptor_feature", reference)
        x = self.blocks("extractor_prior", x)
        return self.blocks("extractor_context", x), self.bank("q_feature", x)

    def analyse(self, picture, context):
        x = np.concatenate([self.conv("encoder_in", to_depth(picture, 8)), context], axis=-1)
        return self.conv3x3("encoder_down", self.bank("q_encoder", self.blocks("encoder_blocks", x)), stride=2)

    def prior(self, z, temporal, h, w):
        x = np.concatenate([self.hyper_decode(z)[:, :h, :w], self.down("temporal_prior", temporal)], axis=-1)
        shared = self.conv("fusion_out", self.blocks("fusion_blocks", x))
        quant_step, scale, mean = np.split(shared, 3, axis=-1)
        quant_step = np.maximum(quant_step, 256)

        def divide(y):
            return saturate(np.sign(y) * ((2 * 512 * np.abs(y) + quant_step) // (2 * quant_step)))

        return divide, quant_step, scale, mean, shared

    def refine(self, step, y_hat, shared):
        x = self.blocks("spatial_blocks", np.concatenate([y_hat, shared], axis=-1))
        return np.split(self.conv("spatial_out", x), 2, axis=-1)

    def synthesise(self, y_hat, context):
        x = np.concatenate([to_space(self.conv3x3("decoder_up", y_hat), 2), context], axis=-1)
        return self.bank("q_decoder", self.conv("decoder_out", self.blocks("decoder_blocks", x)))

    def reconstruct(self, feature, added=0):
        x = self.bank("q_recon", self.blocks("recon_blocks", feature))
        return np.clip(saturate(to_space(self.conv("recon_out", x), 8) + added), 0, self.white)


@dataclass
class Coded:
    """Symbols and table rows of a frame, each [C, h, w], and the decoder feature."""

    z: np.ndarray
    planes: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    feature: np.ndarray | None = None

    def plane(self, step: int, rows: np.ndarray) -> np.ndarray:
        """Symbols of a coding step, whose table rows are known."""
        return self.planes[step][0]


def code(network, picture, reference, threshold: float | None, skipped=None, symbols: Any = None) -> Coded:
    """Encode a picture [1, H, W, 3]; with `symbols` of an earlier call decode them (of `picture` only the size counts).

    reference: None, or a value and its kind; skipped: [H/16, W/16], where nothing of y is coded.
    """
    h, w = picture.shape[1] // 16, picture.shape[2] // 16
    context, temporal = network.features(*reference) if reference else (None, None)
    if symbols is None:
        y = network.analyse(picture, context)
        z = np.clip(rd(network.hyper_encode(y), 8), -128, 127)
    else:
        z = symbols.z.transpose(1, 2, 0)[None]
    normalise, gain_out, scale, mean, shared = network.prior(z, temporal, h, w)
    result = Coded(z[0].transpose(2, 0, 1))
    y_hat = np.zeros(mean.shape, np.int64)
    for step in range(network.steps):
        if step:
            scale, mean = network.refine(step, y_hat, shared)
        part = np.tile(np.array(ACTIVE[network.steps][step]).reshape(2, 2), (h, w))[:h, :w]
        channels = mean.shape[-1] // network.steps
        number = np.arange(mean.shape[-1]) // channels
        active = number == part[..., None]  # [h, w, C]

        def folded(x, active=active, channels=channels):
            return np.where(active, x[0], 0).reshape(h, w, -1, channels).sum(axis=2).transpose(2, 0, 1)

        clamped = np.clip(folded(scale), 56, 8192)
        coded = clamped > (-1 if threshold is None else math.floor(512 * threshold + 0.5))
        if skipped is not None:
            coded &= ~skipped
        rows = np.where(coded, TABLES["S"][clamped - 56], 255)
        if symbols is None:
            residual = folded(normalise(y)) - folded(mean)
            q = np.where(coded, np.clip(rd(residual, 8), -128, 127), 0)
        else:
            q = symbols.plane(step, rows)
        spread = np.tile(q.transpose(1, 2, 0), network.steps)
        y_hat = y_hat + np.where(active, saturate(256 * spread + mean), 0)
        result.planes.append((q, rows))
    result.feature = network.synthesise(times(y_hat, gain_out), context)
    return result


def picture_from_planes(y: np.ndarray, u: np.ndarray, v: np.ndarray, white: int = 512) -> np.ndarray:
    """8-bit 4:2:0 planes to a padded picture [1, H', W', 3]."""
    h, w = y.shape
    planes = [y, *(np.kron(c, np.ones((2, 2), np.int64))[:h, :w] for c in (u, v))]
    samples = np.stack([plane.astype(np.int64) for plane in planes], axis=-1)[None]
    return pad((2 * white * samples + 255) // 510, 16)


def planes_from_picture(picture: np.ndarray, width: int, height: int, white: int = 512) -> tuple[np.ndarray, ...]:
    """A picture, cropped, as 8-bit planes."""
    picture = picture[:, :height, :width]
    even = pad(picture[..., 1:], 2)
    total = even[0, ::2, ::2] + even[0, 1::2, ::2] + even[0, ::2, 1::2] + even[0, 1::2, 1::2]
    chroma = (510 * total + 4 * white) // (8 * white)
    luma = (510 * picture[0, ..., 0] + white) // (2 * white)
    return tuple(x.astype(np.uint8) for x in (luma, chroma[..., 0], chroma[..., 1]))


PHASES = [[0, 0, 64, 0, 0, 0], [1, -5, 52, 20, -5, 1], [2, -10, 40, 40, -10, 2], [1, -5, 20, 52, -5, 1]]


def compensate(picture: np.ndarray, vectors: np.ndarray, white: int = 512) -> np.ndarray:
    """Section 6, pixel by pixel. picture: [1, H, W, 3]; vectors: [H/16, W/16, 2]."""
    _, height, width, _ = picture.shape
    source, result = picture[0].astype(np.int64), np.zeros(picture.shape, np.int64)
    for y in range(height):
        for x in range(width):
            dy, dx = (int(d) for d in vectors[y // 16, x // 16])
            rows = np.clip(y + dy // 4 + np.arange(-2, 4), 0, height - 1)
            columns = np.clip(x + dx // 4 + np.arange(-2, 4), 0, width - 1)
            around = source[np.ix_(rows, columns)]
            total = np.einsum("i,ijc,j->c", PHASES[dy % 4], around, PHASES[dx % 4])
            result[0, y, x] = np.clip((total + 2048) // 4096, 0, white)
    return result


RAMPS = [
    [74, 59, 45, 35, 29, 24, 18, 14],
    [68, 44, 26, 17, 13, 10, 8, 6],
    [60, 24, 6, 5, 3, 3, 3, 3],
    [49, 11, 0, 3, 0, 0, 0, 0],
    [13, -3, 1, 0, 0, 0, 0, 0],
]
CAPS, ENDS = [128, 128, 96, 77, 51], [384, 384, 288, 512, 1024]


def deblock(
    picture: np.ndarray, qp: int, strength: int, moves: np.ndarray | None = None, white: int = 512
) -> np.ndarray:
    """Section 7, edge by edge. picture: [1, H, W, 3]; moves: [H/16, W/16, 3], None in an intra frame."""
    part = 2**8 * 512 // white
    size = (strength * round(4096 * 2 ** (-qp / 22)) + part // 2) // part

    def below(plane: np.ndarray, moves: np.ndarray | None) -> np.ndarray:
        """The edges between rows of blocks."""
        out = plane.copy()
        for edge in range(16, len(plane), 16):
            for x in range(0, plane.shape[1], 4):
                r = size
                if moves is not None:
                    a, b = moves[edge // 16 - 1, x // 16], moves[edge // 16, x // 16]
                    r = (size + 2) >> 2 if a[2] != 0 and (a == b).all() else size
                lines = plane[edge - 8 : edge + 8, x : x + 4].astype(np.int64)
                p, q = lines[7::-1], lines[8:]
                curvature = np.abs(p[2] - 2 * p[1] + p[0]) + np.abs(q[2] - 2 * q[1] + q[0])
                chosen = sum(int(256 * curvature.sum() >= bound * r) for bound in (10, 26, 64, 128))
                cap, end = ((value[chosen] * r + 512) >> 10 for value in (CAPS, ENDS))
                step = (9 * (q[0] - p[0]) - 3 * (q[1] - p[1]) + 8) >> 4
                magnitude = np.abs(step)
                step = np.sign(step) * np.minimum(np.minimum(magnitude, cap), np.maximum(end - magnitude, 0))
                for k, weight in enumerate(RAMPS[chosen]):
                    moved = (weight * step + 32) >> 6
                    out[edge - 1 - k, x : x + 4] = np.clip(p[k] + moved, 0, white)
                    out[edge + k, x : x + 4] = np.clip(q[k] - moved, 0, white)
        return out

    turned = None if moves is None else moves.swapaxes(0, 1)
    planes = (below(below(plane.T, turned).T, moves) for plane in np.moveaxis(picture[0], -1, 0))
    return np.stack(list(planes), axis=-1)[None]


def code_sequence(
    parameters: Parameters,
    frames: Sequence,
    plans: Sequence,
    threshold: float | None,
    motion: Sequence | None = None,
    deblocking: int = 0,
    residual: bool = False,
    fine: bool = False,
):
    """Code frames as planned, decoding each as well: yields its symbols and its decoded planes.

    parameters: by names such as `inter/encoder_in/kernel`; plans: with start, qps and refresh; motion: of a codec with
    motion, for every frame, [H/16, W/16, 3]; deblocking: of both networks; residual: of the second one; fine: pictures
    of both.
    """
    white = 4096 if fine else 512
    networks = {
        name: kind(
            {n.removeprefix(f"{name}/"): p for n, p in parameters.items() if n.startswith(f"{name}/")}, white=white
        )
        for name, kind in (("intra", Intra), ("inter", Inter))
    }
    reference = None
    picture = None
    for frame, plan, moves in zip(frames, plans, motion or [None] * len(frames), strict=True):
        network = networks["intra" if plan.start else "inter"]
        if plan.refresh:
            reference = picture, "picture"
        skipped = None
        if not plan.start and moves is not None:
            reference, skipped = (compensate(picture, moves[..., :2], white), "picture"), moves[..., 2] != 0
        (network.qp,) = map(int, plan.qps)
        source = picture_from_planes(frame.y, frame.u, frame.v, white)
        used = None if plan.start else reference
        added = used[0] if residual and not plan.start else 0
        source = saturate(source - added)
        coded = code(network, source, used, threshold, skipped)
        decoded = code(network, source, used, threshold, skipped, coded)
        np.testing.assert_array_equal(coded.feature, decoded.feature)
        picture = network.reconstruct(coded.feature, added)
        if skipped is not None:
            picture = np.where(np.kron(skipped, np.ones((16, 16), bool))[None, ..., None], used[0], picture)
        if deblocking:
            picture = deblock(picture, network.qp, deblocking, None if plan.start else moves, white)
        reference = (picture, "picture") if plan.start else (coded.feature, "feature")
        yield coded, planes_from_picture(picture, frame.y.shape[1], frame.y.shape[0], white)
