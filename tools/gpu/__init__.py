"""Phases of `tools/gpu_run.py`: separate programs, and a runner that needs only the standard library."""
