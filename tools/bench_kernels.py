"""Benchmark the DC block on a GPU: XLA beside the Pallas kernels in several tilings.

python tools/bench_kernels.py --output OUT.json [--size 1920x1080] [--precision bfloat16] [--budget SECONDS]

For each width and stride of dcvc_rt's inter network: microseconds of a block by XLA (with its own products and with
cuBLAS alone), of each kernel in each tiling, and of blocks in the fastest tilings: all three kernels, and some of them
with the rest by XLA. Blocks are chained in one program, as in the codec; errors are mean differences from float32 over
the mean activation, at the end of the chain. Tilings that do not compile within the budget are skipped.
"""

import argparse
import functools
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.cli.arguments import parse_size
from nvc_jax.io.files import atomic_output
from nvc_jax.ops import floating, pallas_block
from nvc_jax.ops.block import BlockLayers, PallasKernel, paired_halves
from nvc_jax.ops.depthwise import depthwise3x3
from nvc_jax.ops.pallas_block import Strip, Tiling

SHAPES = ((256, 8), (320, 8), (384, 16))  # (channels, stride)
CHAINED = 8
RUNS = 5
HEADS = [Tiling(64, 64, 0, 8, 2), Tiling(128, 64, 0, 8, 3), Tiling(64, 32, 0, 8, 3)]
STRIPS = [Strip(4, 16, 64, 4), Strip(8, 16, 64, 4), Strip(4, 8, 64, 2), Strip(2, 32, 64, 8)]
TAILS = {  # by channels: (positions, channels, middle, warps, stages)
    256: [
        Tiling(128, 64, 32, 8, 2),
        Tiling(128, 64, 32, 8, 3),
        Tiling(128, 64, 16, 8, 3),
        Tiling(128, 32, 32, 16, 2),
        Tiling(64, 64, 32, 8, 2),
        Tiling(64, 64, 32, 4, 2),
    ],
    320: [
        Tiling(128, 64, 32, 8, 2),
        Tiling(128, 64, 16, 8, 3),
        Tiling(128, 32, 32, 16, 2),
        Tiling(64, 64, 32, 8, 2),
        Tiling(64, 64, 32, 8, 3),
    ],
    384: [
        Tiling(64, 64, 32, 8, 2),
        Tiling(64, 64, 16, 8, 3),
        Tiling(64, 64, 16, 8, 2),
        Tiling(128, 64, 16, 16, 2),
    ],
}
CUBLAS = {"xla_gpu_enable_triton_gemm": False}


def random_layers(rng, channels, dtype):
    """Make a block that keeps the magnitude of its input."""

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
    """Prepack the layers for the Pallas kernels."""
    layers = layers._replace(widen=tuple(paired_halves(parameters) for parameters in layers.widen))
    return BlockLayers(
        *((kernel if kernel.ndim == 3 else PallasKernel(kernel, interpret), bias) for kernel, bias in layers)
    )


def in_float32(x, layers):
    """Compute the reference of the other blocks."""
    with jax.default_matmul_precision("highest"):
        return floating.dc_block(x, layers, shortcut=False)


def head_by_xla(x, first):
    """Compute the first kernel's part of a block by XLA."""
    return floating.wsilu(floating.affine(x, *first))


def depthwise_by_xla(x, layer):
    """Compute the second kernel's part by XLA."""
    kernel, bias = layer
    return depthwise3x3(x, kernel) + bias


def tail_by_xla(h, x, layers):
    """Compute the third kernel's part by XLA."""
    h = floating.affine(h, *layers.project) + x
    first, second = jnp.split(floating.wsilu(floating.affine(h, *layers.widen)), 2, axis=-1)
    return h + floating.affine(first + second, *layers.narrow)


def mixed(x, layers, kernels, tilings, ours):
    """Compute a block with some of our kernels and the rest by XLA."""
    h = pallas_block.head(x, kernels.first, tilings.head) if "head" in ours else head_by_xla(x, layers.first)
    if "depthwise" in ours:
        h = pallas_block.depthwise(h, layers.depthwise, tilings.depthwise)
    else:
        h = depthwise_by_xla(h, layers.depthwise)
    return pallas_block.tail(h, x, kernels, False, tilings.tail) if "tail" in ours else tail_by_xla(h, x, layers)


MIXES = {
    "pallas": ("head", "depthwise", "tail"),
    "tail only": ("tail",),
    "depthwise only": ("depthwise",),
}
PARTS = {
    "head": lambda x, layers, kernels, tiling: pallas_block.head(x, kernels.first, tiling),
    "depthwise": lambda x, layers, kernels, tiling: pallas_block.depthwise(x, layers.depthwise, tiling),
    "tail": lambda x, layers, kernels, tiling: pallas_block.tail(x, x, kernels, False, tiling),
}


def compiled(function, *inputs, compiler_options=None):
    """Compile CHAINED applications; None if they do not fit the device."""

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
    """Time one application (median)."""
    program().block_until_ready()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        for _ in range(4):
            result = program()
        result.block_until_ready()
        times.append((time.perf_counter() - start) / 4 / CHAINED)
    return 1e6 * statistics.median(times)


class Width:
    """Programs of one width, compiled in other threads."""

    def __init__(self, channels, height, width, dtype, threads):
        rng = np.random.default_rng(0)
        self.shape = {"channels": channels, "height": height, "width": width}
        self.layers = random_layers(rng, channels, dtype)
        self.x = jnp.asarray(rng.standard_normal((1, height, width, channels)), dtype)
        self.kernels = packed(self.layers)
        self.submit = functools.partial(threads.submit, compiled)
        self.tilings = pallas_block.TILINGS[channels]
        plain = functools.partial(floating.dc_block, shortcut=False)
        self.by_xla = {
            name: self.submit(plain, self.x, self.layers, compiler_options=flags)
            for name, flags in (("xla", None), ("cublas", CUBLAS))
        }
        exact = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), self.layers)
        self.exact = threads.submit(compiled, in_float32, self.x.astype(jnp.float32), exact, compiler_options=CUBLAS)
        self.parts = {}

    def submit_parts(self):
        """Compile every kernel in every tiling."""
        every = {"head": HEADS, "depthwise": STRIPS, "tail": TAILS[self.shape["channels"]]}
        for part, tilings in every.items():
            self.parts[part] = [
                (tiling, self.submit(functools.partial(PARTS[part], tiling=tiling), *self._inputs()))
                for tiling in tilings
            ]

    def _inputs(self):
        return self.x, self.layers, self.kernels

    def measure_parts(self, deadline):
        """Measure XLA and every kernel in every tiling: a row of the report."""
        row = {**self.shape, "us": {}, "errors": {}}
        row["us"] = {name: microseconds(program.result()) for name, program in self.by_xla.items()}
        for part, every in self.parts.items():
            found = []
            for tiling, future in every:
                try:
                    program = future.result(max(deadline - time.monotonic(), 0))
                except TimeoutError:
                    future.cancel()
                    continue
                if program:
                    found.append((microseconds(program), tiling))
            found.sort(key=lambda entry: entry[0])
            row[part] = [{"us": us, "tiling": list(vars(tiling).values())} for us, tiling in found]
            if found:
                self.tilings = self.tilings._replace(**{part: found[0][1]})
        return row

    def submit_mixes(self):
        """Compile blocks in the fastest tilings."""
        self.mixes = {
            name: self.submit(
                functools.partial(mixed, tilings=self.tilings, ours=ours), *self._inputs(), compiler_options=CUBLAS
            )
            for name, ours in MIXES.items()
        }

    def measure_mixes(self, row):
        """Complete a row of the report."""
        programs = {name: future.result() for name, future in self.mixes.items()}
        row["us"] |= {name: microseconds(program) for name, program in programs.items() if program}
        blocks = {"xla": self.by_xla["xla"].result(), "pallas": programs["pallas"]}
        expected = self.exact.result()()
        row["errors"] = {name: relative_error(block(), expected) for name, block in blocks.items() if block}


def relative_error(found, expected):
    """Compute the mean difference over the mean magnitude."""
    return float(jnp.abs(found.astype(jnp.float32) - expected).mean() / jnp.abs(expected).mean())


def main():
    """Measure, write, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default="1920x1080", metavar="WxH")
    parser.add_argument("--precision", choices=("bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--budget", type=float, default=30.0, metavar="SECONDS", help="to compile tilings")
    parser.add_argument("--output", required=True, metavar="OUT.json")
    options = parser.parse_args()
    if jax.default_backend() != "gpu":
        sys.exit("bench_kernels.py: JAX finds no GPU, which the kernels need.")
    start = time.monotonic()
    width, height = options.size
    dtype = jnp.dtype(options.precision)
    result = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "rows": []}
    with ThreadPoolExecutor(12) as threads:
        widths = [
            Width(channels, *(-(-side // stride) for side in (height, width)), dtype, threads)
            for channels, stride in SHAPES
        ]
        for one in widths:
            one.submit_parts()
        for one in widths:  # XLA autotunes its products on the GPU while it compiles them
            for program in (*one.by_xla.values(), one.exact):
                program.result()
        for one in widths:
            result["rows"].append(one.measure_parts(start + options.budget))
            write(options.output, result)
        for one in widths:
            one.submit_mixes()
        for one in widths:  # XLA's autotuning would disturb a measurement
            for program in one.mixes.values():
                program.result()
        for one, row in zip(widths, result["rows"], strict=True):
            one.measure_mixes(row)
            write(options.output, result)
            print_row(row)
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def write(path, result):
    """Write the report so far."""
    with atomic_output(Path(path)) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())


def print_row(row):
    """Print one width in a few lines."""
    times = ", ".join(f"{name} {us:.0f}" for name, us in row["us"].items())
    errors = ", ".join(f"{name} {error:.1e}" for name, error in row["errors"].items())
    print(f"{row['channels']} channels at {row['width']}x{row['height']}: {times} us; mean error {errors}")
    for part in PARTS:
        rows = (f"{entry['us']:.0f} {tuple(entry['tiling'])}" for entry in row[part])
        print(f"  {part}: {', '.join(rows)}", flush=True)


if __name__ == "__main__":
    main()
