"""Codecs at scene cuts, and over many pictures without a refresh: PSNR and bits of every picture of real streams."""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvc_jax.errors import ConfigError
from nvc_jax.evaluation.coders import ModelCoder
from nvc_jax.evaluation.results import Point, summarise
from nvc_jax.evaluation.scenes import Scenes
from nvc_jax.evaluation.sequences import Video
from nvc_jax.spec import QP_OFFSETS

CYCLE = len(QP_OFFSETS)  # pictures, after which the qps repeat
TOLERANCE_DB = 0.5
WINDOW = 100  # pictures at the begin and at the end that `drift` compares
_OPTIONS = {"reset": 0, "intra": -1, "qp": None}  # and their defaults


@dataclasses.dataclass(frozen=True)
class Run:
    """A model as it codes.

    Attributes:
        model: packaged model or model directory.
        qp: base qp.
        reset_interval: see `Schedule`.
        intra_period: see `Schedule`.
        label: in tables and plots.
    """

    model: str
    qp: int
    reset_interval: int
    intra_period: int
    label: str

    @classmethod
    def parse(cls, text: str, qp: int) -> "Run":
        """Parse `MODEL[:reset=N][:intra=N][:qp=N]`; qp: where it has none of its own.

        Raises:
            ConfigError: an option is unknown or no number.
        """
        parts = text.split(":")
        model = ":".join(part for part in parts if part.partition("=")[0] not in _OPTIONS)
        values: dict[str, Any] = {}
        for name, _, value in (part.partition("=") for part in parts if part.partition("=")[0] in _OPTIONS):
            if not value.removeprefix("-").isdecimal():
                raise ConfigError(f"`model` {text}: {name} is {value!r}; give a whole number.")
            values[name] = int(value)
        if not model or "=" in model.rpartition(":")[2]:
            raise ConfigError(f"`model` {text}: write MODEL[:reset=N][:intra=N][:qp=N].")
        path = Path(model)
        name = path.parent.name if path.name == "model" and path.parent.name else path.name  # RUN/model
        shown = [name, *(f"{name} {value}" for name, value in values.items())]
        settings = _OPTIONS | {"qp": qp} | values
        return cls(model, settings["qp"], settings["reset"], settings["intra"], ", ".join(shown))

    def measure(self, video: Path, stream: Path, precision: str | None = None) -> Point:
        """Code a video and decode the stream.

        Raises:
            NvcError: the model does not load, or a setting is out of range.
        """
        coder = ModelCoder.described(self.model, (self.qp,), self.reset_interval, precision=precision)
        sequence = Video("scenes", video.name, video, None, None, False, self.intra_period)
        start = time.perf_counter()
        measured = coder.measure(sequence, self.qp, stream)
        seconds = time.perf_counter() - start
        settings = coder.settings(sequence, self.qp) | {"model": Path(self.model).name, "qp": self.qp}
        return summarise(measured.frames, measured.pixels, seconds) | {"settings": settings}


@dataclasses.dataclass(frozen=True)
class Recovery:
    """A codec after a cut.

    Attributes:
        cut: number of the first picture of the scene.
        level_before: mean PSNR of the last `CYCLE` pictures of the scene before.
        level: steady level, that of the last `CYCLE` pictures of this scene.
        first: PSNR of the first picture against the steady one of pictures at its place in the cycle of qps, dB.
        pictures: before the first of two in a row at most `TOLERANCE_DB` below the steady PSNR of their places.
        back: whether that is before the pictures that the steady level is made of.
        peak: most bits of a picture of this scene over the mean of all pictures from the first cut on.
    """

    cut: int
    level_before: float
    level: float
    first: float
    pictures: int
    back: bool
    peak: float


def recoveries(psnr: Sequence[float], bits: Sequence[float], cuts: Sequence[int]) -> list[Recovery]:
    """Measure the recovery from each cut.

    Args:
        psnr: of every picture, dB.
        bits: of every picture.
        cuts: first pictures of all scenes but the first; scenes have at least two cycles.
    """
    mean_bits = statistics.fmean(bits[cuts[0] :]) if cuts else 0.0
    found, ends = [], [*cuts[1:], len(psnr)]
    for cut, end in zip(cuts, ends, strict=True):
        steady = {t % CYCLE: psnr[t] for t in range(end - CYCLE, end)}
        below = [psnr[t] - steady[t % CYCLE] for t in range(cut, end)]
        near = [value >= -TOLERANCE_DB for value in below]
        pictures = next(i for i in range(len(near)) if all(near[i : i + 2]))
        found.append(
            Recovery(
                cut=cut,
                level_before=statistics.fmean(psnr[cut - CYCLE : cut]),
                level=statistics.fmean(steady.values()),
                first=below[0],
                pictures=pictures,
                back=pictures < end - cut - CYCLE,
                peak=max(bits[cut:end]) / mean_bits,
            )
        )
    return found


@dataclasses.dataclass(frozen=True)
class Drift:
    """The PSNR of a sequence that goes back and forth, at its end against its begin.

    Attributes:
        first: mean of `WINDOW` pictures after the first cycle, dB.
        last: mean of the last `WINDOW` pictures.
        same: mean difference of pictures of both windows that show the same frame at the same place in the cycle of
            qps; None if there are none.
    """

    first: float
    last: float
    same: float | None

    @property
    def change(self) -> float:
        """Negative where quality is lost."""
        return self.last - self.first


def drift(psnr: Sequence[float], sources: Sequence[tuple[int, int]], window: int = WINDOW) -> Drift:
    """Compare the end of a sequence with its begin.

    Args:
        psnr: of every picture, dB.
        sources: see `Scenes`.
        window: pictures at either end.

    Raises:
        ConfigError: see `check_loop`.
    """
    check_loop(len(psnr), window)
    early, late = range(CYCLE, CYCLE + window), range(len(psnr) - window, len(psnr))
    shown: dict[Any, list[float]] = {}
    for t in early:
        shown.setdefault((sources[t], t % CYCLE), []).append(psnr[t])
    keys = ((t, (sources[t], t % CYCLE)) for t in late)
    same = [psnr[t] - statistics.fmean(shown[key]) for t, key in keys if key in shown]
    first, last = (statistics.fmean(psnr[t] for t in part) for part in (early, late))
    return Drift(first, last, statistics.fmean(same) if same else None)


def check_loop(pictures: int, window: int = WINDOW) -> None:
    """Check the length of a sequence that goes back and forth.

    Raises:
        ConfigError: it is too short for two windows.
    """
    if pictures < CYCLE + 2 * window:
        raise ConfigError(f"{pictures} pictures are too few to compare {window} with {window} after {CYCLE}.")


def check_scenes(scenes: Scenes) -> None:
    """Check the length of scenes.

    Raises:
        ConfigError: a scene has less than two cycles.
    """
    ends = [0, *scenes.cuts, len(scenes.frames)]
    shortest = min(end - begin for begin, end in itertools.pairwise(ends))
    if shortest < 2 * CYCLE:
        raise ConfigError(f"a scene has {shortest} pictures; give at least {2 * CYCLE}: two cycles of qps.")


def cuts_row(point: Point, found: Sequence[Recovery]) -> dict[str, str]:
    """Cells of the table of cuts, by column."""
    worst = max(found, key=lambda recovery: recovery.pictures)
    at_least = "" if all(recovery.back for recovery in found) else "at least "
    return {
        "bits per pixel": f"{point['ave_all_frame_bpp']:.4f}",
        "PSNR, dB": f"{point['ave_all_frame_psnr']:.2f}",
        "first picture, dB": f"{statistics.fmean(recovery.first for recovery in found):+.2f}",
        f"pictures to {TOLERANCE_DB} dB, mean": f"{at_least}{statistics.fmean(r.pictures for r in found):.1f}",
        "worst": f"{'' if worst.back else 'at least '}{worst.pictures}",
        "peak / mean bits": f"{max(recovery.peak for recovery in found):.1f}",
    }


def drift_row(point: Point, found: Drift) -> dict[str, str]:
    """Cells of the table of drift, by column."""
    return {
        "bits per pixel": f"{point['ave_all_frame_bpp']:.4f}",
        "first, dB": f"{found.first:.2f}",
        "last, dB": f"{found.last:.2f}",
        "change, dB": f"{found.change:+.2f}",
        "same pictures, dB": "none" if found.same is None else f"{found.same:+.2f}",
    }
