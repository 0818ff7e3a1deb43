"""Decoding times of a student in turns with its teacher."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from nvc_jax.benchmark.clock import Times, interleaved
from nvc_jax.benchmark.modules import PARTS, module_calls
from nvc_jax.benchmark.subject import Subject
from nvc_jax.codec.model import Codec
from nvc_jax.errors import EvaluationError
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.params import parameter_shapes
from nvc_jax.search.variants import INTER

_DECODING = tuple(name for name in PARTS if name != "encoder")


@dataclasses.dataclass(frozen=True)
class Saving:
    """Time that a student saves in decoding.

    Attributes:
        share: of the teacher's time, from those of the parts that differ.
        decode_ms: of the teacher.
        parts_ms: of the teacher and of the student, by part that differs.
    """

    share: float
    decode_ms: float
    parts_ms: Mapping[str, tuple[float, float]]


class Stopwatch:
    """Times students against one teacher, on pictures of one size: the network of a P frame, without entropy coder."""

    def __init__(self, teacher: Codec, size: tuple[int, int], runs: int) -> None:
        """Prepare the teacher."""
        self._size, self._runs = size, runs
        self._config = teacher.stored.config
        self._teacher = Subject.of(teacher, *size)
        self._calls = module_calls(self._teacher)
        self._decode = self._teacher.sides()["decode"]

    def saving(self, student: Codec) -> Saving:
        """Time the parts of a student that differ from the teacher's, each in turns with it.

        Raises:
            EvaluationError: they save more time than the teacher takes.
        """
        parts = differing_parts(self._config, student.stored.config)
        theirs = module_calls(Subject.of(student, *self._size))
        functions: dict[str, Callable[[], Any]] = {"teacher": self._decode}
        for part in parts:
            functions |= {f"teacher {part}": self._calls[part], f"student {part}": theirs[part]}
        times = interleaved(functions, self._runs)
        rows = {part: (times[f"teacher {part}"], times[f"student {part}"]) for part in parts}
        saved = sum(map(_difference, rows.values()))
        whole = times["teacher"].median
        if saved >= whole:
            raise EvaluationError(
                f"{', '.join(parts)}: {1e3 * saved:.2f} ms are saved of {1e3 * whole:.2f} ms of decoding, which "
                "cannot be; run the same command again without other programs beside it."
            )
        milliseconds = {part: (1e3 * a.median, 1e3 * b.median) for part, (a, b) in rows.items()}
        return Saving(saved / whole, 1e3 * whole, milliseconds)

    def speedup(self, student: Codec) -> float:
        """Time the whole of decoding in turns, and give the ratio of times."""
        functions = {"teacher": self._decode, "student": Subject.of(student, *self._size).sides()["decode"]}
        times = interleaved(functions, self._runs)
        ratios = [a / b for a, b in zip(times["teacher"].seconds, times["student"].seconds, strict=True)]
        return statistics.median(ratios)


def _difference(times: tuple[Times, Times]) -> float:
    """The median over the turns, so that what disturbs a turn falls out."""
    return statistics.median(a - b for a, b in zip(times[0].seconds, times[1].seconds, strict=True))


def differing_parts(teacher: CodecConfig, student: CodecConfig) -> list[str]:
    """Parts of decoding, keys of `benchmark.modules.PARTS`, whose parameters have other shapes."""
    shapes = [
        {name.split("/", 1)[1]: shape for name, shape in parameter_shapes(config).items() if name.startswith(INTER)}
        for config in (teacher, student)
    ]
    changed = {name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name)}
    return [part for part in _DECODING if any(name.startswith(PARTS[part]) for name in changed)]
