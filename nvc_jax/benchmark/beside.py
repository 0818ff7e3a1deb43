"""Time several codecs in turns, per picture: the modules of a P frame, all of its network, and whole sequences."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from nvc_jax.benchmark import sequence
from nvc_jax.benchmark.clock import Times, interleaved
from nvc_jax.benchmark.conditions import conditions
from nvc_jax.benchmark.modules import PARTS, module_calls
from nvc_jax.benchmark.subject import QP, Subject, load, moving_picture
from nvc_jax.codec.schedule import Schedule
from nvc_jax.evaluation.complexity import packet_complexity

_SIDES = ("encode", "decode")


def measure(
    names: Sequence[str],
    size: tuple[int, int],
    precision: str,
    runs: int,
    frames: int,
    sequences: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Time codecs side by side; those without weights have random ones.

    Args:
        names: of models or architectures; the first is what the others are compared with.
        size: (width, height).
        precision: of all.
        runs: of each part of a P frame.
        frames: of the sequences; 0 for none.
        sequences: repetitions of them.
        progress: takes the name of the next measurement.

    Returns:
        Plain values for JSON: complexity, seconds per picture by module and side, and frames per second by codec.

    Raises:
        NvcError: a codec is unknown or does not have the precision.
    """
    codecs = {name: load(name, precision)[0] for name in names}
    rows: dict[str, dict[str, Any]] = {}
    for name, codec in codecs.items():
        config = codec.stored.config
        total = packet_complexity(config, config.rest, *size).total
        kmacs = {side: getattr(total, side) / 1e3 for side in _SIDES}
        rows[name] = {"strategy": codec.strategy, "parameters": total.parameters, "kmac": kmacs}
    progress("modules and network of a P frame")
    subjects = {name: Subject.of(codec, *size) for name, codec in codecs.items()}
    functions: dict[str, Callable[[], Any]] = {}
    for name, subject in subjects.items():
        functions |= {f"{name}/{part}": call for part, call in module_calls(subject).items()}
        functions |= {f"{name}/{side}": call for side, call in subject.sides().items()}
    times = interleaved(functions, runs)
    for name, row in rows.items():
        count = row["pictures_per_packet"] = subjects[name].count
        row["modules"], row["network"] = (
            {part: Times([s / count for s in times[f"{name}/{part}"].seconds]).to_json() for part in parts}
            for parts in (PARTS, _SIDES)
        )
        row["end_to_end"] = {}
    if frames:
        progress("whole sequences")
        pictures, schedule = list(moving_picture(*size, frames)), Schedule(QP, QP)
        for codec in codecs.values():
            sequence.warm_up(codec, pictures, schedule)
        found: dict[str, dict[str, list[dict[str, Any]]]] = {name: {side: [] for side in _SIDES} for name in names}
        for _ in range(sequences):
            for name, codec in codecs.items():
                for side, result in sequence.both_sides(codec, pictures, schedule)[1].items():
                    found[name][side].append(result)
        for name, sides in found.items():
            rows[name]["end_to_end"] = {side: sequence.of_median_speed(results) for side, results in sides.items()}
    return conditions(size, precision, frames) | {"codecs": rows}


def print_table(result: dict[str, Any], console: Console) -> None:
    """Print milliseconds and frame rates of the codecs, and how much faster each is than the first."""
    rows = result["codecs"]
    first = next(iter(rows.values()))
    title = f"{result['size']}, {result['precision']}, {result['device']}, per picture"
    table = Table("", *rows, title=title)
    table.add_row("parameters", *(f"{row['parameters'] / 1e6:.3f} M" for row in rows.values()))
    for side in _SIDES:
        table.add_row(f"{side}, kMAC/pixel", *(f"{row['kmac'][side]:.1f}" for row in rows.values()))
    for part in PARTS:
        table.add_row(f"{part}, ms", *(f"{1e3 * row['modules'][part]['median_s']:.2f}" for row in rows.values()))
    for side in _SIDES:
        base = first["network"][side]["median_s"]
        cells = ((1e3 * s, base / s) for s in (row["network"][side]["median_s"] for row in rows.values()))
        table.add_row(f"network, {side}, ms", *(f"{ms:.1f} ({ratio:.2f}x)" for ms, ratio in cells))
    for side in _SIDES if first["end_to_end"] else ():
        base = first["end_to_end"][side]["fps"]
        rates = [row["end_to_end"][side]["fps"] for row in rows.values()]
        table.add_row(f"end to end, {side}, fps", *(f"{fps:.2f} ({fps / base:.2f}x)" for fps in rates))
    console.print(table)
