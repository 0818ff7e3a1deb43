"""Report of a coding run: per frame and in total."""

import hashlib
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from nvc_jax import __version__
from nvc_jax.codec.model import Codec
from nvc_jax.io.timing import Timer
from nvc_jax.video import VideoInfo, YuvFrame
from nvc_jax.video.quality import frame_psnr

WARM_UP_PACKETS = 4  # left out of speeds when there are more: compilation happens in them
TIMED_PACKETS = 2 * WARM_UP_PACKETS  # at least, for a speed without them; fewer would say little
_VECTOR_UNITS = "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"
_QUALITY = ("psnr_y", "psnr_u", "psnr_v", "psnr")


class Report:
    """Collects frames while they are coded."""

    def __init__(self, codec: Codec, timer: Timer, info: VideoInfo) -> None:
        """Start the clock.

        Args:
            codec: the model in use.
            timer: that of the encoder or decoder.
            info: size and frame rate of the video.
        """
        self.frames: list[dict[str, Any]] = []
        self._codec, self._timer, self._info = codec, timer, info
        self._bits, self._warm_up = 0, WARM_UP_PACKETS * codec.stored.config.pictures
        self._entropy_before = codec.entropy_seconds
        self._start = self._clock()

    def _clock(self) -> tuple[int, float, float, float]:
        entropy = self._codec.entropy_seconds - self._entropy_before
        return len(self.frames), time.perf_counter(), self._timer.seconds, entropy

    def add(
        self,
        index: int,
        kind: str,
        qp: float | None,
        bits: int,
        decoded: YuvFrame | None,
        original: YuvFrame | None = None,
        resynced: int = 0,
        buffer_bits: float | None = None,
    ) -> None:
        """Note a frame; without pictures its quality and hash stay unknown.

        Args:
            index: its number.
            kind: its letter.
            qp: None if it is lost.
            bits: that it takes.
            decoded: the decoded picture.
            original: the source.
            resynced: see `DecodedFrame`.
            buffer_bits: see `EncodedPacket`; only in the report where there is a buffer.
        """
        quality: dict[str, float | None] = dict.fromkeys(_QUALITY)
        if decoded is not None and original is not None:
            quality.update(frame_psnr(decoded, original))
        digest = None if decoded is None else hashlib.sha256(decoded.tobytes()).hexdigest()
        frame = {
            "index": index,
            "type": kind,
            "qp": int(qp) if qp is not None and qp == round(qp) else qp,
            "bits": bits,
            "resynced": resynced,
        } | ({} if buffer_bits is None else {"buffer_bits": round(buffer_bits)})
        self.frames.append({**frame, **quality, "sha256": digest})
        self._bits += bits
        if len(self.frames) == self._warm_up:
            self._warm = self._clock()

    def add_bits(self, bits: int) -> None:
        """Note what a stream holds beside its frames."""
        self._bits += bits

    @property
    def bpp(self) -> float:
        """Bits per pixel so far."""
        return self._bits / max(1, len(self.frames)) / (self._info.width * self._info.height)

    @property
    def is_warm(self) -> bool:
        """True once speeds leave out the first frames."""
        return len(self.frames) >= TIMED_PACKETS * self._codec.stored.config.pictures

    @property
    def fps(self) -> dict[str, float]:
        """Frames per second of the network, of the entropy coder and of everything, after the warm-up."""
        start = self._warm if self.is_warm else self._start
        count, total, coding, entropy = (now - then for now, then in zip(self._clock(), start, strict=True))

        def rate(seconds: float) -> float:
            return count / seconds if seconds > 0 else 0.0

        return {"network": rate(coding - entropy), "entropy": rate(entropy), "total": rate(total)}

    def summary(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        means = {}
        for name in _QUALITY:
            values = [frame[name] for frame in self.frames if frame[name] is not None]
            means[name] = sum(values) / len(values) if values else None
        return {
            "model": self._codec.stored.config.name,
            "identity": self._codec.stored.identity,
            "precision": self._codec.precision,
            "strategy": self._codec.strategy,
            "width": self._info.width,
            "height": self._info.height,
            "frame_rate": float(self._info.fps),
            "frame_count": len(self.frames),
            "bytes": self._bits // 8,
            "bpp": self.bpp,
            "kbps": self._bits / max(1, len(self.frames)) * float(self._info.fps) / 1000.0,
            **means,
            "fps": self.fps,
            "fps_after_frames": self._warm_up if self.is_warm else 0,
            "machine": machine(),
            "versions": versions(),
            "frames": self.frames,
        }


def machine() -> dict[str, str]:
    """Device, backend and processor."""
    device = jax.devices()[0]
    return {"device": device.device_kind, "backend": device.platform, "cpu": processor()}


def versions() -> dict[str, str]:
    """Versions of this package and of those that results may depend on."""
    names = ("jax", "jaxlib", "flax", "numpy", "av")
    return {"nvc-jax": __version__, **{name: metadata.version(name) for name in names}} | {
        "python": platform.python_version()
    }


def processor() -> str:
    """Name the CPU as the system does, with its family, model and vector units: virtual machines shorten names."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in about:
        return platform.processor() or platform.machine()
    numbers = [f"{key.removeprefix('cpu ')} {about[key]}" for key in ("cpu family", "model") if key in about]
    units = " ".join(unit for unit in _VECTOR_UNITS if unit in about.get("flags", "").split())
    details = ", ".join([*numbers, *filter(None, [units])])
    return f"{about['model name']} ({details})" if details else about["model name"]
