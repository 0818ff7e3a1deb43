"""Train a codec: python train.py --config configs/smoke.py --workdir DIR [--steps N] [key=value ...]."""

from nvc_jax.training.command import main

if __name__ == "__main__":
    raise SystemExit(main())
