"""Benchmark modules, fusion and whole sequences, beside the official PyTorch code."""
