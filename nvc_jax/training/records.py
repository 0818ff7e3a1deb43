"""Logs of a run: configuration, metrics, speed, TensorBoard."""

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from nvc_jax.errors import ConfigError, OutputError
from nvc_jax.io.files import atomic_output, explained
from nvc_jax.training.config import Logging, TrainConfig
from nvc_jax.training.settings import differences, to_json

CONFIG, CLIPS, CHECKPOINTS = "config.json", "clips.json", "checkpoints"
METRICS, SPEED, EVALUATION = "metrics.jsonl", "speed.jsonl", "evaluation.jsonl"


def check_folder(workdir: Path) -> None:
    """Refuse to start a run among other files.

    Raises:
        ConfigError: the folder holds files, but no run.
    """
    if workdir.is_dir() and not (workdir / CONFIG).exists():
        others = sorted(path.name for path in workdir.iterdir() if path.name != CHECKPOINTS)
        if others:
            raise ConfigError(f"{workdir}: holds {others[0]}, but no run; name a new or an empty folder.")


def check_config(workdir: Path, config: TrainConfig, clips: str, teacher: str = "") -> None:
    """Refuse to resume a run with another configuration, other clips or another teacher.

    Args:
        workdir: folder of the run.
        config: configuration to resume with.
        clips: `ClipSet.identity`.
        teacher: identity of its model; empty without one.

    Raises:
        ConfigError: one of them differs.
    """
    path = workdir / CONFIG
    try:
        found = list(differences(path.read_text(), config)) if path.exists() else []
        before = json.loads((workdir / CLIPS).read_text()) if (workdir / CLIPS).exists() else {"sha256": clips}
        clips_before, teacher_before = before["sha256"], before.get("teacher", teacher)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: is damaged ({error}); name a new folder.") from None
    if clips_before != clips and not any(key == "data.source" for key, _, _ in found):
        raise ConfigError(
            f"{config.data.source}: holds other clips than when the run in {workdir} began; restore them to resume, "
            "or name a new folder."
        )
    if teacher_before != teacher and not found:
        raise ConfigError(
            f"{config.teacher.model}: is another model than when the run in {workdir} began; restore it to resume, or "
            "name a new folder."
        )
    for key, old, new in found:
        raise ConfigError(
            f"{workdir}: holds a run with {key}={_shown(old)}, not {_shown(new)}; give the same settings to resume, or "
            "name a new folder."
        )


def save_config(workdir: Path, config: TrainConfig, clips: str, teacher: str = "") -> None:
    """Write the files that `check_config` reads."""
    inputs = {"sha256": clips} | ({"teacher": teacher} if teacher else {})
    for name, text in ((CONFIG, to_json(config)), (CLIPS, json.dumps(inputs) + "\n")):
        with atomic_output(workdir / name) as file:
            file.write(text.encode())


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)


class Records:
    """The logs of a run, continued at a step; use it in a `with` block.

    `metrics.jsonl` has one object per step and depends only on the run: a run that was killed and resumed has the
    same bytes. Values that depend on the machine are in `speed.jsonl`.
    """

    def __init__(self, workdir: Path, step: int, logging: Logging) -> None:
        """Drop the records of `step` and later.

        Raises:
            OutputError: the files cannot be written.
        """
        self._files: dict[str, TextIO] = {}
        self._board: Any = None
        with explained(OutputError, f"{workdir}: cannot write the logs"):
            for name in (METRICS, SPEED, EVALUATION):
                _cut(workdir / name, step)
                self._files[name] = (workdir / name).open("a")
        if logging.tensorboard:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise ConfigError(f'{error}; pip install "nvc-jax[train]", or set logging.tensorboard=false.') from None
            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step)
        self._last = time.perf_counter()

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.flush()
        finally:
            with contextlib.suppress(OSError):  # already flushed, or flushing has failed
                for file in self._files.values():
                    file.close()
                if self._board is not None:
                    self._board.close()

    def steps(self, first: int, stage: str, metrics: Sequence[Mapping[str, float]], samples: int) -> float:
        """Log consecutive steps.

        Args:
            first: number of the first step.
            stage: name of the stage.
            metrics: values of each step; those that are not finite become null.
            samples: clips in a batch.

        Returns:
            Clips per second since the last call.
        """
        now = time.perf_counter()
        speed, self._last = samples * len(metrics) / (now - self._last), now
        for step, values in enumerate(metrics, start=first):
            finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
            self._write(METRICS, {"step": step, "stage": stage, **finite})
            self._write(SPEED, {"step": step, "samples_per_second": speed})
            self._plot(step, {**values, "samples_per_second": speed}, "train")
        return speed

    def evaluation(self, step: int, point: Mapping[str, Any], picture: Path | None = None) -> None:
        """Log a rate-distortion point, with the PNG of source and decoded frame side by side."""
        self._write(EVALUATION, {"step": step, **point})
        place = f"evaluation/{point['sequence']}/qp{point['qp']}"
        self._plot(step, {name: point[name] for name in ("bpp", "psnr")}, place)
        if self._board is not None and picture is not None:
            with explained(OutputError, f"{picture}: cannot read"):
                self._board.file_writer.add_summary(_picture_summary(f"{place}/source_and_decoded", picture), step)

    def restart_clock(self) -> None:
        """Exclude the time since the last step from the next one's speed."""
        self._last = time.perf_counter()

    def flush(self) -> None:
        """Write all logs to disk."""
        for file in self._files.values():
            with explained(OutputError, f"{file.name}: cannot write"):
                file.flush()
                os.fsync(file.fileno())

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        with explained(OutputError, f"{self._files[name].name}: cannot write"):
            self._files[name].write(json.dumps(record) + "\n")
            self._files[name].flush()

    def _plot(self, step: int, values: Mapping[str, float], place: str) -> None:
        if self._board is not None:
            for name, value in values.items():
                if math.isfinite(value):
                    self._board.add_scalar(f"{place}/{name}", value, step)


def _picture_summary(tag: str, png: Path) -> Any:
    """Make the summary of a picture from a PNG file, as `add_image` does, which needs Pillow."""
    from tensorboardX.proto.summary_pb2 import Summary

    data = png.read_bytes()
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))  # of IHDR
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _cut(path: Path, step: int) -> None:
    """Drop the records from `step` on, and a line truncated by a kill."""
    kept = []
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        try:
            keep = line.endswith("\n") and json.loads(line)["step"] < step
        except (ValueError, KeyError, TypeError):
            keep = False
        if not keep:
            break
        kept.append(line)
    with atomic_output(path) as file:
        file.write("".join(kept).encode())
