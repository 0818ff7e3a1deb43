"""Benchmark a codec: the same as nvc-jax bench, with the script that runs the official code."""

from pathlib import Path

from nvc_jax.benchmark.command import main

if __name__ == "__main__":
    raise SystemExit(main(prog="bench.py", torch_worker=Path(__file__).resolve().with_name("bench_torch.py")))
