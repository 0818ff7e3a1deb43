"""Use a GPU borrowed for some minutes in one command: install, check, measure, train.

python tools/gpu_run.py --output DIR [--phases install,exact,speed,train-speed,train,cpu] [--seconds 570]
    [--limit speed=200 ...] [--wheels DIR] [--official DCVC/DCVC-family/DCVC-RT] [--golden DIR] [--expected DIR]
    [--clips DIR] [--train-config FILE --train-seconds N --train-workdir DIR --data DIR]
python tools/gpu_run.py prepare --output DIR [--official ...] [--golden DIR] [--data DIR]

`prepare` gathers the inputs on a machine with a network: wheels, a clip, int16 results of a CPU. On the GPU machine,
steps are programs with a time limit; each writes its results at once, a failed one does not stop the others, and a
second call resumes (--again repeats). DIR has summary.txt, results.json, logs.tar.gz, and after training model, records
and checkpoint in files of at most 15 MiB. --rehearse does it all with a tiny codec on a CPU.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from gpu.phases import LIMITS, PHASES, ROOT, environment
from gpu.runner import Runner


def main() -> int:
    """Run the phases; the exit code is 1 if a step failed or reached its limit."""
    if sys.argv[1:2] == ["prepare"]:
        return _prepare(sys.argv[2:])
    options = _parse()
    runner = Runner(options.work, options.output, ROOT, environment(options), options.seconds)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for phase in options.phases:
            runner.run(phase, PHASES[phase](options), options.limits[phase], options.again)
        runner.finish()
    finally:
        runner.stop()
        runner.publish()
    print(runner.summary(), end="", flush=True)
    return 1 if runner.failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="refilled after every step")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "nvc_gpu_run",
        help="packages, results and runs, kept between calls",
    )
    parser.add_argument("--phases", default="install,exact,speed,train-speed,train", help="run in this order")
    parser.add_argument("--seconds", type=float, default=570.0, help="limit of the whole call")
    parser.add_argument("--limit", nargs="*", default=[], metavar="PHASE=SECONDS")
    parser.add_argument("--again", action="store_true", help="repeat finished steps")
    parser.add_argument("--rehearse", action="store_true", help="a tiny codec on a CPU")
    parser.add_argument("--wheels", type=Path, help="folder of wheels, or of wheels.tar.xz")
    parser.add_argument("--official", type=Path, help="folder DCVC-family/DCVC-RT of a checkout of the official code")
    parser.add_argument("--golden", type=Path, help="vectors of the official implementation")
    parser.add_argument("--expected", type=Path, help="int16 results of a CPU (from `prepare`)")
    parser.add_argument("--clips", type=Path, help="folder of videos; the first one is coded")
    parser.add_argument("--data", type=Path, help="folder of training clips")
    parser.add_argument("--train-config", type=Path)
    parser.add_argument("--train-workdir", type=Path)
    parser.add_argument("--train-seconds", type=float, default=500.0)
    parser.add_argument("--train-stop", type=float, default=40.0, help="seconds for the last checkpoint and the export")
    parser.add_argument("--train-clock", action="store_true", help="stages share the training seconds")
    parser.add_argument("--train-set", nargs="*", default=[], metavar="KEY=VALUE", help="settings for train.py")
    options = parser.parse_args()
    options.phases = options.phases.split(",")
    unknown = [phase for phase in options.phases if phase not in PHASES]
    if unknown:
        parser.error(f"unknown phase {unknown[0]!r}; available: {', '.join(PHASES)}")
    given = (options.wheels, options.official, options.golden, options.expected, options.clips, options.data)
    for path in (*given, options.train_config):
        if path is not None and not path.exists():
            parser.error(f"{path}: no such file or folder")
    options.limits = dict(LIMITS)
    for text in options.limit:
        phase, _, seconds = text.partition("=")
        if phase not in PHASES or not seconds.replace(".", "", 1).isdecimal():
            parser.error(f"--limit {text} is not of the form PHASE=SECONDS with one of {', '.join(PHASES)}")
        options.limits[phase] = float(seconds)
    return options


def _prepare(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="gpu_run.py prepare", description="Gather the inputs of a GPU run.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--frames", type=int, default=50, help="length of the clip")
    parser.add_argument("--python-version", default="3.12", help="of the GPU machine")
    options = parser.parse_args(arguments)
    from gpu.prepare import prepare

    prepare(options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
