"""Which numbers of the int16 arithmetic are in which unit (docs/INT16.md, section 2).

A number is in units of 1/512, so that real numbers up to 64 fit, or of 1/256, for those up to 128. Latents are in 1/256
because symbols go up to 128. So is all that is of their size: the features of the intra codec, and in both codecs
what predicts latents. Of all operations only WSiLU asks for it: parameters of convolutions and gains take one unit to
another.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.models.config import CodecConfig, InterConfig, IntraConfig
from nvc_jax.models.params import ParamTree, flatten, unflatten
from nvc_jax.spec import FIXED_BITS, FIXED_LARGE_BITS

SMALL, LARGE = FIXED_BITS, FIXED_LARGE_BITS  # fractional bits of numbers up to 64, and up to 128

Units = int | npt.NDArray[np.int64]  # fractional bits of all channels, or of each: [C]


def in_units(params: ParamTree, config: CodecConfig) -> dict[str, Any]:
    """The parameters of the same networks, computing on numbers in their units as if all of them were in 1/512.

    Returns:
        Trees of float64, exact: multiplied by powers of two. Every DC block has a leaf `unit` besides.
    """
    intra, inter = _Network(params["intra"]), _Network(params["inter"])
    _follow_intra(intra, config.intra)
    _follow_inter(inter, config.inter)
    return {"intra": unflatten(intra.parameters), "inter": unflatten(inter.parameters)}


def _follow_intra(network: "_Network", config: IntraConfig) -> None:
    """The ways of numbers that are not in 1/512; compare `IntraModel`."""
    x = network.block("encoder_in", SMALL, LARGE)
    x = network.bank("q_encoder", x, LARGE)
    x = network.blocks("encoder_blocks", config.encoder_blocks, x, LARGE)
    network.convolution("encoder_down", x, LARGE)  # y
    _follow_hyper(network)
    x = network.blocks("fusion_blocks", config.fusion_blocks, LARGE, LARGE)
    gains_scale_mean = np.repeat([SMALL, SMALL, LARGE], [2, config.latent, config.latent])
    network.convolution("fusion_out", x, gains_scale_mean)
    network.convolution("spatial_reduction", gains_scale_mean, LARGE)
    for step in range(config.steps - 1):
        network.block(f"spatial_adaptors_{step}", LARGE, LARGE)  # reads y_hat and what spatial_reduction gives
    x = network.blocks("spatial_blocks", config.spatial_blocks, LARGE, LARGE)
    network.convolution("spatial_out", x, np.repeat([SMALL, LARGE], config.latent))  # scale, mean
    x = network.up("decoder_up", LARGE, LARGE)
    x = network.blocks("decoder_blocks", config.decoder_blocks, x, LARGE)
    network.block("decoder_out", network.bank("q_decoder", x, SMALL), SMALL)


def _follow_inter(network: "_Network", config: InterConfig) -> None:
    """The ways of numbers that are not in 1/512; compare `InterModel`."""
    network.convolution("encoder_down", SMALL, LARGE)  # y
    _follow_hyper(network)
    network.down("temporal_prior", SMALL, LARGE)
    x = network.blocks("fusion_blocks", config.fusion_blocks, LARGE, LARGE)
    network.convolution("fusion_out", x, np.repeat([SMALL, SMALL, LARGE], config.latent))  # quant step, scale, mean
    reads = np.repeat([LARGE, SMALL, SMALL, LARGE], config.latent)  # y_hat, and those three
    x = network.blocks("spatial_blocks", config.spatial_blocks, reads, LARGE)
    network.convolution("spatial_out", x, np.repeat([SMALL, LARGE], config.latent))  # scale, mean
    network.convolution("decoder_up", LARGE, SMALL)


def _follow_hyper(network: "_Network") -> None:
    x = network.block("hyper_encoder/block", LARGE, LARGE)
    x = network.down("hyper_encoder/down_0", x, LARGE)
    network.down("hyper_encoder/down_1", x, LARGE)  # z
    x = network.up("hyper_decoder/up_0", LARGE, LARGE)
    network.block("hyper_decoder/block", network.up("hyper_decoder/up_1", x, LARGE), LARGE)


class _Network:
    """Takes the units of numbers through the layers of a network, and changes the parameters for it."""

    def __init__(self, params: ParamTree) -> None:
        self.parameters: dict[str, Any] = {name: leaf.astype(np.float64) for name, leaf in flatten(params).items()}
        for name in list(self.parameters):
            if name.endswith("pointwise_in/kernel"):
                self._set_unit(name.removesuffix("/pointwise_in/kernel"), SMALL)

    def convolution(self, name: str, reads: Units, gives: Units, part: str = "") -> Units:
        """A convolution, or one of a DC block's."""
        self._scale(f"{name}/kernel{part}", np.subtract(gives, np.reshape(reads, (-1, 1))))
        self._scale(f"{name}/bias{part}", np.subtract(gives, SMALL))
        return gives

    def bank(self, name: str, reads: Units, gives: Units) -> Units:
        """A product with the gains of a bank."""
        self._scale(f"{name}/vectors", np.subtract(gives, reads))
        return gives

    def block(self, name: str, reads: Units, gives: int) -> Units:
        """A DC block. Without an adaptor its input, which is added to its output, keeps its units."""
        self._set_unit(name, gives)
        adapted = f"{name}/adaptor/kernel" in self.parameters
        outer = self.convolution(f"{name}/adaptor", reads, gives) if adapted else reads
        self.convolution(f"{name}/pointwise_in", outer, gives)
        self._scale(f"{name}/depthwise/bias", np.subtract(gives, SMALL))
        self.convolution(f"{name}/pointwise_out", gives, outer)
        self.convolution(f"{name}/ffn", outer, gives, "_in")
        self.convolution(f"{name}/ffn", gives, outer, "_out")
        return outer

    def blocks(self, name: str, count: int, x: Units, gives: int) -> Units:
        """DC blocks one after the other."""
        for number in range(count):
            x = self.block(f"{name}_{number}", x, gives)
        return x

    def down(self, name: str, reads: Units, gives: int) -> Units:
        """`Down2`."""
        return self.block(f"{name}/block", self.convolution(f"{name}/down", reads, gives), gives)

    def up(self, name: str, reads: Units, gives: int) -> Units:
        """`Up2`."""
        return self.block(f"{name}/block", self.convolution(f"{name}/up", reads, gives), gives)

    def _set_unit(self, block: str, unit: int) -> None:
        self.parameters[f"{block}/unit"] = np.uint8(unit)

    def _scale(self, name: str, exponents: Units) -> None:
        self.parameters[name] = np.ldexp(self.parameters[name], exponents)
