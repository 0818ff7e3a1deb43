"""Compile the codec for absent chips: the same as nvc-jax compile."""

from nvc_jax.benchmark.compile_command import main

if __name__ == "__main__":
    raise SystemExit(main(prog="compile_for.py"))
