"""Initialise the networks as a transform codec.

Every DC block of the picture path starts as the identity, the 1x1 convolutions at the borders as a DCT, the stride-2
convolutions as a KLT of 2x2 DCT patches, and the inter codec as a coder of frame differences with a quantisation step
size per qp. This spares a small model learning the transform.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.errors import ConfigError
from nvc_jax.models.config import PATCH_CHANNELS, CodecConfig, IntraConfig
from nvc_jax.models.params import ParamTree, flatten, initialise, unflatten
from nvc_jax.spec import QP_LEVELS

Matrix = npt.NDArray[np.float64]

COEFFICIENTS = 96  # of an 8x8 patch: 64 luma and, as chroma is 4:2:0, twice 16
CHROMA_WEIGHT = 0.4  # share of a chroma coefficient's error in the distortion, against luma
STEP_SQUARED_TIMES_LAMBDA = 3.46  # where the slope of 6 dB per bit balances lambda * distortion
INTER_GAIN = 18.0  # keeps the smallest step size of the inter codec above its lower bound
CARRIED_STEP_UNIT = 8.0  # scales the step sizes that pass through the inter networks to about 1
# Symbols should stay below 60: they are int8, and int16 latents end at 64. Intra features beyond that at the smallest
# step sizes take larger ones: the mean of a 16x16 patch reaches +-8, its slopes about +-3.
SMALLEST_INTRA_STEPS = {0: 8.0 / 60.0, 1: 3.0 / 60.0, 8: 3.0 / 60.0}
SMALLEST_DEVIATION = 0.02  # of a coefficient, to bound the scaling of features
# Learning-rate multiples by substrings of parameter names (`Optimiser.scales`). Measured: the sensitivity of the loss
# to perturbations differs a hundredfold between kernels that carry the transform from the start and those of the
# blocks, which start at zero.
SCALES = (
    ("vectors", 0.5),
    ("inter/q_", 0.15),
    ("z_prior", 10.0),
    ("intra/decoder_up/up", 0.1),
    ("intra/decoder_out/adaptor/kernel", 0.15),
    ("intra/encoder_in/adaptor", 0.5),
    ("intra/encoder_down", 0.5),
    ("intra/spatial_out", 0.5),
    ("inter/decoder_up", 0.1),
    ("inter/recon_out/kernel", 0.2),
    ("inter/temporal_prior/down", 0.3),
    ("inter/fusion_out", 0.3),
    ("inter/fusion_blocks_0/adaptor", 0.3),
    ("inter/spatial_blocks_0/adaptor/kernel", 0.2),
    ("inter/spatial_out", 0.4),
    ("ffn/kernel_out", 2.5),
    ("pointwise_out/kernel", 2.5),
)


@dataclasses.dataclass(frozen=True)
class PatchStatistics:
    """Statistics to fit the transform to: covariances [384, 384] of 2x2 groups of DCT patches, order (dy, dx, c)."""

    intra: Matrix
    difference: Matrix


def patch_transform() -> tuple[Matrix, Matrix]:
    """Build analysis [192, 96] and synthesis [96, 192] between pixels, order (c, dy, dx), and DCT coefficients."""
    luma = np.kron(_dct(8), _dct(8))
    chroma = np.kron(np.repeat(_dct(4), 2, axis=1), np.repeat(_dct(4), 2, axis=1)) / 2.0
    basis = np.zeros((COEFFICIENTS, PATCH_CHANNELS))
    basis[:64, :64], basis[64:80, 64:128], basis[80:, 128:] = luma, chroma, chroma
    weight = np.concatenate([np.ones(64), np.full(32, np.sqrt(CHROMA_WEIGHT))])
    return (basis * weight[:, None]).T, basis / weight[:, None]


def patch_statistics(clips: npt.NDArray[np.float32]) -> PatchStatistics:
    """Estimate covariances from clips [N, T, H, W, 3] of YCbCr pictures in 0..1; sizes are multiples of 16."""
    n, t, h, w, _ = clips.shape
    patches = (clips - 0.5).reshape(n, t, h // 8, 8, w // 8, 8, 3).transpose(0, 1, 2, 4, 6, 3, 5)
    coefficients = patches.reshape(n, t, h // 8, w // 8, PATCH_CHANNELS) @ patch_transform()[0].astype(np.float32)
    groups = coefficients.reshape(n, t, h // 16, 2, w // 16, 2, COEFFICIENTS).transpose(0, 1, 2, 4, 3, 5, 6)
    groups = groups.reshape(n, t, -1, 4 * COEFFICIENTS).astype(np.float64)

    def second_moment(x: npt.NDArray[Any]) -> Matrix:
        x = x.reshape(-1, x.shape[-1])
        return np.asarray(x.T @ x / len(x))

    return PatchStatistics(second_moment(groups), second_moment(np.diff(groups, axis=1)))


def _scaled_transform(statistics: PatchStatistics) -> tuple[Matrix, Matrix, Matrix]:
    """Scale the coefficients of the patch transform to about unit variance, and give their deviations [96].

    Optimiser noise in a feature then reaches the picture in proportion to the feature's deviation.
    """
    variance = np.diag(statistics.intra).reshape(4, COEFFICIENTS).mean(axis=0)
    deviation = np.maximum(np.sqrt(variance), SMALLEST_DEVIATION)
    analysis, synthesis = patch_transform()
    return analysis / deviation, synthesis * deviation[:, None], deviation


def transform_codec(
    config: CodecConfig,
    statistics: PatchStatistics,
    intra_lambda: tuple[float, float],
    inter_lambda: tuple[float, float],
    seed: int,
) -> dict[str, ParamTree]:
    """Initialise random parameters and write a transform codec into them.

    Args:
        config: at least 96 channels in the intra and 98 in the inter codec.
        statistics: to fit the KLT to.
        intra_lambda: lambda at qp 0 and 63 of the intra codec.
        inter_lambda: the same of the inter codec.
        seed: of the random part.

    Raises:
        ConfigError: the configuration is too narrow, or has no intra network.
    """
    first, rest = config[config.first], config[config.rest]
    if not isinstance(first, IntraConfig):
        raise ConfigError(f"{config.name!r} has no intra network, as a transform codec does; set transform_init=false.")
    if first.width < COEFFICIENTS or min(rest.width, rest.recon.width) < COEFFICIENTS + 2:
        raise ConfigError(
            f"a transform codec needs {COEFFICIENTS} intra and {COEFFICIENTS + 2} inter channels; "
            f"{config.name!r} has {first.width} and {rest.width}."
        )
    flat = {name: np.array(leaf) for name, leaf in flatten(initialise(config, seed)).items()}
    _write_identities(flat)
    _write_intra(flat, config, statistics, _steps(intra_lambda, first.qp_rows))
    _write_inter(flat, config, statistics, INTER_GAIN * _steps(inter_lambda, rest.qp_rows))
    return unflatten(flat)


def _dct(n: int) -> Matrix:
    k = np.arange(n)
    basis = np.cos((2 * k[None, :] + 1) * k[:, None] * np.pi / (2 * n)) * np.sqrt(2.0 / n)
    basis[0] /= np.sqrt(2.0)
    return basis


def _steps(lambdas: tuple[float, float], rows: int) -> Matrix:
    """Compute the step size of an orthonormal coefficient for every row of a bank."""
    low, high = np.log(lambdas)
    lambda_ = np.exp(low + np.arange(rows) / (QP_LEVELS - 1) * (high - low))
    return np.sqrt(STEP_SQUARED_TIMES_LAMBDA / lambda_)


def _klt(covariance: Matrix, count: int) -> tuple[Matrix, Matrix]:
    """Compute the leading eigenvectors [384, count] and the square roots of their eigenvalues."""
    values, vectors = np.linalg.eigh(covariance)
    leading = np.argsort(values)[::-1][:count]
    return vectors[:, leading], np.sqrt(np.maximum(values[leading], 0.0))


def _write_identities(flat: dict[str, Any]) -> None:
    """Zero both branches of all DC blocks outside the hyperprior, whose input is damped instead."""
    for name, leaf in flat.items():
        if name.endswith("hyper_encoder/block/adaptor/kernel"):
            leaf *= 0.05
        if name.endswith(("pointwise_out/kernel", "ffn/kernel_out")) and "/hyper_" not in name:
            leaf[:] = 0.0


def _down_kernel(kernel: Any, vectors: Matrix, deviation: Matrix, gain: float) -> None:
    """Write a KLT of 2x2 groups of scaled coefficients into a 3x3 stride-2 kernel [3, 3, C, latent]."""
    kernel *= 0.05
    kernel[:, :, :COEFFICIENTS] = 0.0
    kernel[1:, 1:, :COEFFICIENTS] = gain * vectors.reshape(2, 2, COEFFICIENTS, -1) * deviation[:, None]


def _up_matrix(vectors: Matrix, deviation: Matrix, gain: float) -> Matrix:
    """Build [latent, 384], in the channel order (c, dy, dx) of the pixel shuffle, to scaled coefficients."""
    scaled = gain * vectors.reshape(4, COEFFICIENTS, -1) / deviation[:, None]
    return scaled.transpose(2, 1, 0).reshape(-1, 4 * COEFFICIENTS)


def _write_intra(flat: dict[str, Any], config: CodecConfig, statistics: PatchStatistics, steps: Matrix) -> None:
    analysis, synthesis, scale = _scaled_transform(statistics)
    c = config[config.first]
    # Features with their own step sizes are kept apart: mixing would amplify latent errors in the synthesis.
    group = np.tile([1 + f if f in SMALLEST_INTRA_STEPS else 0 for f in range(COEFFICIENTS)], 4)
    vectors, deviation = _klt(statistics.intra * (group[:, None] == group), c.latent)
    n, middle = COEFFICIENTS, float(np.exp(np.log(steps).mean()))
    flat["intra/encoder_in/adaptor/kernel"][:, :n] = analysis
    flat["intra/encoder_in/adaptor/bias"][:n] = -0.5 * analysis.sum(axis=0)
    steps_of_features = np.repeat(steps[:, None], c.width, axis=1)
    for feature, smallest in SMALLEST_INTRA_STEPS.items():
        steps_of_features[:, feature] = np.maximum(steps, smallest)
    flat["intra/q_encoder/vectors"][:] = middle / steps_of_features
    _down_kernel(flat["intra/encoder_down/kernel"], vectors, scale, 1.0 / middle)

    for module, first in (("fusion_out", 2), ("spatial_out", 0)):
        kernel, bias = flat[f"intra/{module}/kernel"], flat[f"intra/{module}/bias"]
        kernel *= 0.02
        bias[first : first + c.latent] = deviation / middle
    flat["intra/fusion_out/kernel"][:, :2] = 0.0
    flat["intra/fusion_out/bias"][:2] = -np.log(2.0)  # both gains are 0.5 + 1.5 / 3

    up = flat["intra/decoder_up/up/kernel"]
    up *= 0.05
    up[:, : 4 * n] = _up_matrix(vectors, scale, 0.5 * middle)  # the shortcut of the block after it doubles
    flat["intra/q_decoder/vectors"][:] = steps_of_features / middle
    out = flat["intra/decoder_out/adaptor/kernel"]
    out *= 0.05
    out[:n] = synthesis
    flat["intra/decoder_out/adaptor/bias"][:] = 0.5


def _write_inter(flat: dict[str, Any], config: CodecConfig, statistics: PatchStatistics, steps: Matrix) -> None:
    analysis, synthesis, scale = _scaled_transform(statistics)
    c, n = config[config.rest], COEFFICIENTS
    of_the_feature = () if c.side else ("adaptor_feature",)
    eye = np.eye(n)
    mixed = statistics.difference / np.trace(statistics.difference)
    vectors, _ = _klt(2.0 * mixed + statistics.intra / np.trace(statistics.intra), c.latent)
    variance = np.einsum("ik,ij,jk->k", vectors, statistics.difference, vectors)
    deviation = INTER_GAIN * np.sqrt(np.maximum(variance, 1e-6))

    for module in ("adaptor_picture/adaptor", "encoder_in"):
        flat[f"inter/{module}/kernel"][:, :n] = analysis
        flat[f"inter/{module}/bias"][:n] = -0.5 * analysis.sum(axis=0)
    for module in (*of_the_feature, "decoder_out"):
        kernel = flat[f"inter/{module}/kernel"]
        kernel[:, :n] = 0.0
        kernel[:n, :n] = eye
    for module, sign in (("encoder_blocks_0", -1.0), ("decoder_blocks_0", 1.0)):
        kernel = flat[f"inter/{module}/adaptor/kernel"]
        kernel[:, :n] = 0.0
        kernel[:n, :n] = eye
        kernel[c.width : c.width + n, :n] = sign * eye

    _down_kernel(flat["inter/encoder_down/kernel"], vectors, scale, INTER_GAIN)
    up = flat["inter/decoder_up/kernel"]
    up *= 0.05
    up[..., : 4 * n] = 0.0
    up[1, 1, :, : 4 * n] = _up_matrix(vectors, scale, 1.0 / INTER_GAIN)
    out = flat["inter/recon_out/kernel"]
    out *= 0.05
    out[:n] = synthesis
    flat["inter/recon_out/bias"][:] = 0.5

    # Two feature channels are constant; their bank entries carry the step size and its reciprocal to the prior.
    for channel, values in ((n, steps / CARRIED_STEP_UNIT), (n + 1, 1.0 / steps)):
        for module in ("adaptor_picture/adaptor", *of_the_feature):
            flat[f"inter/{module}/kernel"][:, channel] = 0.0
            flat[f"inter/{module}/bias"][channel] = 1.0
        flat["inter/q_feature/vectors"][:, channel] = values
        carried = channel - n
        down = flat["inter/temporal_prior/down/kernel"]
        down[:, carried] = 0.0
        down[4 * channel : 4 * channel + 4, carried] = 0.5 / 4  # the shortcut of the block after it doubles
        fusion = flat["inter/fusion_blocks_0/adaptor/kernel"]
        fusion[:, carried] = 0.0
        fusion[c.latent + carried, carried] = 1.0
    prior = flat["inter/fusion_out/kernel"]
    prior *= 0.002
    prior[0, : c.latent] = CARRIED_STEP_UNIT
    prior[1, c.latent : 2 * c.latent] = deviation

    # The spatial prior starts by copying its input scales.
    read = flat["inter/spatial_blocks_0/adaptor/kernel"]
    read[:, 0] = 0.0
    read[2 * c.latent : 3 * c.latent, 0] = 1.0 / (c.latent * deviation)
    spatial = flat["inter/spatial_out/kernel"]
    spatial *= 0.002
    spatial[0, : c.latent] = deviation
