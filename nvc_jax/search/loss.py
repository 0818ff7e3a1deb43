"""Losses of candidates: BD-rate against the teacher, from estimated rates (`evaluation/estimate.py`)."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from nvc_jax.errors import EvaluationError, NvcError
from nvc_jax.evaluation.bd_rate import LITTLE_OVERLAP, BdRate, compare
from nvc_jax.evaluation.estimate import EstimatingCoder
from nvc_jax.evaluation.results import Results, collect
from nvc_jax.evaluation.runner import Job, find_existing, run_all
from nvc_jax.evaluation.sequences import Video
from nvc_jax.io.files import make_folder

_RESET_INTERVAL = 64  # frames, as in `nvc-jax evaluate`


@dataclasses.dataclass(frozen=True)
class Loss:
    """BD-rate against the teacher.

    Attributes:
        percent: mean of the classes of videos; None if a sequence has none.
        sequences: by class and name.
        reason: why there is none.
    """

    percent: float | None
    sequences: dict[str, float]
    reason: str = ""


def curves(
    model: str, qps: Sequence[int], videos: Sequence[Video], folder: Path, precision: str | None = None
) -> Results:
    """Measure all points of a model, except for those that the folder has.

    Args:
        model: name or folder.
        qps: base qps.
        videos: to code.
        folder: for points and pictures.
        precision: of coding; None takes the default of .nvc files.

    Raises:
        EvaluationError: a point cannot be measured.
    """
    make_folder(folder)
    coder = EstimatingCoder.described(model, tuple(qps), _RESET_INTERVAL, precision=precision)
    pairs = [(video, index) for video in videos for index in range(len(qps))]
    jobs = {number: Job(coder, video, index, folder) for number, (video, index) in enumerate(pairs)}
    points = find_existing(jobs)
    for number, outcome in run_all({n: job for n, job in jobs.items() if n not in points}, 1):
        if isinstance(outcome, NvcError):
            raise EvaluationError(f"{jobs[number]}: {outcome}")
        points[number] = outcome
    return collect(points[number] for number in sorted(points))


def loss_of(anchor: Results, test: Results) -> Loss:
    """Compare a candidate with the teacher.

    Undefined where a sequence is, so that all are means over the same ones, and where its curve shares too few
    qualities with the teacher's for the mean to say much.
    """
    comparison = compare(anchor, test)
    sequences = {
        "/".join(key): value.percent for key, value in comparison.sequences.items() if isinstance(value, BdRate)
    }
    failed = {key: value for key, value in comparison.sequences.items() if not isinstance(value, BdRate)}
    if failed:
        key, error = next(iter(failed.items()))
        return Loss(None, sequences, f"no BD-rate of {'/'.join(key)}: {error}")
    for key, value in comparison.sequences.items():
        if isinstance(value, BdRate) and value.overlap < LITTLE_OVERLAP:
            return Loss(None, sequences, f"the curves of {'/'.join(key)} share {value.overlap:.0%} of their qualities")
    return Loss(comparison.average, sequences)
