"""Train a codec: python train.py --config configs/embedded.py --data FOLDER --workdir DIR."""

from nvc_jax.training.command import main

if __name__ == "__main__":
    raise SystemExit(main())
