"""Vectors that are cheaper to code, where their bits are worth more than the error that they add.

The search prices vectors by their neighbours, all blocks at once. Here blocks are visited in the order of the coder, so
that the bits are those of its tables (`entropy.merged_motion`) and of what it knows by then. Candidates are the vector
that it expects, those of neighbours, and the own one with one component as expected.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from nvc_jax.ops import motion, motion_order, native_motion

_UNIT = 16  # of costs: parts of a bit
# An error counts for more than in its own picture: the pictures after it are predicted from it. Chosen on six clips of
# the training set before vectors were choices: 2 took 1.2 % fewer bits than 4. Since then 1.5 takes 0.1 % more.
_INHERITED = 2.0
_WORTH = np.float32(_UNIT * _INHERITED) * motion.ERROR_BITS.astype(np.float32)  # of a squared error, at every qp
_MOST = np.float32(1 << 28)
_TOTAL = 1 << 16  # of frequencies
_LATE = 3  # steps that have three quarters of the blocks


def refine(picture: Array, reference: Array, vectors: Array, qp: Array) -> Array:
    """Replace vectors by those that are cheap to code where that pays. Encoder only.

    Bits are those of `entropy.merged_motion`, also for models that code vectors by `entropy.motion`: about right there.

    Args:
        picture: [B, H, W, 3] in 0..1, or int16 or uint16; H and W are multiples of 16.
        reference: the same.
        vectors: [B, H/16, W/16, 2] int8, from `motion.estimate`.
        qp: [B], which says what an error is worth.

    Returns:
        Vectors like those given.
    """
    scales = jnp.asarray(_WORTH)[jnp.round(qp).astype(jnp.int32)]
    picture, reference = motion.as_searched(picture), motion.as_searched(reference)
    operands = (*lax.stop_gradient((picture, reference)), vectors, scales)
    if native_motion.usable(picture, reference):
        refined: Array = lax.platform_dependent(*operands, cpu=_refine_natively, default=_refine)
        return refined
    return _refine(*operands)


def _refine_natively(picture: Array, reference: Array, vectors: Array, scales: Array) -> Array:
    costs = _costs()
    visits, ends = _visits(motion_order.Order.of(*vectors.shape[1:3]))
    return native_motion.refine(
        picture,
        reference,
        vectors,
        scales,
        choices=costs.choices,
        differences=costs.differences,
        visits=visits,
        ends=ends,
    )


def _refine(picture: Array, reference: Array, vectors: Array, scales: Array) -> Array:
    b, h, w, _ = vectors.shape
    order = motion_order.Order.of(h, w)
    choices, differences = map(jnp.asarray, _costs())
    errors_of = motion.errors_of_moved(picture, reference)

    def cost(candidates: Array, here: motion_order.Context, choice_row: Array, places: Array) -> Array:
        """Costs [B, n] of vectors [B, n, 2], errors and bits."""
        choice = here.choice(candidates, jnp)
        dy, dx = jnp.moveaxis((candidates - here.expected).astype(jnp.int8).astype(jnp.int32), -1, 0)
        row_y, row_x = motion_order.difference_rows(here.row, dy, jnp)
        another = differences[row_y, dy + 128] + differences[row_x, dx + 128]
        bits = choices[choice_row, choice] + jnp.where(choice == motion_order.ANOTHER, another, 0)
        errors = errors_of(places, candidates).astype(jnp.float32)
        return bits + jnp.minimum(jnp.round(errors * scales[:, None]), _MOST).astype(jnp.int32)

    def visit(carry: tuple[Array, Array], step: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        (vectors, surprises), (places, around, far) = carry, step
        here = motion_order.Context.of(vectors[:, around], far, jnp)
        choice_row = here.choice_row(surprises[:, around])
        candidates = _candidates(here, vectors[:, places])
        costs = jax.vmap(cost, (1, None, None, None), 1)(candidates, here, choice_row, places)
        cheapest = costs.argmin(axis=1)[:, None, :, None]  # the first of equal ones
        best = jnp.take_along_axis(candidates, cheapest, axis=1)[:, 0]
        surprising = (best != here.expected).any(axis=-1)
        return (vectors.at[:, places].set(best), surprises.at[:, places].set(surprising)), None

    vectors = vectors.astype(jnp.int32).reshape(b, h * w, 2)
    surprises = (vectors != 0).any(axis=-1) & (order.step == 0)  # the first block stays as it is
    few, *many = _grouped(order)
    carry, _ = lax.scan(visit, (vectors, surprises), few)
    for step in many:
        carry, _ = visit(carry, step)
    return carry[0].reshape(b, h, w, 2).astype(jnp.int8)


def _candidates(here: motion_order.Context, own: Array) -> Array:
    """The vectors [B, 8, n, 2] that blocks may have, first their own."""
    (y, x), (own_y, own_x) = (jnp.moveaxis(part, -1, 0) for part in (here.expected, own))
    mixed = jnp.stack([y, own_x], axis=-1), jnp.stack([own_y, x], axis=-1)
    neighbours = [here.neighbours[:, number] for number in range(4)]
    return jnp.stack([own, here.expected, *neighbours, *mixed], axis=1)


def _grouped(order: motion_order.Order) -> list[tuple[Array, Array, Array]]:
    """Places [n] of the blocks of a step, those of their neighbours [4, n], and far [n].

    First all early steps but the first one together, with another axis in front: their first block fills them up to the
    length of the longest. Then come the last ones, which have most of the blocks, one by one.
    """
    steps = order.places[1:]
    few, many = steps[:-_LATE], steps[-_LATE:]
    longest = max(map(len, few), default=0)
    filled = [np.pad(places, (0, longest - len(places)), constant_values=places[0]) for places in few]
    places = np.array(filled, np.int32).reshape(len(few), longest)
    groups = [(places, order.around[:, places].swapaxes(0, 1), order.far[places])]
    groups += [(places.astype(np.int32), order.around[:, places], order.far[places]) for places in many]
    return jax.tree.map(jnp.asarray, groups)  # type: ignore[no-any-return]


def _visits(order: motion_order.Order) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Blocks step after step, and the ends of steps: see `native_motion.refine`."""
    places = np.argsort(order.step, kind="stable").astype(np.int32)
    fields = np.concatenate([places[None], order.around[:, places], order.far[None, places]])
    return fields.T.astype(np.int32), np.cumsum(np.bincount(order.step)).astype(np.int32)


class _Costs(NamedTuple):
    """Bits of the coder's tables, in units of costs.

    Attributes:
        choices: [rows, 6] int32.
        differences: [rows, 256] int32, from -128 on.
    """

    choices: npt.NDArray[np.int32]
    differences: npt.NDArray[np.int32]


@lru_cache(maxsize=1)
def _costs() -> _Costs:
    differences = np.array(motion_order.difference_frequencies(_TOTAL))
    differences = np.concatenate([differences[:, -1:], differences[:, :-1]], axis=1)  # -128 has no bin of its own
    choices = np.array(motion_order.choice_frequencies(_TOTAL))[:, :-1]
    return _Costs(*(np.round(-_UNIT * np.log2(counts / _TOTAL)).astype(np.int32) for counts in (choices, differences)))
