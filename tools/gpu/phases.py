"""Phases on a borrowed GPU as steps, the most valuable first."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from gpu.runner import Step

TOOLS = Path(__file__).resolve().parents[1]
ROOT = TOOLS.parent
# Seconds; --limit overrides them. Phases run in this order.
LIMITS = {"install": 150.0, "exact": 75.0, "speed": 240.0, "train-speed": 90.0, "train": 600.0, "cpu": 60.0}
_ON_CPU = {"JAX_PLATFORMS": "cpu"}
# One step per program that runs on a CPU; with the tiny codec sizes do not differ.
_REHEARSED = ("1080p_bfloat16", "kernels_bfloat16", "1080p_int16", "stages_bfloat16")


def environment(options: argparse.Namespace) -> dict[str, str]:
    """Make the environment of all steps."""
    paths = [str(site(options)), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # another process shares the device
        **(_ON_CPU if options.rehearse else {}),
    }


def site(options: argparse.Namespace) -> Path:
    """Locate the folder of installed packages."""
    return options.work.resolve() / "site"


def install(options: argparse.Namespace) -> list[Step]:
    """Install wheels, our C++, and the extensions of the official code; the CUDA one takes longest."""
    to_site = "--site", str(site(options))
    program = _python("gpu/install.py")
    steps = []
    if options.official:
        checkout = "--checkout", str(options.official.resolve())
        cuda = _python("gpu/official.py", "cuda", *checkout, *to_site)
        if not options.rehearse:
            steps.append(Step("install", "official_cuda", cuda, 240, background=True))
        steps.append(Step("install", "official_coder", _python("gpu/official.py", "coder", *checkout, *to_site), 60))
    wheels = ["--wheels", str(options.wheels.resolve())] if options.wheels else []
    steps.append(Step("install", "wheels", [*program, "wheels", *to_site, *wheels], 90))
    steps.append(Step("install", "native", [*program, "native", *to_site], 150))
    return steps


def exact(options: argparse.Namespace) -> list[Step]:
    """Check results against other devices."""
    seconds = options.limits["exact"]
    command = _python("gpu/exact.py", "--output", "{json}", "--seconds", f"{0.75 * seconds:.0f}")
    for name in ("expected", "golden"):
        folder = getattr(options, name)
        if folder:
            command += [f"--{name}", str(folder.resolve())]
    tests = ROOT / "tests"
    paths = environment(options)["PYTHONPATH"], str(TOOLS), str(tests), str(tests / "codec")
    with_tests = {"PYTHONPATH": os.pathsep.join(paths)}
    return [Step("exact", "checks", command, seconds, needs=("install/native",), environment=with_tests)]


def speed(options: argparse.Namespace) -> list[Step]:
    """Benchmark end to end beside the official code, kernels, stages, precisions, streams and sizes."""
    clip = _clip(options)
    official = []
    needs = ("install/native",)
    if options.official:
        official = ["--torch-reference", str(options.official.resolve())]
    built = ("install/official_cuda",)  # so that neither disturbs the other

    def bench(
        name: str, size: str, precision: str, *more: str, model: str = "dcvc_rt", beside: bool = True, frames: int = 50
    ) -> Step:
        if options.rehearse:
            model, size, frames, more = "tiny", "64x64", 12, (*more, "--runs", "2")
        parts = ["--parts", "sequence", *(["official"] if beside and official else [])]
        command = ["bench.py", "--model", model, "--size", size, "--precision", precision, "--frames", str(frames)]
        command += [*parts, *(official if beside else []), *clip, *more, "--output", "{json}"]
        return Step("speed", name, _python(*command), 200, needs=needs, awaits=built)

    main = "--runs", "10", "--sequences", "3"
    once = "--runs", "5", "--sequences", "1"
    profiled = ("tiny", "64x64") if options.rehearse else ("dcvc_rt", "1920x1080")
    kernels = ["gpu/device_profile.py", "--model", profiled[0], "--size", profiled[1], *clip, "--output", "{json}"]
    stages = ["bench.py", "--model", profiled[0], "--size", profiled[1], "--precision", "bfloat16", "--runs", "5"]
    steps = [
        bench("1080p_bfloat16", "1920x1080", "bfloat16", *main, "--streams", "4", "8"),
        Step("speed", "block_kernels", _python("bench_kernels.py", "--output", "{json}"), 75, needs=needs),
        bench("1080p_bfloat16_pallas", "1920x1080", "bfloat16", *once, "--strategy", "pallas", beside=False),
        Step("speed", "kernels_bfloat16", _python(*kernels, "--precision", "bfloat16"), 60, needs=needs),
        bench("1080p_float16", "1920x1080", "float16", *once),
        bench("1080p_int16", "1920x1080", "int16", *once, "--streams", "4"),
        Step("speed", "stages_bfloat16", _python(*stages, "--parts", "stages", "--output", "{json}"), 90, needs=needs),
        bench("720p_bfloat16", "1280x720", "bfloat16", *once),
        bench("4k_bfloat16", "3840x2160", "bfloat16", *once, frames=26),
        bench("1080p_embedded_int16", "1920x1080", "int16", *once, model="embedded", beside=False),
        Step("speed", "kernels_int16", _python(*kernels, "--precision", "int16"), 60, needs=needs),
        bench("1080p_float32", "1920x1080", "float32", *once, beside=False),
    ]
    return [step for step in steps if step.name in _REHEARSED] if options.rehearse else steps


def train_speed(options: argparse.Namespace) -> list[Step]:
    """Benchmark the first inter stage of the full recipe."""
    config = ["gpu/first_inter_stages.py", "stage0_2_frames"]
    if options.rehearse:
        config = ["../configs/smoke.py", "video"]
    arguments = ["--config", str(TOOLS / config[0]), "--stage", config[1], "--steps", "5", "--output", "{json}"]
    return [
        Step(
            "train-speed",
            precision,
            _python("bench_train.py", *arguments, f"precision={precision}"),
            options.limits["train-speed"],
            needs=("install/native",),
        )
        for precision in ("bfloat16", "float32")
    ]


def train(options: argparse.Namespace) -> list[Step]:
    """Train to the last minute and pack the result. XLA's flags: see gpu/train.py."""
    if not options.train_config:
        return []
    workdir = options.train_workdir or options.work.resolve() / "run"
    # With a clock, the learning rate completes its decay before the stop.
    command = _python("gpu/train.py", "--seconds", f"{max(1.0, options.train_seconds - 5):.0f}")
    command += [*(["--clock"] if options.train_clock else []), str(options.train_config.resolve()), str(workdir)]
    command += options.train_set
    if options.data:
        command.append(f"data.source={options.data.resolve()}")
    pack = ["gpu/pack.py", "--workdir", str(workdir), "--output", str(options.output.resolve()), "--json", "{json}"]
    return [
        Step(
            "train",
            "run",
            command,
            options.train_seconds,
            stop_s=options.train_stop,
            needs=("install/native",),
            always=True,
        ),
        Step("train", "pack", _python(*pack), 30, always=True),
    ]


def cpu(options: argparse.Namespace) -> list[Step]:
    """Benchmark how the network scales with the cores of the host."""
    size, model = ("64x64", "tiny") if options.rehearse else ("352x288", "dcvc_rt")
    cores = sorted(os.sched_getaffinity(0))
    steps = []
    for precision in ("int16", "float32"):
        for count in (len(cores), 1, 2, 4, 8):
            if count > len(cores) or any(step.name == f"{precision}_{count}_cores" for step in steps):
                continue
            pinned = ["taskset", "--cpu-list", ",".join(map(str, cores[:count]))]
            bench = ["--model", model, "--size", size, "--precision", precision, "--parts", "--runs", "5"]
            command = [*pinned, *_python("bench.py", *bench, "--output", "{json}")]
            needs = ("install/native",)
            steps.append(Step("cpu", f"{precision}_{count}_cores", command, 40, needs=needs, environment=_ON_CPU))
    return steps


PHASES: dict[str, Callable[[argparse.Namespace], list[Step]]] = {
    "install": install,
    "exact": exact,
    "speed": speed,
    "train-speed": train_speed,
    "train": train,
    "cpu": cpu,
}


def _python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, str(TOOLS / program), *arguments]


def _clip(options: argparse.Namespace) -> list[str]:
    """Select the first video of the folder, if any."""
    clips = sorted(path for path in options.clips.iterdir() if path.is_file()) if options.clips else []
    return ["--clip", str(clips[0].resolve())] if clips else []
