"""Vectors that are cheaper to code: the one that the coder expects, where its bits are worth more than its error.

The search prices vectors by their neighbours, all blocks at once. Here blocks are visited in the order of the coder, so
that the bits are those of its tables and of what it knows by then.
"""

import dataclasses
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from nvc_jax.ops import motion_order, native_motion
from nvc_jax.ops.motion import ERROR_BITS, block_errors, compensate

_UNIT = 16  # of costs: parts of a bit
# An error counts for more than in its own picture: the pictures after it are predicted from it. Chosen on six clips of
# the training set, with vectors at 0.6 of the price in the search: 2 and 4 took 14.7 and 13.5 % fewer bits than none.
_INHERITED = 2.0
_WORTH = np.float32(_UNIT * _INHERITED) * ERROR_BITS.astype(np.float32)  # of a squared error, at every qp
_MOST = np.float32(1 << 28)
_TOTAL = 1 << 16  # of frequencies


def refine(picture: Array, reference: Array, vectors: Array, qp: Array) -> Array:
    """Replace vectors by those that the coder expects where that pays. Encoder only.

    Args:
        picture: [B, H, W, 3] in 0..1, or int16; H and W are multiples of 16.
        reference: the same.
        vectors: [B, H/16, W/16, 2] int8, from `motion.estimate`.
        qp: [B], which says what an error is worth.

    Returns:
        Vectors like those given.
    """
    scales = jnp.asarray(_WORTH)[jnp.round(qp).astype(jnp.int32)]
    operands = (*lax.stop_gradient((picture, reference)), vectors, scales)
    if native_motion.usable(picture, reference):
        refined: Array = lax.platform_dependent(*operands, cpu=_refine_natively, default=_refine)
        return refined
    return _refine(*operands)


def _refine_natively(picture: Array, reference: Array, vectors: Array, scales: Array) -> Array:
    visits, ends = _Order.of(*vectors.shape[1:3]).visits()
    return native_motion.refine(picture, reference, vectors, scales, costs=_bits(), visits=visits, ends=ends)


def _refine(picture: Array, reference: Array, vectors: Array, scales: Array) -> Array:
    b, h, w, _ = vectors.shape
    order, table, scale = _Order.of(h, w), jnp.asarray(_bits()), scales[:, None, None]

    def worth(vectors: Array) -> Array:
        """The errors [B, h, w] of all blocks, in units of costs."""
        errors = block_errors(picture, compensate(reference, vectors)).astype(jnp.float32)
        return jnp.minimum(jnp.round(errors * scale), _MOST).astype(jnp.int32)

    def visit(carry: tuple[Array, Array], step: Array) -> tuple[tuple[Array, Array], None]:
        vectors, errors = carry
        neighbours = vectors.reshape(b, h * w, 2)[:, order.around]
        expected, row = motion_order.expectation(neighbours, order.far, jnp)
        expected = expected.reshape(vectors.shape).astype(jnp.int8)
        difference = (vectors - expected).astype(jnp.int32) + 128  # modulo 256, as it is coded
        row = row.reshape(b, h, w, 1)
        saved = (table[row, difference] - table[row, 128]).sum(axis=-1)
        here = jnp.asarray(order.step) == step
        instead = worth(jnp.where(here[..., None], expected, vectors))
        wins = here & (instead - errors < saved)
        return (jnp.where(wins[..., None], expected, vectors), jnp.where(wins, instead, errors)), None

    refined: Array = lax.scan(visit, (vectors, worth(vectors)), jnp.arange(1, order.step.max() + 1))[0][0]
    return refined


@dataclasses.dataclass(frozen=True)
class _Order:
    """Facts of each block.

    Attributes:
        step: [h, w] number of the step that codes it.
        around: [4, h * w] places of its neighbours.
        far: [h * w] bool, these are more than a block away.
    """

    step: npt.NDArray[np.int32]
    around: npt.NDArray[np.int32]
    far: npt.NDArray[np.bool_]

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, height: int, width: int) -> "_Order":
        """The order of pictures of so many blocks."""
        step, around = np.zeros((height, width), np.int32), np.zeros((4, height, width), np.int32)
        far = np.zeros((height, width), bool)
        for number, (blocks, (y, x), is_far) in enumerate(motion_order.steps(height, width)):
            step[blocks], far[blocks] = number, is_far
            around[:, *blocks] = y * width + x
        return cls(step, around.reshape(4, -1), far.ravel())

    def visits(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Blocks step after step, and the ends of steps: see `native_motion.refine`."""
        places = np.argsort(self.step, axis=None, kind="stable").astype(np.int32)
        fields = np.concatenate([places[None], self.around[:, places], self.far[None, places]])
        return fields.T.astype(np.int32), np.cumsum(np.bincount(self.step.ravel())).astype(np.int32)


@lru_cache(maxsize=1)
def _bits() -> npt.NDArray[np.int32]:
    """Bits of a component by table row and difference from -128 on, in units of costs."""
    counts = np.array(motion_order.frequencies(_TOTAL))
    counts = np.concatenate([counts[:, -1:], counts[:, :-1]], axis=1)  # what has no bin of its own is -128
    return np.round(-_UNIT * np.log2(counts / _TOTAL)).astype(np.int32)
