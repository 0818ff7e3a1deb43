"""The phases of `tools/gpu_run.py`: programs of their own, and a runner that needs the standard library only."""
