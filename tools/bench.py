"""Network time of a P frame, ours and the official PyTorch code's, interleaved in one run.

python tools/bench.py --model DIR --size 1920x1080 --output OUT.json \
    [--torch-reference DCVC/DCVC-family/DCVC-RT --torch-python PYTHON]
"""

import argparse
import functools
import json
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.cli import parse_size
from nvc_jax.codec import stages
from nvc_jax.codec.frame import FrameCodec
from nvc_jax.codec.model import PRECISIONS, Codec
from nvc_jax.evaluation.complexity import frame_complexity
from nvc_jax.files import atomic_output
from nvc_jax.models.state import Reference
from nvc_jax.ops.arithmetic import to_precision


class Recorded:
    """Stands in for the entropy decoder: gives the symbols of an encoded frame."""

    def __init__(self, z, planes):
        self._z, self._planes = z, planes

    def z(self, qp, shape):
        """Start over with the symbols of z."""
        assert self._z.shape == shape
        self._next = iter(self._planes)
        return self._z

    def plane(self, indexes):
        """The symbols of the next coding step."""
        return next(self._next)[0]

    def finish(self):
        """Nothing to check."""


class Ours:
    """A P frame in JAX: everything but the entropy coder and file access."""

    def __init__(self, codec, width, height):
        self._codec: FrameCodec = codec.frame_codecs(0.12)["P"]
        self._size = width, height
        y = np.random.default_rng(0).integers(0, 256, (1, height, width), np.uint8)
        chroma = y[:, ::2, ::2]
        self._picture = stages.picture_from_planes(y, chroma, chroma)
        features = (1, *(side // 8 for side in self._picture.shape[1:3]), self._codec.model.config.width)
        feature = to_precision(0.1 * jax.random.normal(jax.random.key(0), features), PRECISIONS[codec.precision])
        self._reference = Reference(feature, "feature")

    def encode(self):
        """Picture and reference to symbols on the host and the next reference."""
        symbols, feature = self._codec.encode(self._picture, self._reference, 30)
        jax.block_until_ready(feature)
        return symbols.to_host()

    def decode(self):
        """Symbols and reference to picture and the next reference."""
        feature = self._codec.decode(self._recorded, self._reference, 30, *self._size)
        return jax.block_until_ready(self._codec.reconstruct(feature, 30))

    def prepare(self):
        """Compile, and keep symbols for decoding."""
        self._recorded = Recorded(*self.encode())
        self.decode()


class Theirs:
    """The official code in its own process."""

    def __init__(self, python, checkout, width, height):
        worker = Path(__file__).with_name("bench_torch.py")
        self._process = subprocess.Popen(
            [python, str(worker), checkout, str(width), str(height)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def time(self, what):
        """Seconds of one frame: what is "encode" or "decode"."""
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def timed(function):
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def matmul_peak():
    """Best of 5 at 2048^3, in GFLOP/s."""
    a = jnp.ones((2048, 2048))
    product = jax.jit(functools.partial(jnp.matmul, precision="highest"))
    product(a, a).block_until_ready()
    return 2 * 2048**3 / min(timed(lambda: product(a, a).block_until_ready()) for _ in range(5)) / 1e9


def main():
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="packaged model or model directory")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--torch-reference", help="folder DCVC-family/DCVC-RT of a checkout of the official code")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    width, height = parse_size(options.size)
    codec = Codec.load(options.model, options.precision)
    ours = Ours(codec, width, height)
    ours.prepare()
    theirs = None
    if options.torch_reference:
        theirs = Theirs(options.torch_python, options.torch_reference, width, height)
    seconds = {(who, what): [] for who in ("nvc_jax", "official") for what in ("encode", "decode")}
    peaks = []
    for run in range(options.runs + 1):  # the first is a warm-up
        peaks.append(matmul_peak())
        for what in ("encode", "decode"):
            seconds["nvc_jax", what].append(timed(getattr(ours, what)))
            if theirs:
                seconds["official", what].append(theirs.time(what))
        print(f"run {run} of {options.runs}", file=sys.stderr)
    total = frame_complexity(codec.stored.config, "P", width, height).total
    macs = {"encode": round(total.encode * width * height), "decode": round(total.decode * width * height)}
    result = {
        "date": date.today().isoformat(),
        "command": " ".join(["python", *sys.argv]),
        "size": options.size,
        "precision": options.precision,
        "cpu": platform.processor() or platform.machine(),
        "device": jax.devices()[0].device_kind,
        "versions": {name: metadata.version(name) for name in ("jax", "jaxlib", "flax")},
        "matmul_peak_gflops": max(peaks),
        "macs": macs,
        "points": {},
    }
    for (who, what), values in seconds.items():
        if not values:
            continue
        values = values[1:]
        result["points"][f"{who}/{what}"] = {
            "median_s": statistics.median(values),
            "min_s": min(values),
            "all_s": values,
            "gflops": 2 * macs[what] / min(values) / 1e9,
        }
    for what in ("encode", "decode"):
        if theirs:
            pair = [result["points"][f"{who}/{what}"]["median_s"] for who in ("official", "nvc_jax")]
            result[f"speedup_{what}"] = pair[0] / pair[1]
    with atomic_output(options.output) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())
    for name, point in result["points"].items():
        print(f"{name:18} median {point['median_s']:.3f} s  best {point['min_s']:.3f} s  {point['gflops']:.0f} GFLOP/s")
    print(f"matrix product peak {result['matmul_peak_gflops']:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
