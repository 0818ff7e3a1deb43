"""What `nvc-jax demo` codes and shows."""
