"""Measures speed: modules, fusion, whole sequences, beside the official PyTorch code."""
