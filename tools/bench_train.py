"""Benchmark a training stage: samples/s, share of the matrix-product peak, and the input pipeline alone.

python tools/bench_train.py --config configs/dcvc_rt.py --stage stage0_6_frames --steps 5 --output OUT.json \
    data.source=FOLDER [stages.9.batch=1] [precision=bfloat16]
"""

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from datetime import date
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.cli.program import run_command
from nvc_jax.codec.report import processor
from nvc_jax.codec.runtime import keep_freed_memory
from nvc_jax.errors import ConfigError
from nvc_jax.evaluation.complexity import packet_complexity
from nvc_jax.io.files import atomic_output
from nvc_jax.models.params import initialise
from nvc_jax.training.config import Stage, TrainConfig, resolved
from nvc_jax.training.data import batches, on_devices, open_clips
from nvc_jax.training.mapped import on_all_devices
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.processes import on_all
from nvc_jax.training.settings import load_config, override
from nvc_jax.training.step import Step, initial_state

SIDE = 4096 if jax.default_backend() != "cpu" else 2048


def timed(work):
    """Time a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def matmul_peak(dtype):
    """Measure the best of 5 products at SIDE^3, in GFLOP/s, of all local devices, at the precision of training.

    Virtual devices of a CPU share its cores.
    """
    a = jax.random.normal(jax.random.key(0), (SIDE, SIDE), dtype)
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    seconds = min(timed(lambda: product(a, a).block_until_ready()) for _ in range(5))
    return 2 * SIDE**3 / seconds / 1e9 * (jax.local_device_count() if jax.default_backend() != "cpu" else 1)


def flops_of_clip(config: TrainConfig, stage: Stage):
    """Count the operations of a clip: a forward pass per coded frame, and twice that for a backward pass.

    A frame takes the modules of its encoder and its decoder, each once; recomputed activations do not count.
    """
    codec, trained = config.codec, config.trained(stage)
    started = codec[codec.first].pictures
    frames = Counter({codec.rest: stage.frames - started})
    if stage.first_reference != "original":
        frames[codec.first] += started

    def forward(name):
        modules = packet_complexity(codec, name, stage.size, stage.size).modules.values()
        return 2 * stage.size**2 * sum(max(module.encode, module.decode) for module in modules)

    return sum(count * forward(name) * (3 if name in trained else 1) for name, count in frames.items())


def main():
    """Measure; the exit code is 1 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--stage", required=True, help="name of the stage")
    parser.add_argument("--steps", type=int, default=10, help="timed steps, after one to warm up")
    parser.add_argument("--output", required=True)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    return run_command(parser, measure, intermixed=True)


def measure(options):
    """Measure, write, and print.

    Raises:
        NvcError: the stage cannot be measured.
    """
    keep_freed_memory()  # as train.py does
    config = override(load_config(options.config), options.overrides)
    clips = open_clips(config.data, config.seed, lambda text: print(text, file=sys.stderr))
    config = resolved(config, [len(clips.epoch(stage)) for stage in config.stages])
    names = [stage.name for stage in config.stages]
    if options.stage not in names:
        raise ConfigError(f"unknown stage {options.stage!r}; available: {', '.join(names)}.")
    number = names.index(options.stage)
    stage = config.stages[number]

    iterator = batches(clips, stage, number, 0)
    first = next(iterator)
    alone = [timed(lambda: next(iterator)) for _ in range(options.steps + config.data.prefetch)]
    batches_per_second = (len(alone) - config.data.prefetch) / sum(alone[config.data.prefetch :])

    params = initialise(config.codec, config.seed)
    packing = Packing.of(config.optimiser, params)
    state = on_all(jax.tree.map(np.asarray, initial_state(config, params, packing)))
    update = on_all_devices(Step(config, stage, 0, packing))
    asked = np.zeros(jax.local_device_count(), np.float32)

    def step(batch):
        nonlocal state
        state, metrics = update(state, on_devices(batch, jax.local_device_count()), asked)
        jax.block_until_ready(metrics)

    compile_s = timed(lambda: step(first))
    peaks = [matmul_peak(config.precision)]
    network = [timed(lambda: step(first)) for _ in range(options.steps)]
    together = [timed(lambda: step(next(iterator))) for _ in range(options.steps)]
    peaks.append(matmul_peak(config.precision))
    flops = flops_of_clip(config, stage) * stage.batch
    result = {
        "date": date.today().isoformat(),
        "command": " ".join(["python", *sys.argv]),
        "stage": stage.name,
        "size": stage.size,
        "frames": stage.frames,
        "batch": stage.batch,
        "precision": config.precision,
        "cpu": processor(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "versions": {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "grain", "optax")},
        "compile_s": compile_s,
        "step_s": network,
        "step_with_input_s": together,
        "samples_per_second": stage.batch / statistics.median(network),
        "samples_per_second_with_input": stage.batch / statistics.median(together),
        "input_alone_samples_per_second": batches_per_second * stage.batch,
        "peak_bytes": (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
        "gflops_of_a_step": flops / 1e9,
        "gflops": flops / statistics.median(network) / 1e9,
        "matmul_peak_gflops": max(peaks),
        "share_of_peak": flops / statistics.median(network) / 1e9 / max(peaks),
    }
    with atomic_output(options.output) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())
    for name in (
        "samples_per_second", "samples_per_second_with_input", "input_alone_samples_per_second", "gflops",
        "matmul_peak_gflops", "share_of_peak",
    ):  # fmt: skip
        print(f"{name:32} {result[name]:.3f}")


if __name__ == "__main__":
    raise SystemExit(main())
