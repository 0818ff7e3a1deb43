"""Every failure a user can cause, under one base class.

The text of an error is one sentence or two: what was wrong, where (file, frame, byte) and what to do next.
"""

from typing import Any


class NvcError(Exception):
    """Base of all errors raised on purpose by nvc-jax."""


class ConfigError(NvcError, ValueError):
    """An option or a configuration value is out of its range or does not fit the others."""


class VideoError(NvcError, ValueError):
    """A video file cannot be read or written as asked."""


class BitstreamError(NvcError, ValueError):
    """A coded stream is damaged or was made for something else.

    Attributes:
        report: of the frames before the damage, where they were kept.
    """

    report: dict[str, Any] | None = None


class TruncatedError(BitstreamError):
    """A coded stream ends before its last frame is complete."""


class DesyncError(BitstreamError):
    """A frame decodes, but to other integers than the encoder had: another model, machine or library version."""


class FrameNumberError(NvcError, IndexError):
    """A stream has no such frame."""


class ModelError(NvcError, ValueError):
    """A model directory is missing, damaged or of another architecture."""


class CheckpointError(NvcError, ValueError):
    """A PyTorch checkpoint cannot be read or does not fit the model."""


class EvaluationError(NvcError, ValueError):
    """A rate-distortion point cannot be measured, or curves cannot be compared."""


class OutputError(NvcError, OSError):
    """An output cannot be written (permission, full disk, same file as the input)."""


class TrainingError(NvcError, RuntimeError):
    """A training run cannot go on."""
