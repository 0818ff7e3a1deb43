"""Atomic outputs, timers and checksums: what every package writes with."""
