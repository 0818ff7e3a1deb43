"""Cut a video into sequences of one scene each."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator

from nvc_jax.errors import ConfigError
from nvc_jax.preparation.boxes import box_for, reduced, reduced_size
from nvc_jax.preparation.cuts import CUT, steps
from nvc_jax.video import Frame

SMALLEST = 16  # pixels, of a side of a sequence


@dataclasses.dataclass(frozen=True)
class Rules:
    """The rules by which frames become sequences.

    Attributes:
        frames: frames of a sequence.
        short_sides: sequences are downsampled by the whole number that brings their short side nearest to one of
            these, which is drawn for each; empty keeps the size.
        cut: smallest mean luma difference at a scene cut, in 8-bit steps.
        min_motion: smallest mean luma difference from frame to frame; sequences below it are left out.
        every: take each n-th frame.
        most: sequences of a video at most.
        seed: of the drawing of short sides.
    """

    frames: int = 64
    short_sides: tuple[int, ...] = (256, 360, 540)
    cut: float = CUT
    min_motion: float = 0.5
    every: int = 1
    most: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.frames, self.every, *self.short_sides) < 1 or (self.most is not None and self.most < 1):
            raise ConfigError("`frames`, `every`, `most` and `short_sides` must be at least 1.")
        if min(self.short_sides, default=SMALLEST) < SMALLEST:
            raise ConfigError(f"`short_sides` are at least {SMALLEST} pixels.")
        if not (self.cut > 0 and self.min_motion >= 0):
            raise ConfigError("`cut` must be above 0 and `min_motion` at least 0.")


@dataclasses.dataclass(frozen=True)
class Sequence:
    """Consecutive frames of one scene.

    Attributes:
        start: number of the first frame in the video.
        box: whole number by which the pictures were downsampled.
        motion: mean luma difference from frame to frame, in 8-bit steps of small pictures.
        frames: the downsampled pictures.
    """

    start: int
    box: int
    motion: float
    frames: list[Frame]


@dataclasses.dataclass
class Count:
    """Counts of frames and scenes in a video.

    Attributes:
        frames: frames read.
        scenes: scenes begun.
        still: sequences left out for too little motion.
        unused: frames at the ends of scenes that fill no sequence.
    """

    frames: int = 0
    scenes: int = 0
    still: int = 0
    unused: int = 0


def cut_sequences(name: str, frames: Iterable[Frame], rules: Rules, count: Count) -> Iterator[Sequence]:
    """Cut a video into consecutive sequences that do not overlap.

    Args:
        name: of the video, from which its sizes are drawn.
        frames: of the video.
        rules: what becomes a sequence.
        count: updated as frames are read.
    """
    taken: list[Frame] = []
    differences: list[float] = []
    found = start = box = 0
    for number, step in enumerate(steps(_thinned(frames, rules.every, count), rules.cut)):
        if step.is_cut or not number:
            count.scenes += 1
            count.unused += len(taken)
            taken, differences = [], []
        if not taken:
            start, box = number * rules.every, _box(name, number, step.frame, rules)
            if min(reduced_size(step.frame.size, box)) < SMALLEST:
                return
        else:
            differences.append(step.difference)
        taken.append(reduced(step.frame, box))
        if len(taken) < rules.frames:
            continue
        motion = sum(differences) / max(1, len(differences))
        if differences and motion < rules.min_motion:
            count.still += 1
        else:
            yield Sequence(start, box, motion, taken)
            found += 1
            if found == rules.most:
                return
        taken, differences = [], []
    count.unused += len(taken)


def _thinned(frames: Iterable[Frame], every: int, count: Count) -> Iterator[Frame]:
    for number, frame in enumerate(frames):
        count.frames += 1
        if number % every == 0:
            yield frame


def _box(name: str, number: int, frame: Frame, rules: Rules) -> int:
    """Draw the short side of a sequence, by the seed, the video and the place in it."""
    if not rules.short_sides:
        return 1
    digest = hashlib.sha256(f"{rules.seed} {name} {number}".encode(errors="surrogateescape")).digest()
    drawn = rules.short_sides[int.from_bytes(digest[:8], "little") % len(rules.short_sides)]
    return box_for(frame.size, drawn)
