"""Options of encoding, the same for arrays, files and live use; defaults are those of the command line (D13)."""

import math
from collections.abc import Mapping
from fractions import Fraction
from numbers import Real
from typing import Any, TypedDict

from nvc_jax.codec.rate_control import RateControl, rate_control
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import ConfigError
from nvc_jax.spec import Preset

_SCHEDULE = "intra_qp", "intra_period", "reset_interval"
_RATE = "bitrate", "buffer", "psnr", "qp_range"
_NUMBERS = (*_SCHEDULE, "skip_threshold", "rdoq", "bitrate", "buffer", "psnr")


class EncodingOptions(TypedDict, total=False):
    """Keyword arguments of everything that encodes.

    Attributes:
        intra_qp: qp of intra frames, 0 to 63; by default `qp` and the offset of the model.
        intra_period: frames from one intra frame to the next; -1, the default, for only the first.
        reset_interval: frames from one refresh of the memory of earlier frames to the next, by default 64; 0 for none.
        skip_threshold: symbols with a scale not above it are not coded, by default 0.12; None codes all.
        rdoq: what a bit is worth in squared quantisation steps, 0 to 1, for rate-distortion optimised quantisation; 0
            rounds to the nearest. By default 0.06, and 0 for official streams of models without motion.
        skip_blocks: models with motion leave out blocks that are not worth their bits, by default True.
        preset: where blocks are left out, "medium", the default, codes pictures twice, and goes by what coding a block
            saved; "fast" codes them once, and goes by the error of the prediction.
        bitrate: bits per second that the qps follow instead of `qp`, in one pass.
        buffer: with `bitrate`, seconds that the channel takes to empty the buffer between encoder and channel (a leaky
            bucket), by default 1; it does not run over unless the qp range forces it to.
        psnr: mean PSNR in dB (6:1:1) that the qps follow instead of `qp`.
        qp_range: with `bitrate` or `psnr`, smallest and largest qp of a picture, by default (0, 63).
    """

    intra_qp: float | None
    intra_period: int
    reset_interval: int
    skip_threshold: float | None
    rdoq: float | None
    skip_blocks: bool
    preset: Preset
    bitrate: float
    buffer: float
    psnr: float
    qp_range: tuple[float, float]


class CoderOptions(TypedDict, total=False):
    """The part of the options that is not about the sequence; see `EncodingOptions`."""

    skip_threshold: float | None
    rdoq: float | None
    skip_blocks: bool
    preset: Preset
    rate_control: RateControl | None


def split(qp: float, options: EncodingOptions) -> tuple[Schedule, CoderOptions]:
    """The schedule, and the options that are not part of it.

    Raises:
        ConfigError: an option is unknown, no number, or out of its range.
    """
    check_numbers({"qp": qp} | {name: options.get(name) for name in _NUMBERS})  # type: ignore[misc]
    unknown = sorted(options.keys() - EncodingOptions.__annotations__.keys())
    if unknown:
        available = ", ".join(("qp", *EncodingOptions.__annotations__))
        raise ConfigError(f"unknown option {unknown[0]!r}; available: {available}.")
    rules: dict[str, Any] = {name: value for name, value in options.items() if name in _SCHEDULE}
    rest: Any = {name: value for name, value in options.items() if name not in (*_SCHEDULE, *_RATE)}
    rates: Any = {name: value for name, value in options.items() if name in _RATE and value is not None}
    if rates:
        rest["rate_control"] = rate_control(**rates)
    return Schedule(qp, **rules), rest


def check_numbers(values: Mapping[str, Any]) -> None:
    """Refuse what is no number; None stands for a default.

    Raises:
        ConfigError: a value is none.
    """
    for name, value in values.items():
        if value is not None and not isinstance(value, Real):
            raise ConfigError(f"{name} is {value!r}; it must be a number.")


def exact_rate(fps: float | Fraction) -> Fraction:
    """A frame rate as a fraction.

    Raises:
        ConfigError: it is no positive number.
    """
    check_numbers({"fps": fps})
    finite = isinstance(fps, Fraction) or math.isfinite(fps)
    rate = Fraction(fps).limit_denominator(1001 * 1000) if finite else Fraction()
    if rate <= 0:
        raise ConfigError(f"fps is {fps}; it must be positive, for example 25, 29.97 or Fraction(30000, 1001).")
    return rate
