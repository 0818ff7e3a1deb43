"""Losses of candidates: BD-rate against the teacher, from estimated rates (`evaluation/estimate.py`)."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from nvc_jax.codec.containers import default_rdoq
from nvc_jax.codec.store import StoredModel
from nvc_jax.errors import EvaluationError, NvcError
from nvc_jax.evaluation.bd_rate import BdRate, compare
from nvc_jax.evaluation.estimate import EstimatingCoder
from nvc_jax.evaluation.results import Results, collect
from nvc_jax.evaluation.runner import Job, find_existing, run_all
from nvc_jax.evaluation.sequences import Video
from nvc_jax.io.files import make_folder
from nvc_jax.search.settings import Settings
from nvc_jax.spec import DEFAULT_SKIP_THRESHOLD


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


def curves(model: str, stored: StoredModel, settings: Settings, videos: Sequence[Video], folder: Path) -> Results:
    """Measure all points of a model, but those that the folder has.

    Args:
        model: name or folder.
        stored: the same, loaded.
        settings: of the search.
        videos: to code.
        folder: for points and pictures.

    Raises:
        EvaluationError: a point cannot be measured.
    """
    make_folder(folder)
    coder = EstimatingCoder(
        model=model,
        identity=stored.identity,
        config=stored.config.to_dict(),
        qps=settings.qps,
        container="nvc",
        precision=settings.precision,
        reset_interval=64,
        skip_threshold=DEFAULT_SKIP_THRESHOLD,
        rdoq=default_rdoq("nvc", stored.config),
        skip_blocks=True,
        offsets=stored.offsets,
    )
    pairs = [(video, index) for video in videos for index in range(len(settings.qps))]
    jobs = {number: Job(coder, video, index, folder) for number, (video, index) in enumerate(pairs)}
    points = find_existing(jobs)
    for number, outcome in run_all({n: job for n, job in jobs.items() if n not in points}, 1):
        if isinstance(outcome, NvcError):
            raise EvaluationError(f"{jobs[number]}: {outcome}")
        points[number] = outcome
    return collect(points[number] for number in sorted(points))


def loss_of(anchor: Results, test: Results) -> Loss:
    """Compare a candidate with the teacher; undefined where a sequence is, so that all are means over the same ones."""
    comparison = compare(anchor, test)
    sequences = {
        "/".join(key): value.percent for key, value in comparison.sequences.items() if isinstance(value, BdRate)
    }
    failed = {key: value for key, value in comparison.sequences.items() if not isinstance(value, BdRate)}
    if failed:
        key, error = next(iter(failed.items()))
        return Loss(None, sequences, f"no BD-rate of {'/'.join(key)}: {error}")
    return Loss(comparison.average, sequences)
