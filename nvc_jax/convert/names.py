"""Names and layouts of parameters in official state_dicts and in our parameter trees.

`_intra_modules` and `_inter_modules` say which module of ours is which of theirs; everything below a module (a DC
block, a convolution) follows from its kind.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from nvc_jax.models.config import CodecConfig, InterConfig, IntraConfig
from nvc_jax.models.params import parameter_shapes

Array = npt.NDArray[np.float32]

# Parts of a module: ours -> theirs. A part of Down2 or Up2 comes before a part of its DC block.
_PARTS = {
    "down": "down",
    "up": "up.conv.0",
    "block": "conv",
    "adaptor": "adaptor",
    "pointwise_in": "dc.0",
    "depthwise": "dc.2",
    "pointwise_out": "dc.3",
    "ffn/kernel_in": "ffn.0.weight",
    "ffn/bias_in": "ffn.0.bias",
    "ffn/kernel_out": "ffn.2.weight",
    "ffn/bias_out": "ffn.2.bias",
    "kernel": "weight",
    "bias": "bias",
}


def _sequence(ours: str, theirs: str, count: int, first: int = 0) -> dict[str, str]:
    return {f"{ours}_{i}": f"{theirs}.{first + i}" for i in range(count)}


def _intra_modules(c: IntraConfig) -> dict[str, str]:
    return {
        "encoder_in": "enc.enc_1",
        **_sequence("encoder_blocks", "enc.enc_2", c.encoder.blocks),
        "encoder_down": f"enc.enc_2.{c.encoder.blocks}",
        "hyper_encoder/block": "hyper_enc.0",
        **_sequence("hyper_encoder/down", "hyper_enc", 2, first=1),
        **_sequence("hyper_decoder/up", "hyper_dec", 2),
        "hyper_decoder/block": "hyper_dec.2",
        **_sequence("fusion_blocks", "y_prior_fusion", c.fusion.blocks),
        "fusion_out": f"y_prior_fusion.{c.fusion.blocks}",
        "spatial_reduction": "y_spatial_prior_reduction",
        **{f"spatial_adaptors_{i}": f"y_spatial_prior_adaptor_{i + 1}" for i in range(c.steps - 1)},
        **_sequence("spatial_blocks", "y_spatial_prior", c.spatial.blocks),
        "spatial_out": f"y_spatial_prior.{c.spatial.blocks}",
        "decoder_up": "dec.dec_1.0",
        **_sequence("decoder_blocks", "dec.dec_1", c.decoder.blocks, first=1),
        "decoder_out": "dec.dec_2",
        "q_encoder": "q_scale_enc",
        "q_decoder": "q_scale_dec",
        "z_prior": "bit_estimator_z",
    }


def _inter_modules(c: InterConfig) -> dict[str, str]:
    return {
        "adaptor_picture": "feature_adaptor_i",
        "adaptor_feature": "feature_adaptor_p",
        **_sequence("extractor_prior", "feature_extractor.conv1", c.extractor_prior.blocks),
        **_sequence("extractor_context", "feature_extractor.conv2", c.extractor_context.blocks),
        "encoder_in": "encoder.conv1",
        **_sequence("encoder_blocks", "encoder.conv2", c.encoder.blocks - 1),
        f"encoder_blocks_{c.encoder.blocks - 1}": "encoder.conv3",
        "encoder_down": "encoder.down",
        "hyper_encoder/block": "hyper_encoder.conv.0",
        **_sequence("hyper_encoder/down", "hyper_encoder.conv", 2, first=1),
        **_sequence("hyper_decoder/up", "hyper_decoder.conv", 2),
        "hyper_decoder/block": "hyper_decoder.conv.2",
        "temporal_prior": "temporal_prior_encoder",
        **_sequence("fusion_blocks", "y_prior_fusion.conv", c.fusion.blocks),
        "fusion_out": f"y_prior_fusion.conv.{c.fusion.blocks}",
        **_sequence("spatial_blocks", "y_spatial_prior.conv", c.spatial.blocks),
        "spatial_out": f"y_spatial_prior.conv.{c.spatial.blocks}",
        "decoder_up": "decoder.up.conv.0",
        **_sequence("decoder_blocks", "decoder.conv1", c.decoder.blocks),
        "decoder_out": "decoder.conv2",
        **_sequence("recon_blocks", "recon_generation_net.conv", c.recon.blocks),
        "recon_out": "recon_generation_net.head",
        **{bank: bank for bank in ("q_encoder", "q_decoder", "q_feature", "q_recon")},
        "z_prior": "bit_estimator_z",
    }


@dataclasses.dataclass(frozen=True)
class OfficialTensor:
    """A tensor of the official files.

    Attributes:
        model: "intra" or "inter", which of the two files.
        name: its name in the state_dict.
        shape: its shape there (convolutions are OIHW, banks have trailing ones).
        kernel: it is the weight of a convolution.
    """

    model: str
    name: str
    shape: tuple[int, ...]
    kernel: bool

    def to_ours(self, array: Array) -> Array:
        """Convert to HWIO; to [I * h * w, O] for 1x1 and 2x2 stride-2 convolutions, [h, w, C] for depthwise."""
        if not self.kernel:
            return array.reshape(self.shape[:2])
        if self.shape[2:] != (3, 3):
            return np.ascontiguousarray(array.reshape(self.shape[0], -1).T)
        kernel = np.ascontiguousarray(array.transpose(2, 3, 1, 0))
        return kernel[:, :, 0] if self.shape[1] == 1 else kernel

    def from_ours(self, array: Array) -> Array:
        """Invert `to_ours`."""
        if not self.kernel:
            return array.reshape(self.shape)
        if self.shape[2:] != (3, 3):
            return np.ascontiguousarray(array.T).reshape(self.shape)
        kernel = array[:, :, None] if self.shape[1] == 1 else array
        return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


@functools.cache
def official_tensors(config: CodecConfig) -> dict[str, OfficialTensor]:
    """Map flat names of our parameters to tensors of the official files."""
    modules = {
        **{f"intra/{ours}": theirs for ours, theirs in _intra_modules(config["intra"]).items()},
        **{f"inter/{ours}": theirs for ours, theirs in _inter_modules(config["inter"]).items()},
    }
    tensors = {}
    for ours, shape in parameter_shapes(config).items():
        pieces = ours.split("/")
        prefixes = ("/".join(pieces[:n]) for n in range(len(pieces), 0, -1))
        module = next(prefix for prefix in prefixes if prefix in modules)
        name = ".".join([modules[module], *_their_parts(ours.removeprefix(module + "/"))])
        kernel = pieces[-1].startswith("kernel")
        tensors[ours] = OfficialTensor(pieces[0], name, _their_shape(pieces, shape, kernel), kernel)
    return tensors


def _their_parts(rest: str) -> list[str]:
    if rest == "vectors":  # a quality bank is a bare tensor in their files
        return []
    for ours, theirs in _PARTS.items():
        if rest == ours:
            return [theirs]
        if rest.startswith(ours + "/"):
            return [theirs, *_their_parts(rest.removeprefix(ours + "/"))]
    return [rest]  # z prior: f1.h, f1.b, ... have the same names


def _their_shape(pieces: list[str], shape: tuple[int, ...], kernel: bool) -> tuple[int, ...]:
    if pieces[-1].startswith("bias"):
        return shape
    if not kernel:
        return (*shape, 1, 1)
    if len(shape) == 4:
        return (shape[3], shape[2], 3, 3)
    if len(shape) == 3:
        return (shape[2], 1, 3, 3)
    if pieces[-2] == "down":
        return (shape[1], shape[0] // 4, 2, 2)
    return (shape[1], shape[0], 1, 1)
