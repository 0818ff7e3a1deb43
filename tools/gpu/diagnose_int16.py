"""Find the operations of the int16 arithmetic whose integers on this device are not those of the CPU.

python tools/gpu/diagnose_int16.py [--output OUT.json] [--seconds N] [--strategies A,B] [--no-autotune]
                                   [--record FILE | --calls FILE]

One line a check, at once: how many numbers are wrong, and one of them. Every program is run several times with two
sets of inputs in turn: with one set, a kernel that reads memory before another one has written it would find the right
numbers there. The checks are, in this order, elementwise operations and tables, the stages of the tiny codec (each on
the inputs that it had on a CPU, so the first wrong one is named), also compiled in other ways, products of its shapes,
and large products. --record FILE notes the stages on a CPU, --calls FILE reads them again, which saves their time on
the device. The folders tools, tests and tests/codec have to be on PYTHONPATH, and JAX has to see the CPU too:
JAX_PLATFORMS is unset, or "cuda,cpu".
"""

import argparse
import dataclasses
import functools
import inspect
import json
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import recording
import synthetic
import test_int16
from jax import lax

from nvc_jax.codec import integers, stages
from nvc_jax.codec.model import Codec
from nvc_jax.models.networks import networks
from nvc_jax.ops import exact, fixed
from nvc_jax.ops.arithmetic import to_precision
from nvc_jax.ops.block import BlockLayers
from nvc_jax.ops.exact import ExactKernel, Wide

RUNS = 4
WAYS: dict[str, dict[str, Any]] = {
    "": {},
    " without PDL": {"xla_gpu_enable_pdl": False},  # kernels that start before the one before them has ended
    " without CUDA graphs": {"xla_gpu_graph_min_graph_size": 1 << 30},
    " without Triton": {"xla_gpu_enable_triton_gemm": False},
}
NO_AUTOTUNE = {"xla_gpu_autotune_level": 0}

# (M, K, N) of all products of the tiny codec at 33x17, those with few rows first.
TINY_SHAPES = [
    (1, 8, 8), (1, 8, 32), (1, 16, 8), (1, 32, 8), (4, 8, 8), (4, 8, 32), (4, 16, 8), (4, 32, 8), (6, 16, 16),
    (6, 16, 48), (6, 16, 64), (6, 32, 16), (6, 34, 16), (6, 64, 16), (6, 144, 16), (6, 144, 64), (16, 8, 8),
    (16, 8, 16), (16, 8, 32), (16, 16, 8), (16, 16, 34), (16, 16, 64), (16, 32, 16), (24, 16, 16), (24, 16, 192),
    (24, 32, 16), (24, 192, 16), (24, 192, 192), (24, 192, 768), (24, 384, 192),
]  # fmt: skip
LARGE_SHAPES = [
    (510, 128, 128), (2040, 384, 384), (2041, 256, 768), (8160, 1152, 128), (8160, 256, 1024), (32640, 512, 256),
    (32640, 192, 256), (32641, 320, 320), (130, 2304, 128),
]  # fmt: skip


@dataclasses.dataclass
class Check:
    """A function of arrays and its expected result, a tree of arrays."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    expected: Callable[[], Any]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def compile(self) -> tuple[Any, Any, Any, Any]:
        """Compile; give the program, both sets of inputs, and the expected result."""
        compiled = jax.jit(self.function).lower(*self.inputs).compile(self.options or None)
        others = jax.tree.map(lambda leaf: np.flip(np.asarray(leaf)), self.inputs)
        with jax.enable_x64(True):  # float64 stays what it is
            inputs, others = jax.device_put((self.inputs, others))
        return compiled, inputs, others, jax.tree.map(np.asarray, self.expected())

    def compare(self, program: Any, inputs: Any, others: Any, expected: Any) -> dict[str, Any]:
        """Run the program and count wrong numbers."""
        row = {"name": self.name, "wrong": 0, "of": sum(leaf.size for leaf in jax.tree.leaves(expected)), "example": ""}
        runs = []
        for _ in range(RUNS):
            found = program(*inputs)
            program(*others)
            runs.append(found)
        for number, found in enumerate(runs):
            wrong = 0
            for (path, ours), theirs in zip(
                jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
            ):
                ours = np.asarray(ours)
                differs = ours != theirs
                wrong += int(differs.sum())
                if differs.any() and not row["example"]:
                    index = tuple(int(i) for i in np.argwhere(differs)[0])
                    place = f"run {number}, {jax.tree_util.keystr(path)}{list(index)}"
                    row["example"] = f"{place}: {theirs[index]} expected, {ours[index]} found"
            row["wrong"] = max(row["wrong"], wrong)
            row.setdefault("runs", []).append(wrong)
        return row


def on_cpu(function: Callable[..., Any], *inputs: Any) -> Callable[[], Any]:
    """Defer a function to the CPU."""
    cpu = jax.devices("cpu")[0]
    return lambda: jax.jit(function)(*jax.device_put(inputs, cpu))


# --- operations


def operations() -> Iterator[Check]:
    """Check every function of `ops.fixed` but products, on random numbers and on the ends of their ranges."""
    rng = np.random.default_rng(0)

    def numbers(*shape: int, low: int = -32768, high: int = 32767) -> np.ndarray:
        x = rng.integers(low, high, shape, np.int16, endpoint=True)
        x.ravel()[:2] = low, high
        x.ravel()[2 : x.size // 2] >>= 6
        return np.clip(x, low, high).astype(np.int16)

    every = np.arange(-32768, 32768).astype(np.int16)
    x, other = numbers(4, 64, 128), numbers(4, 64, 128)
    positive = numbers(4, 64, 128, low=256)
    wide = rng.integers(-(1 << 31) + (1 << 20), (1 << 31) - (1 << 20), (1 << 16,), np.int32)
    samples = np.arange(256).astype(np.uint8).reshape(1, 1, 256)
    luma_and_chroma = [rng.integers(0, 256, shape, np.uint8) for shape in ((1, 17, 33), *[(1, 9, 17)] * 2)]
    cases: dict[str, tuple[Any, ...]] = {
        "real samples": (lambda s: fixed.from_real(s.astype(jnp.float32) / 255.0), samples),
        "picture of planes": (_pictures, *luma_and_chroma),
        "saturate": (fixed.saturate, wide),
        "divide by 2^8": (lambda a: fixed.divide(a, 8), wide),
        "divide by 2^9": (lambda a: fixed.divide(a, 9), wide),
        "add": (fixed.add, x, other),
        "multiply": (fixed.multiply, x, other),
        "multiply by a reciprocal": (lambda a, q: fixed.multiply(a, fixed.Reciprocal(q)), x, positive),
        "wsilu, unit 9": (lambda a: fixed.wsilu(a, 9), every),
        "wsilu, unit 8": (lambda a: fixed.wsilu(a, 8), every),
        "position gain": (fixed.position_gain, every),
        "interpolate": (fixed.interpolate, numbers(72, 16), np.array([0, 30, 40.0, 71, 12.5], np.float32)),
        "table indexes": (fixed.table_indexes, every, np.int32(61)),
        "to symbols": (fixed.to_symbols, x, other),
        "from symbols": (fixed.from_symbols, np.tile(np.arange(-128, 128), 64).astype(np.int8), numbers(16384)),
        "to uint8": (fixed.to_uint8, np.arange(513).astype(np.int16)),
        "to uint8 of 4": (lambda a: fixed.to_uint8(a, 4 * 512), np.arange(2049).astype(np.int32)),
        "fine pictures": (lambda a: to_precision(fixed.to_picture(a, fine=True), jnp.int16), every),
        "planes of a picture": (
            lambda a: stages.planes_from_pictures(a, 33, 17),
            numbers(1, 1, 32, 48, 3, low=0, high=512),
        ),
        "planes of a fine picture": (
            lambda a: stages.planes_from_pictures(a, 33, 17),
            numbers(1, 1, 32, 48, 3, low=0, high=4096).astype(np.uint16),
        ),
    }
    for name, (function, *inputs) in cases.items():
        yield Check(name, function, tuple(inputs), on_cpu(function, *inputs))
    for channels in (8, 16, 192):
        picture = numbers(1, 4, 6, channels)
        taps, bits = rng.integers(-12000, 12000, (3, 3, channels), np.int16), np.full(channels, 13, np.uint8)
        inputs = picture, exact.prepare_taps(taps, bits), bias_of(channels)
        yield Check(f"depthwise, {channels} channels", fixed.depthwise3x3, inputs, on_cpu(fixed.depthwise3x3, *inputs))


def _pictures(*planes: jax.Array) -> jax.Array:
    return to_precision(stages.pictures_from_planes(*planes), jnp.int16)


def bias_of(channels: int) -> np.ndarray:
    """Draw biases up to their bound."""
    return np.random.default_rng(channels).integers(-(1 << 28), 1 << 28, channels, np.int32)


# --- products


@functools.cache
def _problem(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw activations, weights and their bits, and compute the exact product."""
    m, k, n = shape
    rng = np.random.default_rng(0)
    x = rng.integers(-32768, 32768, (m, k), np.int16)
    x[: m // 2] >>= 6
    w = rng.integers(-min(exact.WEIGHT_MAX, (1 << 22) // k), min(exact.WEIGHT_MAX, (1 << 22) // k), (k, n), np.int16)
    product = np.rint(x.astype(np.float64) @ w.astype(np.float64)).astype(np.int64)  # exact: below 2^53
    return x, w, np.full(n, 18, np.uint8), product


def _rounded(total: np.ndarray, bits: np.ndarray) -> np.ndarray:
    bits = bits.astype(np.int64)
    return np.clip((total + (1 << (bits - 1)) - (total < 0)) >> bits, -32768, 32767)


def _whole(x: jax.Array, kernel: ExactKernel) -> tuple[jax.Array, jax.Array]:
    """Split a product in its upper part and its lower 8 bits."""
    total: Wide = exact.product(x, kernel)
    return total.high + (total.low >> 8), total.low & 255


def products(shapes: list[tuple[int, int, int]], strategy: str, ways: dict[str, dict[str, Any]]) -> Iterator[Check]:
    """Check layers and bare products, the latter also compiled in other ways."""
    for shape in shapes:
        x, w, bits, product = _problem(shape)
        kernel, bias = exact.prepare(w, bits, strategy), bias_of(shape[2])
        name = "x".join(map(str, shape)) + f" by {strategy}"

        def finished(product: Any = product, bias: Any = bias, bits: Any = bits) -> np.ndarray:
            return _rounded(product + bias, bits)

        def whole(product: Any = product) -> tuple[np.ndarray, np.ndarray]:
            return product >> 8, product & 255

        yield Check(f"layer {name}", fixed.affine, (x, kernel, bias), finished)
        for way, options in ways.items():
            yield Check(f"product {name}{way}", _whole, (x, kernel), whole, options)


def planes(shapes: list[tuple[int, int, int]], ways: dict[str, dict[str, Any]]) -> Iterator[Check]:
    """Check products of int8 arrays in memory, alone and of two pairs side by side."""
    for m, k, n in shapes:
        rng = np.random.default_rng(1)
        a, b = (rng.integers(-128, 128, (m, k), np.int8) for _ in range(2))
        v, w = (rng.integers(-128, 128, (k, n), np.int8) for _ in range(2))
        alone, both = (sum(p.astype(int) @ q.astype(int) for p, q in pairs) for pairs in ([(a, v)], [(a, v), (b, w)]))
        name = f"{m}x{k}x{n}"
        for way, options in ways.items():
            yield Check(f"int8 {name}{way}", _dot, (a, v), lambda alone=alone: alone, options)
            yield Check(f"int8 {name}, side by side{way}", _side_by_side, (a, b, v, w), lambda both=both: both, options)
        yield Check(f"sum of int8 {k}x{n}", _column_sums, (v,), lambda v=v: v.astype(int).sum(axis=0))


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return lax.dot_general(a, b, (((1,), (0,)), ((), ())), lax.Precision.HIGHEST, preferred_element_type=jnp.int32)


def _side_by_side(a: jax.Array, b: jax.Array, v: jax.Array, w: jax.Array) -> jax.Array:
    return _dot(jnp.concatenate([a, b], axis=-1), jnp.concatenate([v, w]))


def _column_sums(v: jax.Array) -> jax.Array:
    return v.sum(axis=0, dtype=jnp.int32)


# --- layers and stages


def blocks(strategy: str) -> Iterator[Check]:
    """Check DC blocks and 3x3 convolutions of the tiny codec."""
    for channels, height, width in ((8, 1, 1), (8, 2, 2), (16, 2, 3), (16, 4, 6), (192, 4, 6)):
        rng = np.random.default_rng(channels)

        def layer(inputs: int, outputs: int, rng: Any = rng) -> tuple[np.ndarray, np.ndarray]:
            return rng.integers(-30000 // inputs, 30000 // inputs, (inputs, outputs), np.int16), np.full(outputs, 13)

        def block(x: Any, layers: Any) -> Any:
            return fixed.dc_block(x, layers, True)

        shapes = [(channels, channels), (channels, channels), (channels, 4 * channels), (2 * channels, channels)]
        weights, taps = [layer(*s) for s in shapes], layer(9, channels)
        x = rng.integers(-3000, 3000, (1, height, width, channels), np.int16)

        def layers(kind: str, weights: Any = weights, taps: Any = taps) -> BlockLayers:
            bias = [np.zeros(len(bits), np.int32) for _, bits in weights]
            first, project, widen, narrow = (
                (exact.prepare(w, b.astype(np.uint8), kind), z) for (w, b), z in zip(weights, bias, strict=True)
            )
            middle = exact.prepare_taps(taps[0].reshape(3, 3, -1), taps[1].astype(np.uint8)), bias[0]
            return BlockLayers(first, middle, project, widen, narrow)

        name = f"DC block {height}x{width}x{channels} by {strategy}"
        yield Check(name, block, (x, layers(strategy)), on_cpu(block, x, layers("int32")))
        for stride in (1, 2) if height % 2 == 0 else ():
            w, bits = layer(9 * channels, 16)
            ours, theirs = (exact.prepare(w, bits.astype(np.uint8), kind) for kind in (strategy, "int32"))
            convolve = functools.partial(fixed.convolve3x3, stride=stride)
            inputs, theirs_in = (x, ours, np.zeros(16, np.int32)), (x, theirs, np.zeros(16, np.int32))
            name = f"3x3 of {height}x{width}x{channels}, stride {stride}, by {strategy}"
            yield Check(name, convolve, inputs, on_cpu(convolve, *theirs_in))


def record() -> list[dict[str, Any]]:
    """Record every stage of the tiny codec with every structure of its state, on a CPU: NumPy arrays."""
    with jax.default_device(jax.devices("cpu")[0]):
        codec = Codec(synthetic.tiny_model(), "int16", "int32")
        with recording.recorded_stages() as calls:
            test_int16.decode(codec, test_int16.encode(codec))
    names = {config: name for name, config in codec.stored.config.networks}
    recorded, seen = [], set()
    for call in calls:
        inputs = dict(call.inputs)
        network, _ = inputs.pop("network", None), inputs.pop("params", None)
        static = {k: v for k, v in inputs.items() if k in ("step", "steps", "latent_size")}
        arrays = {k: v for k, v in inputs.items() if k not in static and v is not None}
        name = "" if network is None else names[network.config]
        key = call.stage, name, str(static), str(jax.tree.map(jnp.shape, arrays))
        if key not in seen:
            seen.add(key)
            arrays, output = jax.tree.map(np.asarray, (arrays, call.output))
            found = {"static": static, "inputs": arrays, "output": output}
            recorded.append({"stage": call.stage, "network": name, **found})
    return recorded


def staged(calls: list[dict[str, Any]], strategy: str, options: dict[str, Any], way: str) -> Iterator[Check]:
    """Check every stage on the inputs that a CPU had."""
    stored = integers.integerise(synthetic.tiny_model())
    params = integers.prepare_params(stored.params, strategy)
    for call in calls:
        function = inspect.unwrap(getattr(stages, call["stage"]))
        given = dict(call["static"])
        inputs = dict(call["inputs"])
        for name in inspect.signature(function).parameters:
            if name in ("context", "y_hat", "temporal") and name not in inputs:
                given[name] = None
        network = call["network"]
        if network:
            given["network"] = networks(stored.config)[network]
            inputs["params"] = params[network]
        settings = ", ".join(f"{k} {v}" for k, v in call["static"].items() if k in ("step", "steps"))
        name = " ".join(filter(None, ["stage", call["stage"], network, settings, f"by {strategy}{way}"]))
        yield Check(
            name,
            lambda inputs, function=function, given=given: function(**given, **inputs),
            (inputs,),
            lambda call=call: call["output"],
            options,
        )


def checks(calls: list[dict[str, Any]], strategies: list[str], base: dict[str, Any]) -> Iterator[Check]:
    """Make all checks, the cheapest and most telling first."""
    on_gpu = jax.default_backend() == "gpu"
    ways = {way: base | options for way, options in WAYS.items()} if on_gpu else {"": base}
    first = strategies[0]
    yield from operations()
    for way, options in ways.items():
        yield from staged(calls, first, options, way)
    yield from products(TINY_SHAPES, first, {})
    yield from planes(TINY_SHAPES[::3], {way: ways[way] for way in ("", " without Triton") if way in ways})
    yield from blocks(first)
    for strategy in strategies[1:]:
        yield from staged(calls, strategy, base, "")
    yield from products(TINY_SHAPES + LARGE_SHAPES, first, ways)
    for strategy in strategies[1:]:
        yield from products(TINY_SHAPES + LARGE_SHAPES, strategy, {})


def main() -> int:
    """Run the checks; the exit code is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seconds", type=float, default=50.0)
    parser.add_argument("--strategies", default="int8,int32,float32,bfloat16,float64")
    parser.add_argument("--no-autotune", action="store_true", help="take XLA's first choice of every kernel")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--calls", type=Path)
    parser.add_argument("--threads", type=int, default=16, help="programs compiled side by side")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    if options.record:
        options.record.write_bytes(pickle.dumps(record()))
        return 0
    if jax.default_backend() == "cpu":
        parser.exit(1, "diagnose_int16.py: JAX finds no accelerator whose integers to compare with the CPU's.\n")
    calls = pickle.loads(options.calls.read_bytes()) if options.calls else record()
    rows: list[dict[str, Any]] = []
    base = NO_AUTOTUNE if options.no_autotune and jax.default_backend() == "gpu" else {}
    pool = ThreadPoolExecutor(options.threads)
    waiting: list[tuple[Check, Future[tuple[Any, ...]]]] = []

    def finish() -> None:
        check, program = waiting.pop(0)
        try:
            row = check.compare(*program.result(max(0.0, end - time.monotonic())))
        except Exception as error:
            row = {"name": check.name, "error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        rows.append(row)
        told = row.get("error") or (
            f"{row['wrong']} of {row['of']} WRONG, {row['example']}" if row["wrong"] else "right"
        )
        print(f"{check.name}: {told}", flush=True)

    for check in checks(calls, options.strategies.split(","), base):
        if time.monotonic() > end:
            print("time is up", flush=True)
            break
        waiting.append((check, pool.submit(check.compile)))
        if len(waiting) >= 2 * options.threads:
            finish()
    while waiting and time.monotonic() < end:
        finish()
    pool.shutdown(wait=False, cancel_futures=True)
    bad = [row["name"] for row in rows if row.get("wrong") or "error" in row]
    print(f"{len(rows)} checks on {jax.devices()[0].device_kind}; not right: {', '.join(bad) or 'none'}", flush=True)
    if options.output:
        found = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "checks": rows}
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    return bool(bad)


if __name__ == "__main__":
    raise SystemExit(main())
