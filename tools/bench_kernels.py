"""The DC block on a GPU: XLA beside the Pallas kernels in every tiling that fits, in one run.

python tools/bench_kernels.py --output OUT.json [--size 1920x1080] [--precision bfloat16]

For each width and stride of dcvc_rt's inter codec: microseconds of a block by XLA (with its own products and with
cuBLAS alone), of `head` and of `tail` in each tiling, and how far the results are from float32. Blocks are chained in
one program, as in the codec.
"""

import argparse
import functools
import itertools
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.arguments import parse_size
from nvc_jax.files import atomic_output
from nvc_jax.ops import floating, pallas_block
from nvc_jax.ops.block import BlockLayers, PallasKernel
from nvc_jax.ops.pallas_block import Tiling

SHAPES = ((256, 8), (320, 8), (384, 16), (128, 16))  # (channels, stride)
CHAINED = 8
RUNS = 7
SQUARES = ((64, 4), (64, 8), (128, 8))  # (positions, warps)
TAILS = [
    Tiling(positions, channels, middle, warps, stages)
    for (positions, warps), channels, middle, stages in itertools.product(SQUARES, (32, 64), (32, 64), (2, 3))
]
HEADS = [
    Tiling(positions, channels, 0, warps, stages)
    for (positions, warps), channels, stages in itertools.product(SQUARES, (32, 64), (2, 3, 4))
]
CUBLAS = {"xla_gpu_enable_triton_gemm": False}


def random_layers(rng, channels, dtype):
    """A block that keeps the size of its input."""

    def layer(*shape, fan_in):
        bias = rng.normal(0, 0.1, shape[-1])
        return jnp.asarray(rng.normal(0, 0.5 / np.sqrt(fan_in), shape), dtype), jnp.asarray(bias, dtype)

    c = channels
    return BlockLayers(
        layer(c, c, fan_in=c),
        layer(3, 3, c, fan_in=9),
        layer(c, c, fan_in=c),
        layer(c, 4 * c, fan_in=c),
        layer(2 * c, c, fan_in=2 * c),
    )


def packed(layers, interpret=False):
    """The same layers for the Pallas kernels."""
    return BlockLayers(
        *((kernel if kernel.ndim == 3 else PallasKernel(kernel, interpret), bias) for kernel, bias in layers)
    )


def compiled(function, *inputs, compiler_options=None):
    """A program of CHAINED applications, and None where it does not fit."""

    def chained(x, *rest):
        return jax.lax.fori_loop(0, CHAINED, lambda _, x: function(x, *rest), x)

    try:
        program = jax.jit(chained).lower(*inputs).compile(compiler_options)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    return functools.partial(program, *inputs)


def microseconds(program):
    """Median time of one application."""
    program().block_until_ready()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        for _ in range(4):
            result = program()
        result.block_until_ready()
        times.append((time.perf_counter() - start) / 4 / CHAINED)
    return 1e6 * statistics.median(times)


def measure(channels, height, width, dtype, threads):
    """All ways of a block of one size."""
    rng = np.random.default_rng(0)
    layers = random_layers(rng, channels, dtype)
    x = jnp.asarray(rng.standard_normal((1, height, width, channels)), dtype)
    kernels = packed(layers)
    plain = functools.partial(floating.dc_block, shortcut=False)
    with jax.default_matmul_precision("highest"):
        exact = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), layers)
        expected = np.asarray(jax.jit(plain)(x.astype(jnp.float32), exact))

    def error(result):
        return float(np.abs(np.asarray(result, np.float32) - expected).mean() / np.abs(expected).mean())

    def head(x, kernels, tiling):
        return pallas_block.head(x, kernels.first, tiling)

    def tail(x, kernels, tiling):
        return pallas_block.tail(x, x, kernels, False, tiling)

    ways = {
        "xla": threads.submit(compiled, plain, x, layers),
        "cublas": threads.submit(compiled, plain, x, layers, compiler_options=CUBLAS),
        "pallas": threads.submit(compiled, plain, x, kernels),
    }
    tilings = {"heads": (head, HEADS), "tails": (tail, TAILS)}
    programs = {
        kind: [
            (tiling, threads.submit(compiled, functools.partial(part, tiling=tiling), x, kernels)) for tiling in every
        ]
        for kind, (part, every) in tilings.items()
    }
    row = {
        "channels": channels,
        "height": height,
        "width": width,
        "flops": 2.0 * height * width * channels**2 * 8,  # of the products
        "xla_error": error(jax.jit(plain)(x, layers)),
    }
    if ways["pallas"].result() is not None:  # it fits
        row["pallas_error"] = error(jax.jit(plain)(x, kernels))
    row |= {f"{name}_us": microseconds(program.result()) for name, program in ways.items() if program.result()}
    for kind, every in programs.items():
        fitting = [(tiling, program.result()) for tiling, program in every if program.result() is not None]
        found = [{**vars(tiling), "us": microseconds(program)} for tiling, program in fitting]
        row[kind] = sorted(found, key=lambda entry: entry["us"])
    return row


def main():
    """Measure, write, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--precision", choices=("bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--output", required=True, metavar="OUT.json")
    options = parser.parse_args()
    if jax.default_backend() != "gpu":
        sys.exit("bench_kernels.py: JAX finds no GPU; the kernels run on one only.")
    width, height = parse_size(options.size)
    result = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "rows": []}
    with ThreadPoolExecutor(12) as threads:
        for channels, stride in SHAPES:
            size = -(-height // stride), -(-width // stride)
            row = measure(channels, *size, jnp.dtype(options.precision), threads)
            result["rows"].append(row)
            times = {name: round(value, 1) for name, value in row.items() if name.endswith("_us")}
            best = {kind: row[kind][:2] for kind in ("heads", "tails")}
            print(f"{channels} channels at 1/{stride}: {times}", best, flush=True)
            print("  mean error:", {name: f"{row[name]:.1e}" for name in row if name.endswith("_error")}, flush=True)
            with atomic_output(Path(options.output)) as file:
                file.write((json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
