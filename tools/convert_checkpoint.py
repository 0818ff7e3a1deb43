"""Convert official checkpoints to a model directory and back: `nvc-jax convert`, with its options."""

import sys

from nvc_jax.cli.command import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
