"""Entropy coding on the host, NumPy only: probability tables, and symbols to payload bytes and back."""
