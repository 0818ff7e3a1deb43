"""Everything that a GPU borrowed for some minutes should do, in one command: install, check, measure, train.

python tools/gpu_run.py --output DIR [--phases install,exact,speed,train-speed,train,cpu] [--seconds 570]
    [--limit speed=200 ...] [--wheels DIR] [--official DCVC/DCVC-family/DCVC-RT] [--golden DIR] [--expected DIR]
    [--clips DIR] [--train-config FILE --train-seconds N --train-workdir DIR --data DIR]
python tools/gpu_run.py prepare --output DIR [--official ...] [--golden DIR] [--data DIR]

`prepare` gathers on a machine with a network what the other needs: wheels, a clip, what a CPU makes in int16. There,
steps are programs with a time limit; each leaves its results at once, one that fails does not stop the others, and a
second call goes on where the first ended (--again repeats). DIR has summary.txt, results.json, logs.tar.gz, and after
training model, records and checkpoint in files of at most 15 MiB. --rehearse does it all with a tiny codec on a CPU.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from gpu.phases import LIMITS, PHASES, ROOT, environment
from gpu.runner import Runner


def main() -> int:
    """Returns the exit code: 0 if the phases were gone through, whatever became of them."""
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
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="filled anew after every step")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "nvc_gpu_run",
        help="packages, results and runs, from one call to the next",
    )
    parser.add_argument("--phases", default="install,exact,speed,train-speed,train", help="in this order")
    parser.add_argument("--seconds", type=float, default=570.0, help="for everything")
    parser.add_argument("--limit", nargs="*", default=[], metavar="PHASE=SECONDS")
    parser.add_argument("--again", action="store_true", help="also what is finished")
    parser.add_argument("--rehearse", action="store_true", help="a tiny codec on a CPU")
    parser.add_argument("--wheels", type=Path, help="folder of wheels, or of wheels.tar.xz")
    parser.add_argument("--official", type=Path, help="folder DCVC-family/DCVC-RT of a checkout of the official code")
    parser.add_argument("--golden", type=Path, help="vectors of the official implementation")
    parser.add_argument("--expected", type=Path, help="what a CPU made in int16 (from `prepare`)")
    parser.add_argument("--clips", type=Path, help="folder of videos; the first one is coded")
    parser.add_argument("--data", type=Path, help="folder of training clips")
    parser.add_argument("--train-config", type=Path)
    parser.add_argument("--train-workdir", type=Path)
    parser.add_argument("--train-seconds", type=float, default=500.0)
    parser.add_argument("--train-stop", type=float, default=40.0, help="seconds for the last checkpoint and the export")
    parser.add_argument(
        "--train-clock", action="store_true", help="its stages share out these seconds, not their steps"
    )
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
    parser = argparse.ArgumentParser(prog="gpu_run.py prepare", description="Gather what goes with the source tree.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--frames", type=int, default=50, help="of the clip")
    parser.add_argument("--python-version", default="3.12", help="of the other machine")
    options = parser.parse_args(arguments)
    from gpu.prepare import prepare

    prepare(options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
