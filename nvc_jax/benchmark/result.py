"""Run all measurements and collect them in one result."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import DTypeLike

from nvc_jax.benchmark import ablation, modules, sequence
from nvc_jax.benchmark.clock import Times, interleaved, seconds_of
from nvc_jax.benchmark.conditions import conditions
from nvc_jax.benchmark.official import CPU_WAYS, GPU_WAYS, OfficialCode
from nvc_jax.benchmark.peaks import Peaks
from nvc_jax.benchmark.subject import QP, Subject, load, moving_picture
from nvc_jax.codec.model import PRECISIONS, Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.errors import ConfigError
from nvc_jax.evaluation.complexity import Complexity, packet_complexity
from nvc_jax.ops.exact import STRATEGIES

_COUNTING_SIZE = 512, 512  # on CPU larger pictures run in loops, whose bodies XLA counts once
_SIDES = ("encode", "decode")
PARTS = ("modules", "stages", "fusion", "sequence", "official", "official_ways")  # optional measurements


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a benchmark.

    Attributes:
        model: name, folder, or configuration without weights.
        size: (width, height).
        precision: of our codec.
        strategy: its kernel backend; None for the default.
        beside: precisions in which the network is measured too, in turns with the others.
        runs: repetitions of every network measurement.
        frames: length of the sequences; the first ten do not count.
        sequences: repetitions of the sequences.
        streams: numbers of streams to decode at once, a measurement for each.
        clip: video to code, scaled to the size; None for a random moving picture.
        parts: subset of PARTS to measure beside the network of a P frame.
        torch_reference: folder DCVC-family/DCVC-RT of a checkout of the official code, if any.
        torch_python: interpreter that has PyTorch.
        torch_worker: script for the interpreter; needed for the official code.
    """

    model: str
    size: tuple[int, int]
    precision: str
    strategy: str | None
    beside: tuple[str, ...]
    runs: int
    frames: int
    sequences: int
    streams: tuple[int, ...]
    clip: str | None
    parts: frozenset[str]
    torch_reference: str | None
    torch_python: str
    torch_worker: Path | None


def measure(options: Options, progress: Callable[[str], None]) -> dict[str, Any]:
    """Run all measurements, ready for JSON; `progress` receives the name of the next one."""
    codec, is_random = load(options.model, options.precision, options.strategy)
    subject = Subject.of(codec, *options.size)
    loops = jax.default_backend() == "cpu" and subject.pixels > _COUNTING_SIZE[0] * _COUNTING_SIZE[1]
    counted = Subject.of(codec, *_COUNTING_SIZE) if loops else subject
    ours = {"nvc_jax": subject} | {
        f"nvc_jax {precision}": Subject.of(load(options.model, precision)[0], *options.size)
        for precision in options.beside
    }
    complexity = packet_complexity(codec.stored.config, codec.stored.config.rest, *options.size)
    peaks = Peaks(_peak_dtype(codec))
    peaks.measure()
    officials = start_officials(options, codec, progress)
    try:
        progress("network of a P frame")
        points = _network(options.runs, ours, officials, peaks)
        if not options.parts.isdisjoint(("modules", "stages")):
            progress("modules and stages")
        parts = {
            name: _parts(calls_of, subject, counted, options.runs) if name in options.parts else {}
            for name, calls_of in (("modules", modules.module_calls), ("stages", modules.stage_calls))
        }
        peaks.measure()
        fusion = {}
        if "fusion" in options.parts:
            progress("fusion")
            ways = ablation.variants(subject)
            fusion = {
                way.name: ablation.to_json(times, cost, agreement)
                for way, times, cost, agreement in ablation.measure(
                    ways, subject, counted, options.precision, options.runs
                )
            }
            peaks.measure()
        end_to_end: dict[str, dict[str, Any]] = {}
        if "sequence" in options.parts:
            progress("end to end")
            end_to_end = _end_to_end(options, codec, officials)
    finally:
        for official in officials.values():
            official.close()
    macs = _macs(complexity, subject.pixels)
    for name, row in parts["modules"].items():
        row["kmacs"] = _module_macs(complexity, name) / 1000.0
        row["product_share"] = 2000.0 * row["kmacs"] * subject.pixels / row["median_s"] / peaks.operations
    for row in [*parts["modules"].values(), *parts["stages"].values()]:
        row["copy_share"] = row["bytes"] / row["median_s"] / peaks.copied
    network = {name: _point(times, macs[name.split("/")[1]]) for name, times in points.items()}
    for name, row in end_to_end.items():
        if name not in network:
            continue
        # Pictures of one of our packets come at once.
        together = subject.count > 1 and name.startswith("nvc_jax")
        seconds = subject.count / row["fps"] if together else row["median_s"]
        row["overhead"] = seconds / network[name]["median_s"] - 1.0
    return {
        **conditions(options.size, options.precision, options.frames),
        "model": codec.stored.config.name,
        "random_weights": is_random,
        "strategy": codec.strategy,
        "pictures_per_packet": subject.count,
        "clip": options.clip,
        "matmul_peak_gflops": peaks.operations / 1e9,
        "copy_peak_gbs": peaks.copied / 1e9,
        "bytes_counted_at": "{}x{}".format(*counted.size),
        "macs": macs,
        "points": network,
        **speedups(network, subject.count),
        **parts,
        "fusion": fusion,
        "end_to_end": end_to_end,
        "official": {name: official.about for name, official in officials.items()},
    }


def start_officials(options: Options, codec: Codec, progress: Callable[[str], None]) -> dict[str, OfficialCode]:
    """Start the official code in all its ways; empty if it does not start."""
    if options.torch_reference is None or options.torch_worker is None or "official" not in options.parts:
        return {}
    start = functools.partial(
        OfficialCode,
        options.torch_python,
        options.torch_worker,
        options.torch_reference,
        options.size,
        codec.stored,
    )
    try:
        first = start()
    except ConfigError as error:  # ours is measured all the same
        progress(str(error))
        return {}
    ways = CPU_WAYS if first.about["device"] == "cpu" else GPU_WAYS if first.about["cuda_extension"] else {}
    officials = {"official": first}
    for name, way in ways.items() if "official_ways" in options.parts else ():
        try:
            officials[name] = start(way=way)
        except ConfigError as error:
            progress(f"{name}: {error}")
    return officials


def _peak_dtype(codec: Codec) -> DTypeLike:
    """Choose the type of the matrix-product peak: float32 for int16 products in C++, which XLA has not."""
    if codec.precision != "int16":
        return PRECISIONS[codec.precision]
    return STRATEGIES[codec.strategy].dtype if codec.strategy in STRATEGIES else np.float32


def _network(
    runs: int, ours: Mapping[str, Subject], officials: Mapping[str, OfficialCode], peaks: Peaks
) -> dict[str, Times]:
    """Time all but the entropy coder, ours and theirs in turns, after an uncounted run that compiles."""
    calls = {name: subject.sides() for name, subject in ours.items()}
    seconds: dict[str, list[float]] = {}
    for run in range(runs + 1):
        if run > 0:
            peaks.measure()
        for side in _SIDES:
            taken = {name: seconds_of(call[side]) for name, call in calls.items()}
            for name, official in officials.items():
                if "failure" not in official.about:
                    try:
                        taken[name] = official.ask(side)
                    except ConfigError as error:
                        official.about["failure"] = str(error)
            for who, value in taken.items():
                seconds.setdefault(f"{who}/{side}", []).append(value)
    return {name: Times(values[1:]) for name, values in seconds.items() if len(values) > 1}


def _parts(
    calls_of: Callable[[Subject], dict[str, modules.Call]], subject: Subject, counted: Subject, runs: int
) -> dict[str, dict[str, Any]]:
    """Measure times and costs of parts of a packet."""
    calls, smaller = calls_of(subject), calls_of(counted)
    rows = {}
    for name, times in interleaved(calls, runs).items():
        cost = calls[name].cost()
        if counted is not subject:
            cost = dataclasses.replace(cost, bytes=smaller[name].cost().bytes * subject.pixels / counted.pixels)
        rows[name] = times.to_json() | dataclasses.asdict(cost)
    return rows


def _end_to_end(options: Options, codec: Codec, officials: Mapping[str, OfficialCode]) -> dict[str, dict[str, Any]]:
    """Code sequences in turns; keep the one of median speed for each direction."""
    if options.clip is None:
        frames = list(moving_picture(*options.size, options.frames))
    else:
        frames = sequence.scaled_clip(options.clip, options.size, options.frames)
    schedule = Schedule(QP, QP)
    sequence.warm_up(codec, frames, schedule)
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(options.sequences):
        packets, both = sequence.both_sides(codec, frames, schedule)
        taken = {"nvc_jax": both} | {name: o.sequence(frames) for name, o in officials.items() if _can_code(o)}
        for who, sides in taken.items():
            for side, result in sides.items():
                runs.setdefault(f"{who}/{side}", []).append(result)
        for count in options.streams:
            runs.setdefault(f"nvc_jax/decode {count} streams", []).append(
                sequence.decode_at_once(codec, packets, count)
            )
    return {name: sequence.of_median_speed(rows) for name, rows in runs.items()}


def _can_code(official: OfficialCode) -> bool:
    return official.about["entropy_coder"] and "failure" not in official.about


def _macs(complexity: Complexity, pixels: int) -> dict[str, int]:
    return {side: round(getattr(complexity.total, side) * pixels) for side in _SIDES}


def _module_macs(complexity: Complexity, row: str) -> float:
    """Count the MACs per pixel; a module of both sides counts once."""
    parts = (complexity.modules[part] for part in modules.PARTS[row] if part in complexity.modules)
    return sum(max(part.encode, part.decode) for part in parts)


def _point(times: Times, macs: int) -> dict[str, Any]:
    return times.to_json() | {"gflops": 2 * macs / min(times.seconds) / 1e9}


def speedups(network: Mapping[str, Any], pictures: int) -> dict[str, Any]:
    """Compare times per picture with the official code's: our speedup over each of its ways, and over the best.

    Args:
        network: `points` of a result.
        pictures: of one of our packets; the official code's have one.
    """
    found: dict[str, Any] = {}
    for side in _SIDES:
        ours = network[f"nvc_jax/{side}"]["median_s"]
        ratios = {
            name.removesuffix(f"/{side}"): pictures * row["median_s"] / ours
            for name, row in network.items()
            if name.startswith("official") and name.endswith(f"/{side}")
        }
        if ratios:
            best = min(ratios, key=lambda name: ratios[name])
            found |= {f"speedup_{side}": ratios[best], f"best_official_{side}": best, f"speedups_{side}": ratios}
    return found
