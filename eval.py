"""Rate and distortion of a model on videos: python eval.py --model NAME --videos FILE... --output OUT.json."""

from nvc_jax.evaluation.command import main

if __name__ == "__main__":
    raise SystemExit(main())
