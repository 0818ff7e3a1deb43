"""BD-rates of result files: the same as nvc-jax compare."""

from nvc_jax.evaluation.compare_command import main

if __name__ == "__main__":
    raise SystemExit(main(prog="compare_bd_rate.py"))
