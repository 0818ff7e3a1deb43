"""Train a codec: the same as nvc-jax train."""

from nvc_jax.training.command import main

if __name__ == "__main__":
    raise SystemExit(main(prog="train.py"))
