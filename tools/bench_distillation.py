"""Benchmark a training step of a student without a teacher and with each kind of distillation, in turns.

python tools/bench_distillation.py --config kd_small:s --teacher rt_small --output OUT.json [stages.0.batch=4]

The first stage with a teacher is measured, on random clips, with random parameters of the codec --teacher.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from datetime import date
from importlib import metadata

import jax
import numpy as np

from nvc_jax.cli.program import run_command
from nvc_jax.codec.report import processor
from nvc_jax.codec.runtime import keep_freed_memory
from nvc_jax.errors import ConfigError
from nvc_jax.io.files import atomic_output
from nvc_jax.models.codecs import CONFIGS
from nvc_jax.models.networks import networks
from nvc_jax.models.params import initialise
from nvc_jax.training.data import Batch, on_devices
from nvc_jax.training.mapped import on_all_devices
from nvc_jax.training.optimiser import Packing
from nvc_jax.training.processes import on_all
from nvc_jax.training.settings import load_config, override
from nvc_jax.training.step import Step, initial_state

KINDS = ("none", "mse", "efd", "picture")


def main():
    """Measure; the exit code is 1 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="recipe of the student")
    parser.add_argument("--teacher", required=True, choices=sorted(CONFIGS), help="architecture of the teacher")
    parser.add_argument("--steps", type=int, default=7, help="timed steps of each kind, after one to compile")
    parser.add_argument("--output", required=True)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    return run_command(parser, report, intermixed=True)


def report(options):
    """Measure, write, and print."""
    result = measure(options)
    with atomic_output(options.output) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())
    for kind, seconds in result["step_s"].items():
        print(f"{kind:8} {1000 * statistics.median(seconds):8.0f} ms  {result['relative'][kind]:.2f}")


def measure(options):
    """Measure steps of all kinds, one of each after the other.

    Raises:
        NvcError: the recipe has no stage with a teacher.
    """
    keep_freed_memory()  # as train.py does
    config = override(load_config(options.config), options.overrides)
    taught = [stage for stage in config.stages if stage.distil]
    if not taught:
        raise ConfigError(f"{options.config}: no stage has a teacher; set stages.N.distil above 0.")
    stage, teacher = dataclasses.replace(taught[0], steps=1000, epochs=0.0), CONFIGS[options.teacher]
    params = initialise(config.codec, config.seed)
    packing = Packing.of(config.optimiser, params)
    lent = on_all(initialise(teacher, config.seed + 1)[teacher.rest])
    batch, asked = random_batch(stage), np.zeros(jax.local_device_count(), np.float32)
    steps, compile_s = {}, {}
    for kind in KINDS:
        settings = dataclasses.replace(config, teacher=dataclasses.replace(config.teacher, kind=kind))
        network = networks(teacher)[teacher.rest] if settings.taught(stage) else None
        step = Step(settings, stage, 0, packing, teacher=network)
        steps[kind] = Run(
            on_all_devices(step, None if network is None else lent),
            on_all(jax.tree.map(np.asarray, initial_state(config, params, packing))),
        )
        compile_s[kind] = steps[kind].step(batch, asked)
    seconds = {kind: [] for kind in KINDS}
    for _ in range(options.steps):
        for kind, run in steps.items():
            seconds[kind].append(run.step(batch, asked))
    plain = statistics.median(seconds["none"])
    return {
        "date": date.today().isoformat(),
        "command": " ".join(["python", *sys.argv]),
        "student": config.codec.name,
        "teacher": options.teacher,
        "size": stage.size,
        "frames": stage.frames,
        "batch": stage.batch,
        "precision": config.precision,
        "cpu": processor(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "versions": {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        "compile_s": compile_s,
        "step_s": seconds,
        "relative": {kind: statistics.median(values) / plain for kind, values in seconds.items()},
    }


class Run:
    """A compiled step and its state."""

    def __init__(self, update, state):
        """Start from a state."""
        self.update, self.state = update, state

    def step(self, batch, asked):
        """Make a step; returns its seconds."""
        start = time.perf_counter()
        self.state, metrics = self.update(self.state, on_devices(batch, jax.local_device_count()), asked)
        jax.block_until_ready(metrics)
        return time.perf_counter() - start


def random_batch(stage):
    """Clips of noise: the time of a step does not depend on what they show."""
    rng = np.random.default_rng(0)
    shapes = [(stage.batch, stage.frames, side, side) for side in (stage.size, stage.size // 2, stage.size // 2)]
    planes = tuple(rng.integers(0, 256, shape, np.uint8) for shape in shapes)
    return Batch(planes, np.arange(stage.batch, dtype=np.uint32))


if __name__ == "__main__":
    raise SystemExit(main())
