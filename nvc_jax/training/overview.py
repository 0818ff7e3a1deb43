"""First lines of a run: what is trained on what, where, and about how much time, memory and disk it takes."""

import functools
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.codec.abstract import AbstractPackets, abstract
from nvc_jax.codec.descriptions import find_codec
from nvc_jax.codec.loop import LoadedNetwork
from nvc_jax.evaluation.complexity import macs_of, tally
from nvc_jax.models.config import PATCH, CodecConfig
from nvc_jax.models.networks import networks
from nvc_jax.models.params import parameter_shapes, unflatten
from nvc_jax.training.config import PICTURES, Stage, TrainConfig
from nvc_jax.training.data import ClipSet
from nvc_jax.training.distillation import channels

_CARRIED = 10.0  # values per pixel that a scan keeps of each packet that is recomputed
_COMPILE_S = 10.0
_TRACED = 128  # pixels, the side of the pictures that are traced
_MEGA, _GIGA = 1e6, 1e9


class _Rule(NamedTuple):
    """Cost of a product, from programs that XLA compiled by two cores.

    Attributes:
        kept: values that a step keeps, per result of a product.
        compile_s: seconds of compilation per product.
    """

    kept: float
    compile_s: float


_RULES = {"cpu": _Rule(3.5, 0.1), "gpu": _Rule(1.8, 0.6), "tpu": _Rule(1.8, 0.6)}


def overview(
    config: TrainConfig, clips: ClipSet, state: Any, step: int, limit: int | None, workdir: Path
) -> Iterator[str]:
    """Describe a run before its first step.

    Args:
        config: the run, in steps.
        clips: its data.
        state: training state on the host.
        step: steps done.
        limit: step at which this call ends; None if time ends it.
        workdir: folder of the run.

    Yields:
        Lines for the user.
    """
    sizes = parameter_counts(config.codec)
    parts = " + ".join(f"{name} {count / _MEGA:.1f} M" for name, count in sizes.items())
    yield f"codec    {config.codec.name}, {sum(sizes.values()) / _MEGA:.1f} M parameters ({parts}), {config.precision}"
    yield f"data     {_data(clips)}"
    yield from _steps(config, step, limit)
    devices = jax.local_devices()
    count, kind = jax.device_count(), devices[0].device_kind
    platform = devices[0].platform
    cores = f" ({os.cpu_count()} cores)" if platform == "cpu" else ""
    processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    yield f"devices  {count} x {kind}{cores}{processes}"
    state_bytes = tree_bytes(state)
    stage = max(_left(config, step), key=lambda stage: activation_bytes(config, stage, platform))
    activations = activation_bytes(config, stage, platform) / count
    lent = teacher_bytes(config, stage, count)
    held = sum(clip.size_bytes for clip in clips.clips) if config.data.on_device else 0
    data = (f", {_size(lent)} teacher" if lent else "") + (f", {_size(held)} clips" if held else "")
    parts = f"{_size(state_bytes)} state, {_size(activations)} activations of stage {stage.name!r}{data}"
    yield f"memory   about {_size(state_bytes + activations + lent + held)} on each device (estimate: {parts})"
    kept = config.logging.keep
    yield (
        f"disk     {_size(state_bytes)} for each checkpoint, of which {kept} are kept; "
        f"{_size(_free(workdir))} are free in {workdir}"
    )


def labelled(label: str, lines: Iterable[str]) -> Iterator[str]:
    """Set a label before the first of several lines, in the columns of `overview`."""
    for line in lines:
        yield f"{label:9}{line}"
        label = ""


def compiling(config: TrainConfig, stages: Sequence[Stage]) -> str:
    """Say that stages are compiled, and about how long that takes where none of them was compiled before."""
    names = ", ".join(repr(stage.name) for stage in stages[:2]) + (", ..." if len(stages) > 2 else "")
    platform = jax.local_devices()[0].platform
    seconds = sum(compile_seconds(config, stage, platform) for stage in stages)
    return (
        f"compiling stage{'s' * (len(stages) > 1)} {names} (about {seconds:.0f} s the first time, on an idle machine)"
    )


def parameter_counts(codec: CodecConfig) -> dict[str, int]:
    """Count the parameters of each network."""
    counts = dict.fromkeys((name for name, _ in codec.networks), 0)
    for path, shape in parameter_shapes(codec).items():
        counts[path.split("/")[0]] += int(np.prod(shape))
    return counts


def tree_bytes(tree: Any) -> int:
    """Count the bytes of all arrays."""
    return int(sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree)))


def activation_bytes(config: TrainConfig, stage: Stage, platform: str) -> float:
    """Estimate the activations and gradients of a step, of the whole batch, on a kind of device."""
    width = 2 if config.precision == "bfloat16" else 4
    pixels = stage.batch * stage.size**2
    codec, trained = config.codec, config.trained(stage)
    packets = (stage.frames - config.begin) // codec[codec.rest].pictures
    results = {name: traced_products(codec, name).results * codec[name].pictures for name in trained}
    held = 0.0
    for name, of_packet in results.items():
        at_once = 1 if name != codec.rest or stage.mode == "plain" or stage.remat else packets
        held += _RULES.get(platform, _RULES["gpu"]).kept * of_packet * at_once
    return pixels * width * (held + _CARRIED * stage.frames * (stage.mode == "cascaded"))


def teacher_bytes(config: TrainConfig, stage: Stage, devices: int) -> float:
    """Estimate what a teacher holds on each of some devices: parameters, and all that a student is compared with."""
    if not config.taught(stage):
        return 0.0
    codec = find_codec(config.teacher.model)
    network = codec[codec.rest]
    values = {  # per pixel of a packet; energy signatures are small
        PICTURES: 3.0 * network.pictures,
        "mse": sum(channels(network)[name] for name in config.teacher.features) / PATCH**2,
    }.get(config.teacher.kind, 0.0)
    packets = (stage.frames - config.begin) // network.pictures
    return 4.0 * (parameter_counts(codec)[codec.rest] + values * packets * stage.batch * stage.size**2 / devices)


def compile_seconds(config: TrainConfig, stage: Stage, platform: str) -> float:
    """Estimate the compilation of a stage, from the number of products in its programs."""
    codec = config.codec
    coded = {codec.first, codec.rest} if stage.frames > config.begin else {codec.first}
    products = sum(traced_products(codec, name).number for name in coded)
    return _COMPILE_S + _RULES.get(platform, _RULES["gpu"]).compile_s * products


class Products(NamedTuple):
    """Matrix products of a packet.

    Attributes:
        number: products in the programs.
        results: numbers that they compute, per pixel of a picture.
    """

    number: int
    results: float


@functools.cache
def traced_products(codec: CodecConfig, name: str) -> Products:
    """Count the matrix products of a packet."""
    params = unflatten({path: abstract(shape) for path, shape in parameter_shapes(codec).items()})[name]
    loaded = LoadedNetwork(networks(codec)[name], params, jnp.float32(-1))
    packets = AbstractPackets(loaded, (_TRACED, _TRACED), goes_on=name == codec.rest)

    def counted(equation: Any, _: Any) -> Counter[str]:
        return Counter(count=1, results=equation.outvars[0].aval.size) if macs_of(equation) else Counter()

    total: Counter[str] = Counter()
    for function, inputs in (packets.encode(), packets.picture()):
        total += tally(jax.make_jaxpr(function)(*inputs).jaxpr, counted)
    return Products(total["count"], total["results"] / (_TRACED**2 * codec[name].pictures))


def _data(clips: ClipSet) -> str:
    sizes = sorted({clip.size for clip in clips.clips}, key=lambda size: size[0] * size[1])
    shapes = " to ".join(f"{width}x{height}" for width, height in dict.fromkeys((sizes[0], sizes[-1])))
    frames, size = (sum(values) for values in zip(*((c.frames, c.size_bytes) for c in clips.clips), strict=True))
    count = len(clips.clips)
    return (
        f"{clips.data.source}: {count} clip{'s' * (count > 1)}, {frames} frames of {shapes}, {_size(size)} when decoded"
    )


def _steps(config: TrainConfig, step: int, limit: int | None) -> Iterator[str]:
    if limit is None:
        yield f"steps    as many as fit into the time, in {len(config.stages)} stages"
    else:
        upto = f", this call ends at {limit}" if limit != config.steps else ""
        begins = f", resumed at {step}" if step else ""
        yield f"steps    {config.steps} in {len(config.stages)} stage{'s' * (len(config.stages) > 1)}{begins}{upto}"
    for stage in _left(config, step)[:3]:
        clip = "pictures" if stage.frames == 1 else f"clips of {stage.frames} frames"
        networks_ = ", ".join(config.trained(stage))
        yield f"         {stage.name}: {stage.steps} x {stage.batch} {clip}, {stage.size}x{stage.size}, {networks_}"
    if len(_left(config, step)) > 3:
        yield f"         and {len(_left(config, step)) - 3} more"


def _left(config: TrainConfig, step: int) -> list[Stage]:
    """List the stages that are not over."""
    starts = config.stage_starts()
    left = [s for (start, _), s in zip(starts, config.stages, strict=True) if start + s.steps > step]
    return left or [config.stages[-1]]


def _size(count: float) -> str:
    return f"{count / _GIGA:.1f} GB" if count >= _GIGA else f"{max(1, round(count / _MEGA))} MB"


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
