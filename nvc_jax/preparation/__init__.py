"""Preparation of training data: long videos to short lossless sequences. NumPy and PyAV only."""
