"""Atomic outputs, locks of folders, timers and checksums."""
