"""Conditions of a measurement: what every result says beside its figures."""

import subprocess
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from nvc_jax.benchmark.subject import QP
from nvc_jax.codec.report import machine, versions


def conditions(size: tuple[int, int], precision: str, frames: int) -> dict[str, Any]:
    """Describe a measurement of a picture size, precision and length of the sequences: when, of what and where."""
    return {
        "date": date.today().isoformat(),
        "size": "{}x{}".format(*size),
        "precision": precision,
        "qp": QP,
        "frames": frames,
        **machine(),
        "power": power_state(),
        "versions": versions(),
    }


def power_state() -> dict[str, str]:
    """Read clocks, power and load, where the machine reports them."""
    state = {}
    for name, file in (
        ("governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        ("load_average", "/proc/loadavg"),
    ):
        with suppress(OSError):
            state[name] = Path(file).read_text().strip()
    with suppress(OSError):
        query = "--query-gpu=pstate,clocks.sm,clocks.max.sm,power.draw,power.limit"
        asked = subprocess.run(["nvidia-smi", query, "--format=csv"], capture_output=True, text=True, check=False)
        state["gpu"] = asked.stdout.strip()
    return state
