"""Measure the machine's peaks: the rate of a large matrix product and of a large copy."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from nvc_jax.benchmark.clock import seconds_of

_SIDE = {"cpu": 2048}  # of the matrices; accelerators need larger ones
_LARGE_SIDE = 8192
_COPY_BYTES = {"cpu": 1 << 28}
_LARGE_COPY_BYTES = 1 << 31
_CALLS = 5


@dataclasses.dataclass
class Peaks:
    """The best rates measured so far.

    Attributes:
        dtype: of the matrices; accumulation is in float32 or int32.
        operations: multiplications and additions of a matrix product per second.
        copied: bytes read and written by a copy per second.
    """

    dtype: DTypeLike
    operations: float = 0.0
    copied: float = 0.0

    def measure(self) -> None:
        """Measure again and keep the best, so that a busy moment does not lower the peaks."""
        platform = jax.default_backend()
        side = _SIDE.get(platform, _LARGE_SIDE)
        # Random operands: products of ones draw less power and run at a higher clock.
        a = jax.random.randint(jax.random.key(0), (side, side), -2, 3, jnp.int8).astype(self.dtype)
        length = _COPY_BYTES.get(platform, _LARGE_COPY_BYTES) // 8
        x = jnp.zeros(length, jnp.float32)
        _product(a), _copy(x)
        product = min(seconds_of(lambda: _product(a)) for _ in range(_CALLS))
        copy = min(seconds_of(lambda: _copy(x)) for _ in range(_CALLS))
        self.operations = max(self.operations, 2.0 * side**3 / product)
        self.copied = max(self.copied, 8.0 * length / copy)


@jax.jit
def _product(a: jax.Array) -> jax.Array:
    total = jnp.int32 if jnp.issubdtype(a.dtype, jnp.integer) else jnp.float32
    return jnp.matmul(a, a, precision="highest", preferred_element_type=total)


@jax.jit
def _copy(x: jax.Array) -> jax.Array:
    return x + 1.0
