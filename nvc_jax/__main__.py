"""python -m nvc_jax: the command `nvc-jax`."""

from nvc_jax.cli.command import entry_point

if __name__ == "__main__":
    entry_point()
