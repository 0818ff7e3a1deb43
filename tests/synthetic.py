"""A tiny codec and moving pictures made from seeds: bit for bit the same with every version of every library.

Only raw Philox words and +, -, *, / are used; random distributions and sines may change from version to version.
"""

import dataclasses
import zlib

import numpy as np

from nvc_jax.codec.store import StoredModel, make_model
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import CodecConfig, MotionInterConfig
from nvc_jax.models.params import parameter_shapes, unflatten
from nvc_jax.video import YuvFrame, chroma_size


def uniform(name: str, shape: tuple[int, ...], low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Uniform float64 numbers that depend on nothing but the name."""
    words = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    return low + (high - low) * ((words >> np.uint64(11)) * 2.0**-53).reshape(shape)


def tiny_model(motion: bool = False, residual: bool = False) -> StoredModel:
    """The configuration `tiny` with random weights that give symbols and scales of many sizes.

    `residual`: the form of motion that the default model has, of differences, with merged vectors and fine pictures.
    """
    if not (motion or residual):
        return model_of(tiny)
    moving = MotionInterConfig(**vars(tiny["inter"]), residual=residual, merged=residual, fine_pictures=residual)
    intra = dataclasses.replace(tiny["intra"], fine_pictures=residual)
    return model_of(dataclasses.replace(tiny, networks=(("intra", intra), ("inter", moving))))


def model_of(config: CodecConfig) -> StoredModel:
    """Any configuration, likewise."""
    parameters = {n: _parameter(n, s) for n, s in parameter_shapes(config).items()}
    for name, network in config.networks:
        if getattr(network, "residual", False):  # no part of the picture is its mean
            parameters[f"{name}/recon_out/bias"] -= np.float32(_OFFSETS["recon_out"])
    return make_model(config, unflatten(parameters), "synthetic")


# By a part of the name, the first that fits: factors of kernels and offsets of biases. Residual branches and shortcuts
# grow slowly; latents, scales and pictures come into their ranges.
_FACTORS = {
    "intra/decoder_out/adaptor": 0.15, "inter/decoder_out": 0.5, "pair/decoder_out": 0.5, "two/decoder_out": 0.5,
    "recon_out": 0.15, "encoder_down": 4.0, "pointwise_out": 0.3, "ffn": 0.4, "down": 0.6, "up": 0.6,
    "fusion_out": 0.5, "spatial_out": 0.5,
}  # fmt: skip
_OFFSETS = {"intra/decoder_out/adaptor": 0.5, "recon_out": 0.5, "fusion_out": 0.8, "spatial_out": 0.8}


def _parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    noise = uniform(name, shape)
    if "z_prior" in name:
        values = 0.5 * noise
    elif "q_encoder" in name:  # more symbols at a larger qp
        values = 0.4 + 1.2 * np.arange(shape[0])[:, None] / shape[0] + 0.1 * noise
    elif name.endswith("vectors"):
        values = 1.0 + 0.1 * noise
    elif "bias" in name:
        values = _first(_OFFSETS, name, 0.0) + 0.1 * noise
    else:  # variance 1 / (number of inputs)
        inputs = np.prod(shape[:2] if "depthwise" in name else shape[:-1])
        values = _first(_FACTORS, name, 1.0) * np.sqrt(3.0 / inputs) * noise
    return values.astype(np.float32)


def _first(table: dict[str, float], name: str, default: float) -> float:
    return next((value for part, value in table.items() if part in name), default)


def moving_picture(width: int, height: int, count: int, seed: int = 0) -> list[YuvFrame]:
    """A random picture, blurred, that moves by one pixel per frame, and a little noise."""
    columns, rows = chroma_size(width, height)

    def plane(name: str, w: int, h: int, t: int) -> np.ndarray:
        coarse = uniform(f"{name} {seed}", (h // 4 + 3, (w + count) // 4 + 3), 30, 225)
        x, y = (np.arange(n) / 4 for n in (w + count, h))
        rows_blended = _blend(coarse, y)
        fine = _blend(rows_blended.T, x).T[:, t : t + w]
        noise = uniform(f"{name} noise {seed} {t}", (h, w), -3, 3)
        return np.floor(fine + noise + 0.5).astype(np.uint8)

    sizes = {"y": (width, height), "u": (columns, rows), "v": (columns, rows)}
    return [YuvFrame(*(plane(name, *size, t) for name, size in sizes.items())) for t in range(count)]


def _blend(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rows of `values` at fractional positions, linearly interpolated."""
    low = np.floor(positions).astype(int)
    fraction = (positions - low)[:, None]
    return values[low] * (1 - fraction) + values[low + 1] * fraction
