"""The command `nvc-jax demo`."""
