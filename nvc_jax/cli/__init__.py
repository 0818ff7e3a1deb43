"""The command line of `nvc-jax`."""
