"""Measure host overhead: the time to dispatch a frame's programs beside the device's time for them.

python tools/gpu/host_time.py --model NAME --size WxH --precision P [--strategy S] --output OUT.json

Run it with XLA_FLAGS=--xla_gpu_enable_command_buffer= to see the effect of CUDA graphs.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import jax

from nvc_jax.benchmark.subject import Subject, load
from nvc_jax.cli.arguments import parse_size
from nvc_jax.codec.runtime import prepare_process
from nvc_jax.errors import NvcError
from nvc_jax.io.files import atomic_output

_FRAMES = 24


def milliseconds(code):
    """Time a frame until the call returns and until the device is done, one at a time and many in a row."""
    for _ in range(4):
        jax.block_until_ready(code())
    handed, done = [], []
    for _ in range(_FRAMES):
        start = time.perf_counter()
        result = code()
        handed.append(time.perf_counter() - start)
        jax.block_until_ready(result)
        done.append(time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(_FRAMES):
        result = code()
    queued = time.perf_counter() - start
    jax.block_until_ready(result)
    total = time.perf_counter() - start
    return {
        "handed_ms": 1e3 * statistics.median(handed),
        "done_ms": 1e3 * statistics.median(done),
        "row_handed_ms": 1e3 * queued / _FRAMES,
        "row_done_ms": 1e3 * total / _FRAMES,
    }


def main():
    """Measure, write, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dcvc_rt")
    parser.add_argument("--size", type=parse_size, default="1920x1080", metavar="WxH")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--strategy")
    parser.add_argument("--output", required=True, metavar="OUT.json")
    options = parser.parse_args()
    prepare_process()
    try:
        codec, _ = load(options.model, options.precision, options.strategy)
    except NvcError as error:
        sys.exit(f"host_time.py: {error}")
    subject = Subject.of(codec, *options.size)
    *_, qps = subject.inputs

    def encode():
        symbols, synthesis = subject.encode()
        return symbols.pack().packed, synthesis.feature

    symbols, synthesis = subject.encode()
    symbols = jax.device_get(symbols)
    rows = {
        "encode": milliseconds(encode),
        "reconstruct": milliseconds(lambda: subject.loaded.reconstruct(synthesis, qps)),
        "decode": milliseconds(lambda: subject.network_decode(symbols)),
    }
    lines = [f"{name}: " + ", ".join(f"{key} {value:.2f}" for key, value in row.items()) for name, row in rows.items()]
    print("\n".join(lines), flush=True)
    device = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    result = {**device, "options": vars(options), "rows": rows, "lines": lines}
    with atomic_output(Path(options.output)) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
