"""Block motion: an inter codec with motion predicts from the last picture, moved block by block.

A vector [dy, dx] is the displacement of a block of the new picture in the reference picture, in quarter pixels. Border
pixels extend a picture. Half positions take six taps in both directions; a quarter position is the mean of
its two neighbours, as in H.264. A block that is not worth its bits may be skipped: nothing of it is coded.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nvc_jax.ops import fixed, native_motion
from nvc_jax.ops.arithmetic import to_precision
from nvc_jax.ops.bounds import clamp
from nvc_jax.spec import FIXED_SCALE, PICTURE_STRIDE

BLOCK = PICTURE_STRIDE  # pixels: a block is a position of the latent
PRECISION = 4  # steps of a vector per pixel
LONGEST = 127  # largest component, in steps: vectors are int8

_TAPS = np.array([[0, 0, 64, 0, 0, 0], [1, -5, 52, 20, -5, 1], [2, -10, 40, 40, -10, 2], [1, -5, 20, 52, -5, 1]])
_TAP_SUM = 64
_BEFORE, _AFTER = 2, 3  # pixels that the taps reach beyond a block
_REACH = LONGEST // PRECISION + 1 + _AFTER  # halo of vectors and taps together

_COARSE = 4  # the search starts in pictures of a quarter of the size
_COARSE_RANGE = LONGEST // PRECISION // _COARSE  # in their pixels
_WHOLE_RANGE = 3  # pixels around the coarse result
_LAMBDA = 4.0 * 2.0 ** (np.arange(128) / 7)  # at every qp: bits that a squared error is worth in the embedded models
# Absolute differences of luma, in 1/512, that a bit is worth.
_PRICES = np.round(FIXED_SCALE * 0.7 / np.sqrt(_LAMBDA)).astype(np.float32)
# A block is skipped if its error is worth fewer bits than this. Measured with embedded_v1 on five clips: 44
# takes 1 % more bits than 64, 90 as many; busy clips prefer less, still ones more.
SKIP_BITS = 64.0
# The first of two looks skips less: what coding did not pay for is skipped afterwards. There a saved error counts 1.5
# times, because later pictures inherit it.
# Chosen on six training clips (17 frames, qps 4, 20, 36, 52), 4.4 % fewer bits than 64 once; 12 instead of 24 takes as
# many, 1 instead of 1.5 takes 0.6 % more and 2.5 takes 0.3 % more.
_FIRST_SKIP_BITS = 24.0
_SAVED_ERRORS_COUNT = 1.5
_COMPONENT_WEIGHTS = np.array([6, 1, 1])  # of Y, Cb and Cr in that error, as in PSNR 6:1:1
ERROR_BITS = _LAMBDA / (_COMPONENT_WEIGHTS.sum() * FIXED_SCALE**2)  # that such an error of 1 is worth, at every qp
# Estimated bits of a component, by its difference from the expected one in quarter pixels.
_BITS = (np.round(8 * np.log2(1.0 + np.arange(2 * LONGEST + 1))) / 4).astype(np.float32)
_STILL_NEIGHBOURS = 6  # of nine blocks, for motion to be a surprise
_SURPRISE_BITS = 6.0  # added for a surprise

_Best = tuple[Array, Array]  # costs of blocks, and the vectors that have them


def compensate(picture: Array, vectors: Array) -> Array:
    """Move the blocks of a picture.

    Args:
        picture: [B, H, W, C] in 0..1, or int16 or uint16; H and W are multiples of 16.
        vectors: [B, H/16, W/16, 2] int8.

    Returns:
        The prediction, like `picture`.
    """
    if native_motion.usable(picture):
        return native_motion.or_plain(_compensate)(picture, vectors)
    return _compensate(picture, vectors)


def _compensate(picture: Array, vectors: Array) -> Array:
    b, h, w, _ = vectors.shape
    blocks = _moved(_padded(picture), _grid(h, w), vectors.reshape(b, h * w, 2)).reshape(b, h, w, BLOCK, BLOCK, -1)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * BLOCK, w * BLOCK, -1)


def _moved(padded: Array, corners: Array, vectors: Array) -> Array:
    """Blocks [B, n, 16, 16, C] at `corners` [n, 2] of a picture, moved by vectors [B, n, 2]."""
    vectors = vectors.astype(jnp.int32)
    windows = _windows_at(padded, corners + vectors // PRECISION - _BEFORE, BLOCK + _BEFORE + _AFTER)
    phase = jnp.moveaxis(vectors % PRECISION, -1, 0)[..., None, None, None]
    if jnp.issubdtype(padded.dtype, jnp.integer):
        total = _interpolated(windows.astype(jnp.int32), phase, jnp.asarray(_TAPS, jnp.int32), axis=2)
        return _rounded(total, fixed.one(padded.dtype)).astype(padded.dtype)
    return clamp(_interpolated(windows, phase, jnp.asarray(_TAPS / _TAP_SUM, padded.dtype), axis=2))


def estimate(picture: Array, reference: Array, qp: Array) -> Array:
    """Search the vectors with which `compensate` predicts the picture best. Encoder only.

    The cost is the sum of absolute differences of luma plus the price of vectors unlike their neighbours, minimised
    over all vectors in small pictures first, then over the vectors of neighbours, whole pixels, half and quarter
    pixels, and twice the neighbours again. All numbers are multiples of 1/8 and below 2^20, so float32 holds them
    exactly, and pictures of integers give the same vectors on every machine.

    Args:
        picture: [B, H, W, 3] in 0..1, or int16 or uint16; H and W are multiples of 16.
        reference: the same.
        qp: [B], which sets the price.

    Returns:
        [B, H/16, W/16, 2] int8.
    """
    prices = jnp.asarray(_PRICES)[jnp.round(qp).astype(jnp.int32)]
    picture, reference = as_searched(picture), as_searched(reference)
    if native_motion.usable(picture, reference):
        operands = (*lax.stop_gradient((picture, reference)), prices)
        vectors: Array = lax.platform_dependent(*operands, cpu=_estimate_natively, default=_estimate)
        return vectors
    return _estimate(picture, reference, prices)


def as_searched(picture: Array) -> Array:
    """The picture; a fine one in 1/512: vectors need no more."""
    return to_precision(picture, jnp.int16) if picture.dtype == jnp.uint16 else picture


def _estimate_natively(picture: Array, reference: Array, prices: Array) -> Array:
    bits, surprise = (_BITS * 4).astype(np.int32), round(_SURPRISE_BITS * 4)
    return native_motion.estimate(picture, reference, prices.astype(jnp.int32), bits, surprise, _STILL_NEIGHBOURS)


def _estimate(picture: Array, reference: Array, price: Array) -> Array:
    luma, reference_luma = (to_precision(x[..., :1], jnp.int16).astype(jnp.float32) for x in (picture, reference))
    search = _Search.of(luma, _padded(reference_luma), price[:, None, None])
    vectors = _coarse_search(luma[..., 0], reference_luma[..., 0], search.price)
    vectors = search.cheapest(vectors, _near(vectors), whole=True)
    vectors = search.whole_pixels(vectors)
    for step in (PRECISION // 2, PRECISION // 4):
        offsets = jnp.array([[dy, dx] for dy in (0, step, -step) for dx in (0, step, -step)])
        vectors = search.cheapest(vectors, vectors + offsets[:, None, None, None])
    for _ in range(2):
        vectors = search.cheapest(vectors, _near(vectors))
    return vectors.astype(jnp.int8)


def skip_bits(skip_blocks: bool, looks_again: bool = False) -> float:
    """`bits` of `skippable` for an encoder that skips blocks or none, at once or in the first of two looks."""
    return (_FIRST_SKIP_BITS if looks_again else SKIP_BITS) if skip_blocks else 0.0


def skippable(picture: Array, prediction: Array, qp: Array, bits: float) -> Array:
    """Mask of the blocks that need not be coded because their prediction is good enough. Encoder only.

    Args:
        picture: [B, H, W, 3] in 0..1, or int16 or uint16; H and W are multiples of 16.
        prediction: the same, from `compensate`.
        qp: [B].
        bits: blocks whose error is worth fewer are skipped.

    Returns:
        [B, H/16, W/16] bool.
    """
    limits = np.round(bits / ERROR_BITS).astype(np.int32)
    limit = jnp.asarray(limits)[jnp.round(qp).astype(jnp.int32)]
    return block_errors(picture, prediction) < limit[:, None, None]


def not_worth_coding(picture: Array, prediction: Array, decoded: Array, bits: Array, qp: Array) -> Array:
    """Mask of the blocks whose bits were worth at least the error that they saved. Encoder only.

    Args:
        picture: [B, H, W, 3] in 0..1, or int16 or uint16; H and W are multiples of 16.
        prediction: the same, from `compensate`.
        decoded: the same.
        bits: [B, H/16, W/16] int32 that the blocks took, in 1/256.
        qp: [B].

    Returns:
        [B, H/16, W/16] bool.
    """
    gained = block_errors(picture, prediction) - block_errors(picture, decoded)
    errors = (1.0 / (256 * _SAVED_ERRORS_COUNT * ERROR_BITS)).astype(np.float32)  # that a 256th of a bit is worth
    price = jnp.asarray(errors)[jnp.round(qp).astype(jnp.int32)]
    return gained.astype(jnp.float32) <= bits.astype(jnp.float32) * price[:, None, None]


def block_errors(picture: Array, prediction: Array) -> Array:
    """Squared errors of blocks in 1/512, weighted as in PSNR 6:1:1: [B, H/16, W/16] int32; see `skippable`."""
    return _summed(_errors(picture, prediction), BLOCK)


def errors_of_moved(picture: Array, reference: Array) -> Callable[[Array, Array], Array]:
    """As `block_errors`, [B, n]: a function of the places [n] of blocks, row by row, and of their vectors [B, n, 2]."""
    b, height, width, _ = picture.shape
    h, w = height // BLOCK, width // BLOCK
    blocks = picture.reshape(b, h, BLOCK, w, BLOCK, -1).swapaxes(2, 3).reshape(b, h * w, BLOCK, BLOCK, -1)
    padded, grid = _padded(reference), _grid(h, w)

    def errors(places: Array, vectors: Array) -> Array:
        return _errors(blocks[:, places], _moved(padded, grid[places], vectors)).sum(axis=(2, 3))

    return errors


def _errors(picture: Array, prediction: Array) -> Array:
    difference = to_precision(picture, jnp.int16).astype(jnp.int32) - to_precision(prediction, jnp.int16)
    return (jnp.square(difference) * _COMPONENT_WEIGHTS).sum(axis=-1)  # at most 2^21 a pixel


def replace_skipped(picture: Array, prediction: Array, skipped: Array) -> Array:
    """Put the prediction where blocks are skipped. skipped: [B, H/16, W/16] bool."""
    pixels = jnp.repeat(jnp.repeat(skipped, BLOCK, axis=1), BLOCK, axis=2)
    return jnp.where(pixels[..., None], prediction, picture)


@dataclasses.dataclass(frozen=True)
class _Search:
    """Blocks and their references. Blocks are the last axis, so that XLA on CPU vectorises over them.

    Attributes:
        blocks: [16, 16, n] luma of the n blocks of all pictures, in 1/512.
        padded: luma of the references, see `_padded`.
        price: [B, 1, 1] of a bit of the vectors, in absolute differences.
    """

    blocks: Array
    padded: Array
    price: Array

    @classmethod
    def of(cls, luma: Array, padded: Array, price: Array) -> "_Search":
        """Cut pictures into blocks."""
        b, h, w, _ = luma.shape
        blocks = luma.reshape(b, h // BLOCK, BLOCK, w // BLOCK, BLOCK).transpose(2, 4, 0, 1, 3)
        return cls(blocks.reshape(BLOCK, BLOCK, -1), padded, price)

    def cheapest(self, vectors: Array, candidates: Array, whole: bool = False) -> Array:
        """The cheapest of candidates [K, B, h, w, 2] for every block; `whole`: all are whole pixels."""
        expectation = _Expectation.of(vectors)

        def cost(candidate: Array) -> Array:
            if whole:
                moved = self._windows(candidate // PRECISION, BLOCK)
            else:
                windows = self._windows(candidate // PRECISION - _BEFORE, BLOCK + _BEFORE + _AFTER)
                phase = (candidate % PRECISION).reshape(-1, 2).T
                moved = _rounded(_interpolated(windows, phase, jnp.asarray(_TAPS, jnp.float32), axis=0))
            return self._cost(moved, candidate, expectation)

        costs = lax.platform_dependent(
            candidates, cpu=lambda each: lax.map(cost, each), default=lambda each: jax.vmap(cost)(each)
        )
        chosen = jnp.argmin(costs, axis=0)
        return jnp.take_along_axis(candidates, chosen[None, ..., None], axis=0)[0]

    def whole_pixels(self, vectors: Array) -> Array:
        """The cheapest of the whole-pixel vectors around those given."""
        expectation = _Expectation.of(vectors)
        windows = self._windows(vectors // PRECISION - _WHOLE_RANGE, BLOCK + 2 * _WHOLE_RANGE)

        def cost(offset: Array) -> tuple[Array, Array]:
            candidates = vectors + offset * PRECISION
            start = offset + _WHOLE_RANGE
            moved = lax.dynamic_slice(windows, (start[0], start[1], 0), self.blocks.shape)
            return self._cost(moved, candidates, expectation), candidates

        return _cheapest_offset(cost, _WHOLE_RANGE, vectors)

    def _windows(self, offsets: Array, size: int) -> Array:
        return _windows(self.padded, offsets, size).reshape(-1, size, size).transpose(1, 2, 0)

    def _cost(self, moved: Array, candidates: Array, expectation: "_Expectation") -> Array:
        """Cost of candidates [B, h, w, 2] that give the blocks `moved`."""
        difference = jnp.abs(self.blocks - moved).reshape(BLOCK * BLOCK, -1)
        sums: Array = lax.platform_dependent(difference, cpu=_sum_by_product, default=lambda each: each.sum(axis=0))
        return sums.reshape(candidates.shape[:-1]) + self.price * expectation.bits(candidates)


def _coarse_search(luma: Array, reference: Array, price: Array) -> Array:
    """The cheapest of all vectors [B, H/16, W/16, 2] in pictures of a quarter of the size; luma: [B, H, W]."""
    size, reach = BLOCK // _COARSE, _COARSE_RANGE
    small, small_reference = (_summed(x, _COARSE) for x in (luma, reference))
    padded = jnp.pad(small_reference, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    b, h, w = small.shape

    def cost(offset: Array) -> tuple[Array, Array]:
        moved = lax.dynamic_slice(padded, (0, reach + offset[0], reach + offset[1]), small.shape)
        difference = _summed(jnp.abs(small - moved), size)
        vectors = offset * (_COARSE * PRECISION)
        costs = _with_surroundings(difference) + price * _difference_bits(vectors)
        return costs, jnp.broadcast_to(vectors, (*costs.shape, 2))

    return _cheapest_offset(cost, reach, jnp.zeros((b, h // size, w // size, 2), jnp.int32))


def _cheapest_offset(cost: Callable[[Array], tuple[Array, Array]], reach: int, vectors: Array) -> Array:
    """For every block the cheapest of the vectors that `cost` makes of the offsets up to `reach`.

    On CPU offsets run one after the other, which stays in cache; elsewhere a row of offsets at a time, because the
    launches of that many small kernels would take longer than the kernels.
    """
    steps = jnp.arange(-reach, reach + 1)
    rows = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), axis=-1)
    nothing = (jnp.full(vectors.shape[:-1], jnp.inf), vectors)

    def better(best: _Best, found: Array, vectors: Array) -> _Best:
        wins = found < best[0]
        return jnp.where(wins, found, best[0]), jnp.where(wins[..., None], vectors, best[1])

    def one_by_one(offsets: Array) -> Array:
        found: _Best = lax.scan(lambda best, offset: (better(best, *cost(offset)), None), nothing, offsets)[0]
        return found[1]

    def by_rows(offsets: Array) -> Array:
        def consider(best: _Best, row: Array) -> tuple[_Best, None]:
            costs, vectors = jax.vmap(cost)(row)
            chosen = jnp.argmin(costs, axis=0)  # the first of equals, as above
            vectors = jnp.take_along_axis(vectors, chosen[None, ..., None], axis=0)[0]
            return better(best, costs.min(axis=0), vectors), None

        found: _Best = lax.scan(consider, nothing, offsets.reshape(rows.shape))[0]
        return found[1]

    result: Array = lax.platform_dependent(rows.reshape(-1, 2), cpu=one_by_one, default=by_rows)
    return result


@dataclasses.dataclass(frozen=True)
class _Expectation:
    """Prediction of vectors from those known so far.

    Attributes:
        median: [B, h, w, 2] of a block's vector and the eight around it.
        still: [B, h, w] bool, most of these nine are zero.
    """

    median: Array
    still: Array

    @classmethod
    def of(cls, vectors: Array) -> "_Expectation":
        """From vectors [B, h, w, 2]."""
        around = _around(vectors)
        still = (around == 0).all(axis=-1).sum(axis=0) >= _STILL_NEIGHBOURS
        return cls(jnp.sort(around, axis=0)[4], still)

    def bits(self, candidates: Array) -> Array:
        """Estimated bits of candidates [B, h, w, 2]: [B, h, w]."""
        surprise = (candidates != self.median).any(axis=-1) & self.still
        return _difference_bits(candidates - self.median) + jnp.where(surprise, _SURPRISE_BITS, 0.0)


def _sum_by_product(x: Array) -> Array:
    """Sum of the rows: XLA on CPU leaves a plain one to a single core."""
    return jnp.dot(jnp.ones(len(x)), x, precision=lax.Precision.HIGHEST)


def _difference_bits(difference: Array) -> Array:
    return jnp.asarray(_BITS)[jnp.abs(difference)].sum(axis=-1)


def _around(x: Array) -> Array:
    """[9, B, h, w, ...]: the values of a block and of the eight around it."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1)) + ((0, 0),) * (x.ndim - 3), mode="edge")
    return jnp.stack([padded[:, dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)])


def _near(vectors: Array) -> Array:
    """[6, B, h, w, 2]: the vectors of a block and of the four beside it, and none."""
    return jnp.concatenate([_around(vectors)[jnp.array([4, 1, 3, 5, 7])], jnp.zeros_like(vectors)[None]])


def _with_surroundings(cost: Array) -> Array:
    """Half the cost of a block and an eighth of each of the four beside it: a block alone is too ambiguous."""
    around = _around(cost)
    return 0.5 * around[4] + 0.125 * (around[1] + around[3] + around[5] + around[7])


def _summed(x: Array, size: int) -> Array:
    """[B, H, W] -> [B, H/size, W/size]."""
    b, h, w = x.shape
    return x.reshape(b, h // size, size, w // size, size).sum(axis=(2, 4))


def _interpolated(windows: Array, phase: Array, taps: Array, axis: int) -> Array:
    """Interpolate windows of 21x21 pixels at a fractional position: 16x16.

    Args:
        windows: rows and columns are the axes `axis` and `axis + 1`.
        phase: [2, ...] in quarter pixels; the other axes broadcast with the windows.
        taps: [4, 6].
        axis: see `windows`.
    """
    weights = taps[phase]  # [2, ..., 6]

    def filtered(x: Array, component: int) -> Array:
        parts = (lax.slice_in_dim(x, k, k + BLOCK, axis=axis + component) for k in range(taps.shape[1]))
        return sum((weights[component, ..., k] * part for k, part in enumerate(parts)), jnp.zeros((), x.dtype))

    return filtered(filtered(windows, 0), 1)


def _rounded(total: Array, white: int = FIXED_SCALE) -> Array:
    """Requantise sums of the taps in both directions to samples 0..white. Halves round up; exact in float32 too."""
    return jnp.clip((total + _TAP_SUM**2 // 2) // _TAP_SUM**2, 0, white)


def _padded(picture: Array) -> Array:
    return jnp.pad(picture, ((0, 0), (_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="edge")


def _windows(padded: Array, offsets: Array, size: int) -> Array:
    """Windows [B, h, w, size, size, C] at `offsets` [B, h, w, 2] pixels from every block of a padded picture."""
    b, h, w, _ = offsets.shape
    return _windows_at(padded, _grid(h, w) + offsets.reshape(b, h * w, 2), size).reshape(b, h, w, size, size, -1)


def _grid(h: int, w: int) -> Array:
    """The first pixels [h * w, 2] of blocks."""
    return BLOCK * jnp.stack(jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij"), axis=-1).reshape(h * w, 2)


def _windows_at(padded: Array, corners: Array, size: int) -> Array:
    """Windows [B, n, size, size, C] at `corners` [B, n, 2] of a picture."""

    def window(picture: Array, corner: Array) -> Array:
        return lax.dynamic_slice(picture, (corner[0], corner[1], 0), (size, size, picture.shape[-1]))

    return jax.vmap(jax.vmap(window, (None, 0)))(padded, corners + _REACH)
