"""Train for some seconds; a run that fails at its start is restarted with XLA's other matrix products.

python tools/gpu/train.py --seconds N [--clock] CONFIG.py WORKDIR [key=value ...]

Versions of XLA differ in the matrix products they support on a GPU, by Triton or by cuBLAS. A run shows it within its
first seconds, which costs less than all of a borrowed GPU's time. --clock lets its stages share the seconds, less those
of a failed start.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 90.0  # a run that fails later did train, and is not repeated
TRITON = "--xla_gpu_enable_triton_gemm"


def main() -> int:
    """Train; the exit code is that of the last run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, required=True, help="limit of all runs")
    parser.add_argument("--clock", action="store_true", help="pass the remaining seconds to the run")
    parser.add_argument("config", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    # -P: the sources of native_coder beside it must not shadow the built package.
    command = [sys.executable, "-P", str(ROOT / "train.py"), "--config", str(options.config)]
    command += ["--workdir", str(options.workdir), *options.settings]

    def with_time(left: float) -> list[str]:
        return [*command, "--seconds", str(max(1, int(left)))] if options.clock else command

    return run(with_time, options.seconds)


def run(command: Callable[[float], Sequence[str]], seconds: float, start_s: float = START_S) -> int:
    """Run a command, again if it fails at its start.

    Args:
        command: made for the seconds that are left.
        seconds: limit of both runs.
        start_s: longest time of a start.

    Returns:
        The exit code of the last run.
    """
    begun = time.monotonic()
    running: list[subprocess.Popen] = []
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        asked.append(number)
        for process in running:
            process.send_signal(number)

    signal.signal(signal.SIGTERM, ask)
    code, flags = 0, os.environ.get("XLA_FLAGS", "")
    for again, tried in enumerate((flags, other_products(flags))):
        if again:
            print(f"== failed at its start; again with XLA_FLAGS={tried}", flush=True)
        process = subprocess.Popen(command(seconds - (time.monotonic() - begun)), env=os.environ | {"XLA_FLAGS": tried})
        running[:] = [process]
        for number in asked:  # signals from before there was a process
            process.send_signal(number)
        code = process.wait()
        if code == 0 or asked or time.monotonic() - begun > start_s:
            break
    return code if code >= 0 else 128 - code


def other_products(flags: str) -> str:
    """Toggle Triton's products in XLA_FLAGS."""
    kept = [flag for flag in flags.split() if flag.partition("=")[0] != TRITON]
    off = any(flag in flags.split() for flag in (f"{TRITON}=false", f"{TRITON}=0"))
    return " ".join([*kept, f"{TRITON}={'true' if off else 'false'}"])


if __name__ == "__main__":
    raise SystemExit(main())
