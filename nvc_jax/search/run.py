"""A search from a teacher to the chosen architectures. Everything that takes time is kept, and not done again."""

import dataclasses
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from nvc_jax.codec.model import Codec
from nvc_jax.codec.report import machine, versions
from nvc_jax.codec.store import StoredModel, load_model, make_model, save_model
from nvc_jax.errors import ConfigError, EvaluationError, NvcError
from nvc_jax.evaluation.complexity import packet_complexity
from nvc_jax.evaluation.results import Results, read_point, write_json
from nvc_jax.evaluation.sequences import Video, content_hash
from nvc_jax.io.files import atomic_output, make_folder
from nvc_jax.io.lock import locked
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.params import parameter_shapes
from nvc_jax.search import fine_tuning, loss
from nvc_jax.search.frontier import Architecture, Option, choose, frontier, product, spread
from nvc_jax.search.inheritance import inherit
from nvc_jax.search.progress import Progress
from nvc_jax.search.settings import Settings
from nvc_jax.search.speed import Stopwatch
from nvc_jax.search.variants import (
    INTER,
    MODULES,
    PAPER,
    VARIANTS,
    WHOLE,
    Candidate,
    Variant,
    candidates,
    inter_of,
    named,
    swapped,
    uniform,
)
from nvc_jax.training.sources import find_clips

SEARCH, STATE, STUDENTS = "search.json", "settings.json", "students"
_SHARES = tuple(Fraction(number, 8) for number in range(1, 8))  # of channels, in a uniform reduction


@dataclasses.dataclass(frozen=True)
class Task:
    """A search.

    Attributes:
        model: the teacher, by name or folder.
        videos: to evaluate on.
        output: folder of the search.
        targets: speed-ups to reach, 0.6 for 60 %.
        check: number of whole architectures to train shortly, for comparison with what their parts predict.
        settings: what figures depend on.
        variants: of each module.
    """

    model: str
    videos: tuple[Video, ...]
    output: Path
    targets: tuple[float, ...]
    check: int
    settings: Settings
    variants: Mapping[str, tuple[Variant, ...]] = dataclasses.field(default_factory=lambda: VARIANTS)

    def __post_init__(self) -> None:
        if not self.targets or min(self.targets) <= 0:
            raise ConfigError("target speed-ups must be above 0, for example 0.6 for 60 %.")
        if self.check < 0:
            raise ConfigError(f"`check` is {self.check}; it must be at least 0.")


def search(task: Task, note: Callable[[str], Any]) -> dict[str, Any]:
    """Run a search, or go on with the one in its folder.

    Args:
        task: what to search.
        note: takes lines for the user.

    Returns:
        The content of search.json, whose architectures of missed targets are null.

    Raises:
        NvcError: the search cannot start, or nothing can be compared.
    """
    found = _Search(task, note)
    make_folder(task.output)
    with locked(task.output, "search"):
        return found.run()


class _Search:
    """A search and what it has measured so far."""

    def __init__(self, task: Task, note: Callable[[str], Any]) -> None:
        self.task, self.settings, self.note = task, task.settings, note
        self.teacher = load_model(task.model)
        inter_of(self.teacher.config)
        if self.teacher.precision == "int16":
            raise ConfigError(f"{task.model}: is an int16 model, which cannot be trained; give its float model.")
        self.settings.training(self.teacher.config)  # refuses an unknown recipe
        find_clips(self.settings.data)  # refuses a folder without clips, before anything takes time
        self.candidates, self.notes = candidates(self.teacher.config, task.variants)
        if not self.candidates:
            raise ConfigError(f"{self.teacher.config.name} has no module that a variant makes smaller.")
        checked = task.check + len(task.targets) if task.check else 0
        self.progress = Progress(len(self.candidates) + checked, note)

    def run(self) -> dict[str, Any]:
        """Measure, choose, check, and write."""
        self._check_state()
        for sentence in self.notes:
            self.note(sentence)
        settings, teacher = self.settings, self.teacher
        self.note(f"teacher {teacher.config.name}: curves of {len(self.task.videos)} videos at {len(settings.qps)} qps")
        self.anchor = self._curves(self.task.model, self.task.output / "teacher")
        if (own := loss.loss_of(self.anchor, self.anchor)).percent is None:
            raise EvaluationError(f"{self.task.model}: nothing can be compared with it; {own.reason}")
        self.stopwatch = Stopwatch(Codec(teacher, settings.precision), settings.speed_size, settings.runs)
        rows = [self._candidate(candidate) for candidate in self.candidates]
        options = {
            module: [Option(module, WHOLE, 0.0, 0.0), *(_option(row) for row in rows if row["module"] == module)]
            for module in MODULES
        }
        measured = {module: [o for o in of_module if o.loss < float("inf")] for module, of_module in options.items()}
        frontiers = {module: frontier(of_module) for module, of_module in measured.items()}
        architectures = product(frontiers)
        if left_out := math.prod(map(len, frontiers.values())) - len(architectures):
            sentence = f"{left_out} architectures left out: by the times of their modules no time would be left."
            self.notes = [*self.notes, sentence]
            self.note(sentence)
        result: dict[str, Any] = {
            "date": date.today().isoformat(),
            "teacher": teacher.config.name,
            "settings": self._state(),
            "teacher_complexity": self._complexity(teacher.config),
            "machine": machine(),
            "versions": versions(),
            "notes": self.notes,
            "candidates": rows,
            "frontiers": {module: [option.name for option in found] for module, found in frontiers.items()},
            "architectures": [_described(architecture) for architecture in architectures],
            "paper": self._of_the_paper(options, architectures),
            "chosen": {},
        }
        chosen: dict[float, Architecture] = {}
        for target in self.task.targets:
            try:
                chosen[target] = choose(architectures, 1.0 + target)
                result["chosen"][f"{target:g}"] = self._chosen(target, chosen[target])
            except ConfigError as error:
                result["chosen"][f"{target:g}"] = None
                result.setdefault("missed", []).append(str(error))
        if self.task.check:
            checked = spread(architectures, self.task.check, list(chosen.values()))
            result["check"] = [self._whole(self._parts(a), "architectures") | _described(a) for a in checked]
            by_label = {row["label"]: row for row in result["check"]}
            result["uniform"] = {
                f"{target:g}": self._uniform(by_label[architecture.label])
                for target, architecture in chosen.items()
                if architecture.label in by_label
            }
        write_json(self.task.output / SEARCH, result)
        return result

    def _state(self) -> dict[str, Any]:
        videos = [
            {"video": str(video), "hash": content_hash(video.path), "frames": video.frames}
            for video in self.task.videos
        ]
        return {"identity": self.teacher.identity} | dataclasses.asdict(self.settings) | {"videos": videos}

    def _check_state(self) -> None:
        """Refuse a folder that holds another search."""
        path = self.task.output / STATE
        state = json.loads(json.dumps(self._state()))
        saved = read_point(path)
        if saved is not None:
            different = [key for key in state if saved.get(key) != state[key]]
            if different:
                shown = ", ".join(f"{key} {_short(saved.get(key))} (now {_short(state[key])})" for key in different)
                raise ConfigError(f"{self.task.output}: holds a search with {shown}; give another folder.")
            return
        with atomic_output(path) as file:
            file.write((json.dumps(state, indent=1) + "\n").encode())

    def _curves(self, model: str, folder: Path) -> Results:
        return loss.curves(model, self.settings.qps, self.task.videos, folder, self.settings.precision)

    def _complexity(self, config: CodecConfig) -> dict[str, float]:
        total = packet_complexity(config, INTER).total
        return {"parameters": fine_tuning.counts(parameter_shapes(config)), "decode_kmac": total.decode / 1e3}

    def _candidate(self, candidate: Candidate) -> dict[str, Any]:
        """Train, time and evaluate one variant of one module."""
        folder = self.task.output / "candidates" / _slug(f"{candidate.module} {candidate.name}")
        about = {
            "module": candidate.module,
            "name": candidate.name,
            "also": list(candidate.also),
            "stacks": [dataclasses.asdict(stack) for stack in candidate.stacks],
        }
        label = f"{candidate.module} {candidate.label}"

        def measure() -> dict[str, Any]:
            student = swapped(self.teacher.config, [candidate])
            model, found = self._trained(student, [candidate.module], folder)
            saving = self.stopwatch.saving(Codec(model, self.settings.precision))
            times = {"share": saving.share, "teacher_decode_ms": saving.decode_ms, "parts_ms": saving.parts_ms}
            return about | {"saved": times, "speedup": Option("", "", saving.share, 0.0).speedup} | found

        return self._kept(folder, label, about, measure)

    def _whole(self, parts: Sequence[Candidate], kind: str) -> dict[str, Any]:
        """Train all swapped modules of an architecture together, and time and evaluate it."""
        label = "; ".join(_names(parts).values())
        folder = self.task.output / kind / _slug(label)
        about = {"label": label, "variants": _names(parts)}

        def measure() -> dict[str, Any]:
            student = swapped(self.teacher.config, parts)
            model, found = self._trained(student, [part.module for part in parts], folder)
            return about | {"measured_speedup": self.stopwatch.speedup(Codec(model, self.settings.precision))} | found

        return self._kept(folder, label, about, measure)

    def _kept(
        self, folder: Path, label: str, about: Mapping[str, Any], measure: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """The result in a folder, or a new one."""
        path = folder / "result.json"
        done = read_point(path)
        if done is not None and all(done.get(key) == value for key, value in about.items()):
            self.progress.skip()
            return done
        self.progress.begin(label)
        began = time.monotonic()
        result = measure() | {"seconds": time.monotonic() - began}
        write_json(path, result)
        result = read_point(path) or result
        fine_tuning.finish(folder)
        self.progress.end(label, result)
        return result

    def _trained(
        self, student: CodecConfig, modules: Iterable[str], folder: Path
    ) -> tuple[StoredModel, dict[str, Any]]:
        """A model after the short training, and its size and loss."""
        make_folder(folder)
        save_model(folder / "start", self._start(student))
        config = fine_tuning.training_config(self.settings, self.teacher, student, modules, folder / "start")
        path = fine_tuning.fine_tune(config, folder / "run", self.note)
        model = load_model(path)
        try:
            found = loss.loss_of(self.anchor, self._curves(str(path), folder / "points"))
        except NvcError as error:  # of this candidate: numbers that are not finite, say
            found = loss.Loss(None, {}, str(error))
        return model, self._complexity(student) | {
            "loss": found.percent,
            "sequences": found.sequences,
            "reason": found.reason,
        }

    def _start(self, student: CodecConfig) -> StoredModel:
        """An architecture with the teacher's weights, as far as they fit."""
        teacher, settings = self.teacher, self.settings
        params = inherit(teacher.config, teacher.params, student, settings.seed, settings.start == "slices").params
        return make_model(student, params, "start of a search", teacher.tables, teacher.offsets)

    def _untrained(self, parts: Sequence[Candidate]) -> Codec:
        """An architecture to time."""
        return Codec(self._start(swapped(self.teacher.config, parts)), self.settings.precision)

    def _parts(self, architecture: Architecture) -> list[Candidate]:
        return [named(self.candidates, o.module, o.name) for o in architecture.options if o.name != WHOLE]

    def _chosen(self, target: float, architecture: Architecture) -> dict[str, Any]:
        """Time a choice as a whole, and write its configuration and a model to start its training from."""
        parts = self._parts(architecture)
        name = f"{self.teacher.config.name}_{100 * target:.0f}"
        config = swapped(self.teacher.config, parts, name)
        path = self.task.output / STUDENTS / f"{name}.json"
        make_folder(path.parent)
        write_json(path, config.to_dict())
        start = self._start(config)
        save_model(path.with_suffix(""), start)
        speedup = self.stopwatch.speedup(Codec(start, self.settings.precision))
        self.note(
            f"target {100 * target:.0f} %: {architecture.label}; predicted {100 * (architecture.speedup - 1):.0f} %, "
            f"measured {100 * (speedup - 1):.0f} % faster, predicted loss {architecture.loss:+.1f} %; {path}"
        )
        about = {"name": name, "codec": str(path.relative_to(self.task.output)), "measured_speedup": speedup}
        return about | _described(architecture) | self._complexity(config)

    def _of_the_paper(
        self, options: Mapping[str, Sequence[Option]], architectures: Sequence[Architecture]
    ) -> dict[str, Any]:
        """The figures that this search gives the choices of the paper, and their place by efficiency."""
        found: dict[str, Any] = {}
        for name, variants in PAPER.items():
            chosen = []
            try:
                for module, variant in variants.items():
                    label = named(self.candidates, module, variant).name
                    chosen.append(next(option for option in options[module] if option.name == label))
            except ConfigError as error:
                found[name] = {"reason": str(error)}
                continue
            architecture = Architecture(tuple(chosen))
            if architecture.loss == float("inf"):
                found[name] = {"reason": "a module has no BD-rate", "label": architecture.label}
                continue
            rivals = [a for a in architectures if a.speedup >= architecture.speedup]
            better = sum(a.efficiency > architecture.efficiency for a in rivals)
            found[name] = _described(architecture) | {"better_of_as_fast": [better, len(rivals)]}
        return found

    def _uniform(self, beside: Mapping[str, Any]) -> dict[str, Any]:
        """Reduce all widths by one share, to the speed of a choice, and measure that as the choice was."""
        path = self.task.output / "uniform" / f"share_of_{_slug(beside['label'])}.json"
        known = read_point(path)
        if known is None:
            make_folder(path.parent)
            known = {"share": str(self._share_of_speed(beside["measured_speedup"]))}
            write_json(path, known)
        row = self._whole(uniform(self.teacher.config, Fraction(known["share"])), "uniform")
        return row | known | {"beside": beside["label"], "loss_beside": beside["loss"]}

    def _share_of_speed(self, speedup: float) -> Fraction:
        """The share of all widths whose speed-up is nearest; speed-ups fall with the share."""
        shares = [share for share in _SHARES if self._comes_out(share)]
        if not shares:
            raise ConfigError(
                f"{self.teacher.config.name}: no eighth of its widths is a whole number; leave out `check`."
            )
        speeds: dict[Fraction, float] = {}

        def speed(share: Fraction) -> float:
            if share not in speeds:
                speeds[share] = self.stopwatch.speedup(self._untrained(uniform(self.teacher.config, share)))
            return speeds[share]

        low, high = 0, len(shares)  # the largest share that is fast enough is from `low` on and before `high`
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if speed(shares[middle]) >= speedup else (low, middle)
        return min(shares[low : low + 2], key=lambda share: abs(speed(share) - speedup))

    def _comes_out(self, share: Fraction) -> bool:
        try:
            swapped(self.teacher.config, uniform(self.teacher.config, share))
        except ConfigError:
            return False
        return True


def _option(row: Mapping[str, Any]) -> Option:
    loss_ = float("inf") if row["loss"] is None else row["loss"]
    return Option(row["module"], row["name"], row["saved"]["share"], loss_)


def _names(parts: Iterable[Candidate]) -> dict[str, str]:
    """The variant of every module."""
    return dict.fromkeys(MODULES, WHOLE) | {part.module: part.name for part in parts}


def _described(architecture: Architecture) -> dict[str, Any]:
    return {
        "label": architecture.label,
        "variants": {option.module: option.name for option in architecture.options},
        "speedup": architecture.speedup,
        "predicted_loss": architecture.loss,
        "efficiency": architecture.efficiency,
    }


def _slug(name: str) -> str:
    """A name for a folder."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", name.replace("/", "-").replace(":", "-")).strip("_")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 40 else text[:37] + "..."
