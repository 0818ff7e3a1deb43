"""Units of the int16 arithmetic: which numbers are in 1/512, 1/256 or 1/4096 (docs/INT16.md, section 2).

A number is in units of 1/512, so that real numbers up to 64 fit, or of 1/256, for those up to 128. Latents are in 1/256
because symbols go up to 128. So are the features of the intra network, and in all networks the predictions of latents.
Fine pictures, and what is added up to them, are in 1/4096: in 1/512 every first picture has a squared error of 0.1 (of
255^2) by that alone, and those after it inherit it.
Only WSiLU computes with the unit: parameters of convolutions and gains take one unit to another. Networks declare the
units of their layers (`Network.fixed_units`).
"""

from typing import Any

import flax.traverse_util
import numpy as np
import numpy.typing as npt

from nvc_jax.spec import FIXED_BITS, FIXED_FINE_BITS, FIXED_LARGE_BITS

SMALL, LARGE = FIXED_BITS, FIXED_LARGE_BITS  # fractional bits of numbers up to 64, and up to 128
FINE = FIXED_FINE_BITS  # of numbers up to 8

Units = int | npt.NDArray[np.int64]  # fractional bits of all channels, or of each: [C]


class UnitFollower:
    """Takes units through the layers of a network, and rescales the parameters from one to the next.

    Attributes:
        parameters: by flat name, float64, exact: multiplied by powers of two. Every DC block has a leaf `unit` besides.
    """

    def __init__(self, params: Any) -> None:
        flat = flax.traverse_util.flatten_dict(params, sep="/")
        self.parameters: dict[str, Any] = {name: leaf.astype(np.float64) for name, leaf in flat.items()}
        for name in list(self.parameters):
            if name.endswith("pointwise_in/kernel"):
                self._set_unit(name.removesuffix("/pointwise_in/kernel"), SMALL)

    def convolution(self, name: str, reads: Units, gives: Units, part: str = "") -> Units:
        """A convolution, alone or in a DC block."""
        self._scale(f"{name}/kernel{part}", np.subtract(gives, np.reshape(reads, (-1, 1))))
        self._scale(f"{name}/bias{part}", np.subtract(gives, SMALL))
        return gives

    def bank(self, name: str, reads: Units, gives: Units) -> Units:
        """A product with the gains of a bank."""
        self._scale(f"{name}/vectors", np.subtract(gives, reads))
        return gives

    def block(self, name: str, reads: Units, gives: int, inner: int | None = None) -> Units:
        """A DC block; inner: the unit of its branches, if another.

        Without an adaptor its input, which is added to its output, keeps its units.
        """
        adapted = f"{name}/adaptor/kernel" in self.parameters
        outer = self.convolution(f"{name}/adaptor", reads, gives) if adapted else reads
        gives = gives if inner is None else inner
        self._set_unit(name, gives)
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
