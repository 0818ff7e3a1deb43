"""PSNR and MS-SSIM by the rules of the official test (spec 10), compiled.

The decoded picture is clamped to 0..255 but not rounded. Row sums in float32 on the device, added in float64 on the
host, keep PSNR within 1e-6 dB of float64 throughout.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from nvc_jax.ops import colour
from nvc_jax.ops.arithmetic import to_precision
from nvc_jax.ops.pixels import pad_to_multiple
from nvc_jax.video import Frame, RgbFrame, YuvFrame
from nvc_jax.video.quality import MAX_PSNR

Planes = Array | npt.NDArray[np.uint8]

MIN_SIDE = 88  # pixels of a plane; MS-SSIM is not defined below
_FIVE_SCALES_FROM = 176  # pixels of the shorter side; four scales below
_SCALE_WEIGHTS = {5: (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), 4: (0.0517, 0.3295, 0.3462, 0.2726)}
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_PLANE_WEIGHTS = np.array([6, 1, 1]) / 8  # Y, U, V
_SHIFT = 128.0  # subtracted before variances, which it leaves the same, against cancellation


@dataclasses.dataclass(frozen=True)
class Quality:
    """PSNR and MS-SSIM of a decoded picture.

    Attributes:
        psnr: dB, capped at 99.9: (6:1:1, Y, U, V) for 4:2:0 sources, (RGB,) for RGB sources.
        msssim: likewise, at most 1. None for planes below 88 pixels on a side, for which it is not defined; the first
            value is the weighted mean of the others.
    """

    psnr: tuple[float, ...]
    msssim: tuple[float | None, ...]

    @property
    def finite(self) -> bool:
        """No value is NaN or infinite."""
        return bool(np.isfinite([value for value in (*self.psnr, *self.msssim) if value is not None]).all())


def picture_quality(picture: Array, source: Frame) -> Quality:
    """Compare a decoded picture with its source.

    Args:
        picture: [1, H', W', 3] YCbCr, padded, not rounded: in 0..1, int16 in 1/512 or uint16 in 1/4096.
        source: H x W.
    """
    width, height = source.size
    if isinstance(source, RgbFrame):
        return _rgb_quality(_rgb_planes(picture, width, height), source)
    luma, chroma = _yuv_planes(picture, width, height)
    return _yuv_quality(luma, chroma, source)


def frame_quality(decoded: YuvFrame, source: YuvFrame) -> Quality:
    """Compare two 8-bit frames."""
    return _yuv_quality(decoded.y[None], np.stack([decoded.u, decoded.v]), source)


def _yuv_quality(luma: Planes, chroma: Planes, source: YuvFrame) -> Quality:
    pairs = [(luma, source.y[None]), (chroma, np.stack([source.u, source.v]))]
    mse, similarities = zip(*(_compare(*pair) for pair in pairs), strict=True)
    psnr = _decibels(np.concatenate(mse))
    luma_msssim, chroma_msssim = (None if values is None else values.tolist() for values in similarities)
    msssim = [*(luma_msssim or [None]), *(chroma_msssim or [None, None])]
    return Quality((float(_PLANE_WEIGHTS @ psnr), *psnr.tolist()), (_weighted(msssim), *msssim))


def _weighted(planes: Sequence[float | None]) -> float | None:
    """Weighted mean of the planes with a value."""
    known = [(weight, value) for weight, value in zip(_PLANE_WEIGHTS, planes, strict=True) if value is not None]
    return float(sum(w * v for w, v in known) / sum(w for w, _ in known)) if known else None


def _rgb_quality(decoded: Planes, source: RgbFrame) -> Quality:
    mse, msssim = _compare(decoded, np.ascontiguousarray(source.rgb.transpose(2, 0, 1)))
    return Quality((float(_decibels(mse.mean())),), (None if msssim is None else float(msssim.mean()),))


def _decibels(mse: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """PSNR from MSE; NaN stays NaN."""
    return np.minimum(MAX_PSNR, 10.0 * np.log10(255.0**2 / np.maximum(mse, 1e-10)))


def _compare(decoded: Planes, source: Planes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """MSE [N] of planes [N, H, W], and MS-SSIM [N], None where it is not defined."""
    squared, similarity = _compare_on_device(decoded, source)
    pixels = source.shape[1] * source.shape[2]
    mse = np.asarray(squared, np.float64).sum(axis=1) / pixels
    return mse, None if similarity is None else np.asarray(similarity, np.float64)


@functools.partial(jax.jit, static_argnames=("width", "height"))
def _yuv_planes(picture: Array, width: int, height: int) -> tuple[Array, Array]:
    """Luma [1, H, W] and both chroma planes [2, ceil(H/2), ceil(W/2)] in 0..255."""
    y, u, v = colour.split_planes(picture[:, :height, :width])
    return jnp.clip(y * 255.0, 0, 255), jnp.clip(jnp.concatenate([u, v]) * 255.0, 0, 255)


@functools.partial(jax.jit, static_argnames=("width", "height"))
def _rgb_planes(picture: Array, width: int, height: int) -> Array:
    """[3, H, W] in 0..255."""
    rgb = colour.ycbcr_to_rgb(to_precision(picture[0, :height, :width], jnp.float32))
    return jnp.clip(rgb * 255.0, 0, 255).transpose(2, 0, 1)


@jax.jit
def _compare_on_device(decoded: Array, source: Array) -> tuple[Array, Array | None]:
    """Row sums of squared errors [N, H], and MS-SSIM [N], of planes [N, H, W] in 0..255."""
    decoded, source = decoded.astype(jnp.float32), source.astype(jnp.float32)
    return jnp.square(decoded - source).sum(axis=2), _msssim(decoded, source)


def _msssim(a: Array, b: Array) -> Array | None:
    side = min(a.shape[1:])
    if side < MIN_SIDE:
        return None
    weights = _SCALE_WEIGHTS[5 if side >= _FIVE_SCALES_FROM else 4]
    result = jnp.ones(len(a))
    for scale, weight in enumerate(weights):
        if scale > 0:
            a, b = _halve(a), _halve(b)
        luminance, contrast = _ssim_maps(a, b)
        if scale + 1 == len(weights):
            contrast = luminance * contrast
        # Mean of row means: one float32 sum over all pixels would lose digits. A negative mean has no real power.
        mean = contrast.mean(axis=2).mean(axis=1)
        result = result * jnp.where(mean < 0, 0.0, mean) ** weight
    return result


def _ssim_maps(a: Array, b: Array) -> tuple[Array, Array]:
    """The luminance and the contrast-structure term at every position of the window inside the planes."""
    a, b = a - _SHIFT, b - _SHIFT
    mean_a, mean_b, square_a, square_b, product = _blur(jnp.stack([a, b, a * a, b * b, a * b]))
    variances = square_a - mean_a**2 + square_b - mean_b**2
    covariance = product - mean_a * mean_b
    mean_a, mean_b = mean_a + _SHIFT, mean_b + _SHIFT
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _blur(x: Array) -> Array:
    """Gaussian window over the last two axes, without padding, as shifted multiply-adds."""
    distance = np.arange(_WINDOW) - _WINDOW // 2
    taps = np.exp(-(distance**2) / (2 * _SIGMA**2))
    taps = (taps / taps.sum()).astype(np.float32)
    rows, columns = (side - _WINDOW + 1 for side in x.shape[-2:])
    x = sum(tap * x[..., i : i + rows, :] for i, tap in enumerate(taps))
    return sum(tap * x[..., i : i + columns] for i, tap in enumerate(taps))


def _halve(x: Array) -> Array:
    """Mean of 2x2 pixels; an odd last row or column is repeated."""
    x = pad_to_multiple(x[..., None], 2)[..., 0]
    n, h, w = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2).mean(axis=(2, 4))
