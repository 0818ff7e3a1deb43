"""Containers: bytes to frames and back, standard library only (docs/FORMAT.md)."""
