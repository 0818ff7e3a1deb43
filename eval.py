"""Rate and distortion of a model on videos: the same as nvc-jax evaluate."""

from nvc_jax.evaluation.command import main

if __name__ == "__main__":
    raise SystemExit(main(prog="eval.py"))
