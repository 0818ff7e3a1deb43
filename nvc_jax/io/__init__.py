"""Atomic outputs, timers and checksums."""
