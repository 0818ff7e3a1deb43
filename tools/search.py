"""Search a smaller architecture for a trained codec's decoder: the same as nvc-jax search."""

from nvc_jax.search.command import main

if __name__ == "__main__":
    raise SystemExit(main(prog="search.py"))
