"""From trained parameters to those of the int16 arithmetic (docs/INT16.md, sections 2 and 8)."""

import dataclasses
import functools
import math
import time
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from nvc_jax.codec.store import StoredModel, make_model
from nvc_jax.errors import ConfigError, ModelError
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.networks import networks
from nvc_jax.models.params import ParamTree, flatten, is_depthwise, is_kernel, unflatten
from nvc_jax.models.units import UnitFollower
from nvc_jax.ops import exact, fixed, native, native_int16
from nvc_jax.ops.exact import CHANNEL_MAX, WEIGHT_MAX
from nvc_jax.spec import FIXED_BITS, FIXED_LARGE_BITS, FIXED_SCALE, FIXED_WEIGHT_BITS

BIAS_MAX = 1 << 28
INT16_MAX = (1 << 15) - 1

COMMON_BITS = 13  # weights in units of 1/8192, as the published int16 mode has them
SMALL_SUM = 1 << 17  # sums of magnitudes up to it are one block of the float32 strategy

_NOT_TRIED = 1e9  # seconds: slower than any, but better than wrong
# (M, K, N) of the products that are tried: few of each, sizes that no tile divides, and a large one to be timed.
_ODD_TRIALS = (1, 8, 32), (6, 34, 18)
_LARGE_TRIAL = 512, 256, 512
_affine = jax.jit(fixed.affine)
Real = npt.NDArray[np.float64]


def integerise(model: StoredModel) -> StoredModel:
    """The int16 model of a trained one.

    The distribution of z is left out: its tables say all that coding needs. The identity stays.
    """
    if model.precision == "int16":
        return model
    params = to_integers(in_units(model.params, model.config))
    made = make_model(model.config, params, f"int16 of {model.source}", model.tables, model.offsets)
    return dataclasses.replace(
        made, identity=model.identity, int16_identity=model.int16_identity, unfiltered=model.unfiltered
    )


def in_units(params: ParamTree, config: CodecConfig) -> dict[str, Any]:
    """The parameters of the same networks, computing on numbers in their units as if all of them were in 1/512.

    Returns:
        Trees of float64, see `UnitFollower.parameters`.
    """
    trees = {}
    for name, network in networks(config).items():
        follower = UnitFollower(params[name])
        network.fixed_units(follower)
        trees[name] = unflatten(follower.parameters)
    return trees


def to_integers(params: ParamTree) -> dict[str, Any]:
    """Every parameter times its scale, rounded half to even, and clamped.

    Multiplications by powers of two and roundings are exact, so every machine makes the same integers.
    """
    integers: dict[str, npt.NDArray[Any]] = {}
    real = {name: leaf.astype(np.float64) for name, leaf in flatten(params).items()}
    for name, leaf in real.items():
        if is_kernel(name):
            bits = _weight_bits(leaf, real[_sibling(name, "bias")])
            bias = real[_sibling(name, "bias")] * FIXED_SCALE
            integers[name] = _rounded(np.ldexp(leaf, bits), WEIGHT_MAX, np.int16)
            integers[_sibling(name, "bits")] = bits.astype(np.uint8)
            integers[_sibling(name, "bias")] = _rounded(np.ldexp(bias, bits), BIAS_MAX, np.int32)
        elif name.endswith("/vectors"):
            integers[name] = _rounded(leaf * FIXED_SCALE, INT16_MAX, np.int16)
        elif _part(name) == "unit":
            integers[name] = leaf.astype(np.uint8)
    return unflatten(integers)


def clamped_parameters(model: StoredModel) -> dict[str, int]:
    """Count the values of each parameter of an int16 model that are at the end of their range, by name.

    Weights only where they had no more bits to give: elsewhere the largest may come to the end by rounding.
    """
    flat = flatten(model.params)
    counts = {}
    for name, leaf in flat.items():
        magnitudes = np.abs(leaf.astype(np.int64))
        if is_kernel(name):
            at_end = (magnitudes >= WEIGHT_MAX) & (flat[_sibling(name, "bits")] == FIXED_WEIGHT_BITS[0])
        else:
            at_end = magnitudes >= (BIAS_MAX if _part(name) == "bias" else INT16_MAX)
        counts[name] = int(at_end.sum())
    return {name: count for name, count in counts.items() if count}


def prepare_params(params: ParamTree, strategy: str) -> dict[str, Any]:
    """Parameters of an int16 model on the device, kernels prepared for exact products.

    Args:
        params: trees of integers.
        strategy: one of `ops.native.available`, or a key of `ops.exact.STRATEGIES`.

    Raises:
        ModelError: a kernel's sums cannot be bounded, or its unit is none; its name is told.
        ConfigError: this machine does not have the strategy.
    """
    flat = flatten(params)
    prepared: dict[str, Any] = {}
    for name, leaf in flat.items():
        try:
            if is_kernel(name):
                unit = int(flat.get(_unit_of(name), FIXED_BITS))
                prepared[name] = _prepared(name, leaf, flat[_sibling(name, "bits")], strategy, unit)
            elif _part(name) not in ("bits", "unit"):
                if np.abs(leaf.astype(np.int64)).max() > BIAS_MAX:
                    raise ModelError(f"a value exceeds {BIAS_MAX}.")
                prepared[name] = jax.device_put(leaf)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None
    return unflatten(prepared)


@functools.cache
def fastest_strategy() -> str:
    """The kernel backend to take: in C++ that of the newest ISA, else the fastest of XLA's in a trial.

    That a strategy is exact follows from its bounds, if the machine's sums are what they should be; one that fails a
    trial is not chosen. All give the same integers, so a stopwatch may choose. C++ is not timed: a neighbour on a
    shared core may make AMX lose a trial although it wins over a whole video.
    """
    for isa in native.available("int16"):
        if _trial(isa) < math.inf:
            return isa
    safe, *tried = strategies_of(jax.default_backend())
    seconds = {strategy: _trial(strategy) for strategy in tried}
    return min([safe, *tried], key=lambda strategy: seconds.get(strategy, _NOT_TRIED))


def strategies_of(platform: str) -> tuple[str, ...]:
    """Kernel backends of XLA on a platform; the first, a slow one, is taken where no other is right.

    Those of `ops.native` are not among them: they need the right processor.
    """
    return ("int32", "float32", "bfloat16") if platform == "cpu" else ("int32", "int8")


def _trial(strategy: str) -> float:
    """Seconds of a large product, infinite if any product of a trial is wrong."""
    seconds = math.inf
    odd = _ODD_TRIALS if strategy in exact.STRATEGIES else ()  # those of C++ are tested, and start with every process
    for rows, inputs, outputs in (*odd, _LARGE_TRIAL):
        rng = np.random.default_rng(inputs)
        reach = min(1 << 10, CHANNEL_MAX // inputs)
        weights = rng.integers(-reach, reach, (inputs, outputs), np.int16)
        kernel = _prepared("kernel", weights, np.full(outputs, COMMON_BITS, np.uint8), strategy, FIXED_BITS)
        bias = rng.integers(-BIAS_MAX, BIAS_MAX, outputs, np.int32)
        arguments = []
        for _ in range(2):
            x = rng.integers(-1 << 15, 1 << 15, (rows, inputs), np.int16)
            x[: rows // 2] >>= 7  # rows whose sums are small
            arguments.append(x)
        expected = [_expected(x, weights, bias) for x in arguments]
        on_device = jax.device_put(arguments)
        times, results = [], []
        for turn in range(8):  # the first compiles; what others left in memory must not matter
            start = time.perf_counter()
            results.append(_affine(on_device[turn % 2], kernel, bias).block_until_ready())
            times.append(time.perf_counter() - start)
        if not all(np.array_equal(result, expected[turn % 2]) for turn, result in enumerate(results)):
            return math.inf
        seconds = min(times)
    return seconds


def _expected(x: npt.NDArray[np.int16], weights: npt.NDArray[np.int16], bias: npt.NDArray[np.int32]) -> Any:
    """Output of a layer of COMMON_BITS."""
    total = (x.astype(np.float64) @ weights.astype(np.float64)).astype(np.int64) + bias  # below 2^53
    rounded = (total + (1 << (COMMON_BITS - 1)) - (total < 0)) >> COMMON_BITS
    return np.clip(rounded, -32768, 32767)


def _prepared(name: str, weights: npt.NDArray[np.int16], bits: npt.NDArray[np.uint8], strategy: str, unit: int) -> Any:
    """A kernel, ready for `ops.fixed`; unit: of what it gives."""
    if unit not in (FIXED_BITS, FIXED_LARGE_BITS):
        raise ModelError(f"its DC block has unit {unit}; {FIXED_LARGE_BITS} or {FIXED_BITS} is allowed.")
    exact.check(weights, bits)
    depthwise = is_depthwise(name)
    if strategy in exact.STRATEGIES:
        return exact.prepare_taps(weights, bits) if depthwise else exact.prepare(weights, bits, strategy, unit)
    kinds = native.available("int16")
    if strategy not in kinds:
        available = ", ".join([*kinds, *exact.STRATEGIES])
        raise ConfigError(f"unknown kernel backend {strategy!r}; available: {available}.")
    if depthwise:
        return native_int16.pack_taps(weights, bits, strategy)
    return native_int16.pack(weights, bits, strategy, unit)


def _weight_bits(weights: Real, bias: Real) -> npt.NDArray[np.int64]:
    """Fractional bits of each output channel [N]: as many as fit, but more than COMMON_BITS only if sums stay small."""
    magnitudes = np.abs(weights).reshape(-1, weights.shape[-1])
    fitting = _bits_below(WEIGHT_MAX, magnitudes.max(axis=0))
    small = np.minimum(
        _bits_below(SMALL_SUM, magnitudes.sum(axis=0)), _bits_below(BIAS_MAX / FIXED_SCALE, np.abs(bias))
    )
    bounded = _bits_below(CHANNEL_MAX // 2, magnitudes.sum(axis=0))
    return np.clip(np.minimum(np.minimum(fitting, bounded), np.maximum(small, COMMON_BITS)), *FIXED_WEIGHT_BITS)


def _bits_below(limit: float, values: Real) -> npt.NDArray[np.int64]:
    """The largest b with values * 2^b below the limit."""
    return np.frexp(limit / np.maximum(values, 2.0**-64))[1] - 1


def _rounded(values: Real, largest: int, dtype: Any) -> npt.NDArray[Any]:
    return np.clip(np.rint(values), -largest, largest).astype(dtype)


def _part(name: str) -> str:
    """`kernel_in` and `kernel` are kernels."""
    return name.rsplit("/", 1)[1].split("_")[0]


def _unit_of(kernel: str) -> str:
    """`intra/encoder_in/ffn/kernel_in` to `intra/encoder_in/unit`: that of a DC block."""
    return kernel.rsplit("/", 2)[0] + "/unit"


def _sibling(kernel: str, part: str) -> str:
    """`ffn/kernel_in` to `ffn/bias_in`."""
    layer, leaf = kernel.rsplit("/", 1)
    return f"{layer}/{leaf.replace('kernel', part)}"
