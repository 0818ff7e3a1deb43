"""train.py in processes of its own, with programs that compile fast and a cache of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "configs" / "smoke.py"


def environment(cache: Path, devices: int) -> dict[str, str]:
    """Environment of a process with virtual devices; `cache` keeps compiled programs."""
    flags = f"--xla_backend_optimization_level=0 --xla_force_host_platform_device_count={devices}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)}


def launch(cache: Path, *arguments: str | Path, devices: int = 1) -> subprocess.Popen[str]:
    """Start train.py."""
    return subprocess.Popen(
        [sys.executable, ROOT / "train.py", *map(str, arguments)],
        env=environment(cache, devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a process to exit with this code; give its output."""
    try:
        text, _ = process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"still running: {process.communicate()[0]}") from None
    assert process.returncode == code, text
    return text


def signal_at(process: subprocess.Popen[str], workdir: Path, steps: int, number: signal.Signals) -> None:
    """Send a signal once a run has logged this many steps."""
    path = workdir / "metrics.jsonl"
    while process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= steps:
            process.send_signal(number)
            return
        time.sleep(0.01)
    raise AssertionError(process.communicate()[0])


def metrics(workdir: Path) -> list[dict]:
    """Read the metrics of a run."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
