"""What every container holds: coded frames."""

from dataclasses import dataclass

from nvc_jax.errors import ConfigError
from nvc_jax.spec import QP_LEVELS, QP_OFFSETS, Dialect, FrameKind

MAX_SIDE = 1 << 14
MAX_PIXELS = 1 << 26
MAX_QP: dict[FrameKind, int] = {"I": QP_LEVELS - 1, "P": QP_LEVELS - 1 + max(QP_OFFSETS)}


@dataclass(frozen=True)
class CodedFrame:
    """A frame as the encoder gives it to a container.

    Attributes:
        kind: "I" or "P".
        qp: of the frame, offset included.
        refresh: the frame starts from the previous picture, not from the previous feature.
        dialect: of the payload.
        payload: entropy-coded bytes.
        check: a hash of the symbols and table indexes; None where the container has no place for it.
    """

    kind: FrameKind
    qp: float
    refresh: bool
    dialect: Dialect
    payload: bytes
    check: int | None


@dataclass(frozen=True)
class FrameUnit(CodedFrame):
    """A frame as it was found in a file.

    Attributes:
        index: frame number, from 0.
        width: of the picture in pixels, before padding.
        height: likewise.
        offset: byte of the file where the frame begins, headers before it included.
        size_bytes: bytes of the file it takes, headers before it included.
    """

    index: int
    width: int
    height: int
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class LostFrame:
    """A frame that is missing or damaged, where the reader was asked to go on.

    Attributes:
        index: frame number.
        width: of the picture in pixels, before padding.
        height: likewise.
        reason: what was wrong, for people.
    """

    index: int
    width: int
    height: int
    reason: str


def check_picture_size(width: int, height: int) -> None:
    """Refuse sizes beyond the limits of the containers.

    Raises:
        ConfigError: a side or the number of pixels is out of range.
    """
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE) or height * width > MAX_PIXELS:
        raise ConfigError(
            f"picture size {width}x{height} is out of range: sides 1..{MAX_SIDE}, at most {MAX_PIXELS} pixels"
        )


def check_qp(kind: FrameKind, qp: float) -> None:
    """Refuse a qp that no model has.

    Raises:
        ConfigError: it is out of range.
    """
    if not 0 <= qp <= MAX_QP[kind]:
        raise ConfigError(f"qp {qp:g} of {kind} frame out of range 0..{MAX_QP[kind]}")
