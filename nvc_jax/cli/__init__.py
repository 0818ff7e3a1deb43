"""The command `nvc-jax`."""
