"""Initialise the networks as a transform codec.

Every DC block of the picture path starts as the identity, the 1x1 convolutions at the borders as a DCT (over time too,
where a packet has several pictures), the stride-2 convolutions as a KLT of 2x2 DCT patches, and the inter codec as a
coder of differences from the last picture, which a residual network is given, with a quantisation step size per qp.
This spares a small model learning the transform.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.errors import ConfigError
from nvc_jax.models.config import PATCH_CHANNELS, CodecConfig, InterConfig, IntraConfig, MotionInterConfig
from nvc_jax.models.params import ParamTree, flatten, initialise, unflatten
from nvc_jax.spec import QP_LEVELS

Matrix = npt.NDArray[np.float64]

COEFFICIENTS = 96  # of an 8x8 patch: 64 luma and, as chroma is 4:2:0, twice 16
CHROMA_WEIGHT = 0.4  # share of a chroma coefficient's error in the distortion, against luma
STEP_SQUARED_TIMES_LAMBDA = 3.46  # where the slope of 6 dB per bit balances lambda * distortion
INTER_GAIN = 18.0  # keeps the smallest step size of the inter codec above its lower bound
CARRIED_STEP_UNIT = 8.0  # scales the step sizes that pass through the inter networks to about 1
LARGEST_SYMBOL = 60.0  # that should come about
# Symbols should stay below that: they are int8, and int16 latents end at 64. Intra features beyond that at the smallest
# step sizes take larger ones: the mean of a 16x16 patch reaches +-8, its slopes about +-3.
SMALLEST_INTRA_STEPS = {0: 8.0 / LARGEST_SYMBOL, 1: 3.0 / LARGEST_SYMBOL, 8: 3.0 / LARGEST_SYMBOL}
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
SCALES_WITHOUT_INTRA = tuple((name, scale) for name, scale in SCALES if not name.startswith("intra/"))


@dataclasses.dataclass(frozen=True)
class PatchStatistics:
    """Second moments [4F, 4F] to fit the transform to, of the F coefficients of 2x2 patches, order (dy, dx, c).

    Attributes:
        intra: of pictures, whose samples are centred.
        difference: of pictures and the last one before them.
        blank: of pictures and a black one.
    """

    intra: Matrix
    difference: Matrix
    blank: Matrix

    def of(self, kept: npt.NDArray[np.int64]) -> "PatchStatistics":
        """Select the moments of some coefficients."""
        count = len(self.intra) // 4
        rows = (count * np.arange(4)[:, None] + kept).ravel()
        return PatchStatistics(*(moment[np.ix_(rows, rows)] for moment in (self.intra, self.difference, self.blank)))


@dataclasses.dataclass(frozen=True)
class PatchTransform:
    """Coefficients of the patches of a packet's pictures, scaled to a deviation of about 1.

    Optimiser noise in a feature then reaches the picture in proportion to the feature's deviation.

    Attributes:
        pictures: of a packet, T.
        analysis: [T*192, F].
        synthesis: [F, T*192].
        scale: deviations [F].
        last: [F, F], from the features of a packet to those of one that repeats its last picture.
        repeated: [192, F], from a picture to the features of a packet that repeats it.
        statistics: of the coefficients.
    """

    pictures: int
    analysis: Matrix
    synthesis: Matrix
    scale: Matrix
    last: Matrix
    repeated: Matrix
    statistics: PatchStatistics


def scales_of(config: CodecConfig) -> tuple[tuple[str, float], ...]:
    """`SCALES` of the networks that the codec has."""
    patterns = SCALES if isinstance(config[config.first], IntraConfig) else SCALES_WITHOUT_INTRA
    heads = getattr(config[config.rest], "heads", 1)
    if heads > 1:  # each has its own last layer
        last = dict(patterns)["inter/recon_out/kernel"]
        added = [(f"inter/recon_out_{head}/kernel", last) for head in range(heads)]
        patterns = (*(pair for pair in patterns if pair[0] != "inter/recon_out/kernel"), *added)
    return tuple((name.replace("inter/", f"{config.rest}/"), scale) for name, scale in patterns)


def patch_transform(pictures: int = 1) -> tuple[Matrix, Matrix]:
    """Build analysis [T*192, T*96] and synthesis between pixels, order (t, c, dy, dx), and DCT coefficients."""
    luma = np.kron(_dct(8), _dct(8))
    chroma = np.kron(np.repeat(_dct(4), 2, axis=1), np.repeat(_dct(4), 2, axis=1)) / 2.0
    basis = np.zeros((COEFFICIENTS, PATCH_CHANNELS))
    basis[:64, :64], basis[64:80, 64:128], basis[80:, 128:] = luma, chroma, chroma
    weight = np.concatenate([np.ones(64), np.full(32, np.sqrt(CHROMA_WEIGHT))])
    over_time = _dct(pictures)
    return np.kron(over_time, basis * weight[:, None]).T, np.kron(over_time, basis / weight[:, None])


def patch_statistics(clips: npt.NDArray[np.float32], pictures: int = 1) -> PatchStatistics:
    """Estimate moments from clips [N, more than T, H, W, 3] of YCbCr pictures in 0..1; sizes are multiples of 16."""
    n, t, h, w, _ = clips.shape
    patches = clips.reshape(n, t, h // 8, 8, w // 8, 8, 3).transpose(0, 1, 2, 4, 6, 3, 5)
    patches = patches.reshape(n, t, h // 8, w // 8, PATCH_CHANNELS)
    analysis = patch_transform(pictures)[0].astype(np.float32)

    def second_moment(reference: Any, first: int) -> Matrix:
        """Moment of packets that begin at the pictures from `first` on, less the reference of each."""
        count = t - pictures + 1 - first
        packets = [patches[:, first + i : first + i + count] - reference for i in range(pictures)]
        coefficients = np.concatenate(packets, axis=-1) @ analysis
        groups = coefficients.reshape(n, count, h // 16, 2, w // 16, 2, -1).transpose(0, 1, 2, 4, 3, 5, 6)
        x = groups.reshape(-1, 4 * analysis.shape[1]).astype(np.float64)
        return np.asarray(x.T @ x / len(x))

    return PatchStatistics(second_moment(0.5, 0), second_moment(patches[:, : t - pictures], 1), second_moment(0.0, 0))


def _scaled_transform(statistics: PatchStatistics, pictures: int, most: int) -> PatchTransform:
    """The transform with the `most` coefficients of the largest variance."""
    count = pictures * COEFFICIENTS
    variance = np.diag(statistics.intra).reshape(4, count).mean(axis=0)
    kept = np.sort(np.argsort(-variance, kind="stable")[:most])
    scale = np.maximum(np.sqrt(variance), SMALLEST_DEVIATION)
    analysis, synthesis = patch_transform(pictures)
    analysis, synthesis = analysis / scale, synthesis * scale[:, None]
    repeat = np.tile(np.eye(PATCH_CHANNELS), pictures)
    repeated, last_picture = repeat @ analysis, synthesis[:, -PATCH_CHANNELS:]
    return PatchTransform(
        pictures,
        analysis[:, kept],
        synthesis[kept],
        scale[kept],
        (last_picture @ repeated)[np.ix_(kept, kept)],
        repeated[:, kept],
        statistics.of(kept),
    )


def transform_codec(
    config: CodecConfig,
    statistics: PatchStatistics,
    intra_lambda: tuple[float, float],
    inter_lambda: tuple[float, float],
    seed: int,
) -> dict[str, ParamTree]:
    """Initialise random parameters and write a transform codec into them.

    Args:
        config: at least 96 channels in the intra and 98 in the inter network. One of fewer than 2 more than 96 for
            each picture of a packet leaves out the smallest coefficients.
        statistics: to fit the KLT to, of as many pictures as a packet of the inter network has.
        intra_lambda: lambda at qp 0 and 63 of the intra network.
        inter_lambda: the same of the inter network.
        seed: of the random part.

    Raises:
        ConfigError: the configuration is too narrow.
    """
    first, rest = config[config.first], config[config.rest]
    heads = getattr(rest, "heads", 1)
    narrow = rest.width if heads > 1 else min(rest.width, rest.recon.width)
    smallest = min(first.width if isinstance(first, IntraConfig) else narrow - 2, rest.recon.width // heads)
    if min(smallest, narrow - 2) < COEFFICIENTS:
        raise ConfigError(
            f"a transform codec needs {COEFFICIENTS} intra and {COEFFICIENTS + 2} inter channels; "
            f"{config.name!r} has {first.width} and {narrow}."
        )
    flat = {name: np.array(leaf) for name, leaf in flatten(initialise(config, seed)).items()}
    _write_identities(flat)
    if isinstance(first, IntraConfig):
        transform = _scaled_transform(statistics, 1, COEFFICIENTS)
        _write_intra(flat, config, transform, _steps(intra_lambda, first.qp_rows))
    transform = _scaled_transform(statistics, rest.pictures, narrow - 2)
    _write_inter(flat, config, transform, INTER_GAIN * _steps(inter_lambda, rest.qp_rows))
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


def _down_kernel(kernel: Any, vectors: Matrix, deviation: Matrix, gain: Any) -> None:
    """Write a KLT of 2x2 groups of scaled coefficients into a 3x3 stride-2 kernel [3, 3, C, latent]."""
    count = len(deviation)
    kernel *= 0.05
    kernel[:, :, :count] = 0.0
    kernel[1:, 1:, :count] = gain * vectors.reshape(2, 2, count, -1) * deviation[:, None]


def _up_matrix(vectors: Matrix, deviation: Matrix, gain: Any) -> Matrix:
    """Build [latent, 4F], in the channel order (c, dy, dx) of the pixel shuffle, to scaled coefficients."""
    count = len(deviation)
    scaled = gain * vectors.reshape(4, count, -1) / deviation[:, None]
    return scaled.transpose(2, 1, 0).reshape(-1, 4 * count)


def _write_intra(flat: dict[str, Any], config: CodecConfig, transform: PatchTransform, steps: Matrix) -> None:
    analysis, synthesis, scale = transform.analysis, transform.synthesis, transform.scale
    c = config[config.first]
    # Features with their own step sizes are kept apart: mixing would amplify latent errors in the synthesis.
    group = np.tile([1 + f if f in SMALLEST_INTRA_STEPS else 0 for f in range(COEFFICIENTS)], 4)
    vectors, deviation = _klt(transform.statistics.intra * (group[:, None] == group), c.latent)
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


def _write_inter(flat: dict[str, Any], config: CodecConfig, transform: PatchTransform, steps: Matrix) -> None:
    c, net, scale, statistics = config[config.rest], config.rest, transform.scale, transform.statistics
    n = len(scale)
    eye = np.eye(n)
    mixed = statistics.difference / np.trace(statistics.difference)
    vectors, _ = _klt(2.0 * mixed + statistics.intra / np.trace(statistics.intra), c.latent)
    gain = np.full(c.latent, INTER_GAIN)
    if config.first == config.rest:  # a first packet differs from a blank picture by more than symbols can say
        largest = np.sqrt(np.einsum("ik,ij,jk->k", vectors, statistics.blank, vectors))
        gain = np.minimum(gain, LARGEST_SYMBOL * steps.min() / largest)
    variance = np.einsum("ik,ij,jk->k", vectors, statistics.difference, vectors)
    deviation = gain * np.sqrt(np.maximum(variance, 1e-6))

    inputs = ("adaptor_picture/adaptor", transform.repeated, 0.5), ("encoder_in", transform.analysis, _middle(c))
    for module, kernel, middle in inputs:
        flat[f"{net}/{module}/kernel"][:, :n] = kernel
        flat[f"{net}/{module}/bias"][:n] = -middle * kernel.sum(axis=0)
    of_the_feature = () if c.side else ("adaptor_feature",)
    for module, kept in (*((module, transform.last) for module in of_the_feature), ("decoder_out", eye)):
        kernel = flat[f"{net}/{module}/kernel"]
        kernel[:, :n] = 0.0
        kernel[:n, :n] = kept
    of_last_picture = 0.0 if _residual(c) else 1.0
    for module, sign in (("encoder_blocks_0", -of_last_picture), ("decoder_blocks_0", of_last_picture)):
        kernel = flat[f"{net}/{module}/adaptor/kernel"]
        kernel[:, :n] = 0.0
        kernel[:n, :n] = eye
        kernel[c.width : c.width + n, :n] = sign * eye

    _down_kernel(flat[f"{net}/encoder_down/kernel"], vectors, scale, gain)
    up = flat[f"{net}/decoder_up/kernel"]
    up *= 0.05
    up[..., : 4 * n] = 0.0
    up[1, 1, :, : 4 * n] = _up_matrix(vectors, scale, 1.0 / gain)
    _write_reconstruction(flat, config, transform)

    # Two feature channels are constant; their bank entries carry the step size and its reciprocal to the prior.
    for channel, values in ((n, steps / CARRIED_STEP_UNIT), (n + 1, 1.0 / steps)):
        for module in ("adaptor_picture/adaptor", *of_the_feature):
            flat[f"{net}/{module}/kernel"][:, channel] = 0.0
            flat[f"{net}/{module}/bias"][channel] = 1.0
        flat[f"{net}/q_feature/vectors"][:, channel] = values
        carried = channel - n
        down = flat[f"{net}/temporal_prior/down/kernel"]
        down[:, carried] = 0.0
        down[4 * channel : 4 * channel + 4, carried] = 0.5 / 4  # the shortcut of the block after it doubles
        fusion = flat[f"{net}/fusion_blocks_0/adaptor/kernel"]
        fusion[:, carried] = 0.0
        fusion[c.latent + carried, carried] = 1.0
    prior = flat[f"{net}/fusion_out/kernel"]
    prior *= 0.002
    prior[0, : c.latent] = CARRIED_STEP_UNIT
    prior[1, c.latent : 2 * c.latent] = deviation

    # The spatial prior starts by copying its input scales.
    read = flat[f"{net}/spatial_blocks_0/adaptor/kernel"]
    read[:, 0] = 0.0
    read[2 * c.latent : 3 * c.latent, 0] = 1.0 / (c.latent * deviation)
    spatial = flat[f"{net}/spatial_out/kernel"]
    spatial *= 0.002
    spatial[0, : c.latent] = deviation


def _write_reconstruction(flat: dict[str, Any], config: CodecConfig, transform: PatchTransform) -> None:
    """Write the synthesis of the packet, or of each head's picture, behind the blocks that the heads begin with."""
    c, net, n = config[config.rest], config.rest, len(transform.scale)
    heads = getattr(c, "heads", 1)
    for head, synthesis in enumerate(np.split(transform.synthesis, heads, axis=1)):
        adaptor = flat.get(f"{net}/recon_blocks_{head * c.recon.blocks}/adaptor/kernel")
        if adaptor is not None:
            analysis, own = (transform.analysis, synthesis) if heads == 1 else patch_transform()
            adaptor[:, : len(own)] = 0.0
            adaptor[:n, : len(own)] = synthesis @ analysis
            synthesis = own
        module = f"{net}/recon_out" + (f"_{head}" if heads > 1 else "")
        out = flat[f"{module}/kernel"]
        out *= 0.05
        out[: len(synthesis)] = synthesis
        flat[f"{module}/bias"][:] = _middle(c)


def _middle(network: InterConfig) -> float:
    """The middle of the range of what the network codes."""
    return 0.0 if _residual(network) else 0.5


def _residual(network: InterConfig) -> bool:
    return isinstance(network, MotionInterConfig) and network.residual
