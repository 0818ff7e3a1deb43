"""The official code in all its ways beside ours, by a worker that answers as tools/bench_torch.py does."""

import sys

import pytest
from rich.console import Console

from nvc_jax.benchmark.official import CPU_WAYS, GPU_WAYS
from nvc_jax.benchmark.peaks import Peaks
from nvc_jax.benchmark.result import Options, measure, speedups, start_officials
from nvc_jax.benchmark.subject import load
from nvc_jax.benchmark.tables import print_tables

# Its first argument says on which device it is; it has no entropy coder.
WORKER = """
import json, sys
if "bfloat16" in sys.argv and sys.argv[1] == "old":
    sys.exit(1)
gpu = sys.argv[1] == "gpu"
about = {"device": "gpu" if gpu else "cpu", "cuda_extension": gpu, "entropy_coder": False, "options": sys.argv[4:]}
print(json.dumps(about), flush=True)
for line in sys.stdin:
    print(1000.0 if "bfloat16" in sys.argv else 2000.0, flush=True)
"""


@pytest.fixture
def options(tmp_path):
    """A benchmark of a tiny network beside a worker on a device."""
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)

    def options(device, parts=("official", "official_ways")):
        return Options(
            *("tiny", (64, 64), "float32", None, ("bfloat16",), 1, 20, 1, (), None, frozenset(parts)),
            torch_reference=device,
            torch_python=sys.executable,
            torch_worker=worker,
        )

    return options


def test_speedups_over_all_ways_on_a_cpu(options, monkeypatch):
    def measure_nothing(peaks):
        peaks.operations = peaks.copied = 1e9

    monkeypatch.setattr(Peaks, "measure", measure_nothing)
    result = measure(options("cpu"), progress=[].append)
    console = Console(record=True, width=200)
    print_tables(result, console)
    shown = console.export_text()
    for side in ("encode", "decode"):
        assert result["points"][f"nvc_jax bfloat16/{side}"]["median_s"] > 0
        assert result[f"best_official_{side}"] == "official bfloat16 channels_last"
        ours = result["points"][f"nvc_jax/{side}"]["median_s"]
        assert result[f"speedup_{side}"] == pytest.approx(1000.0 / ours)
        assert result[f"speedups_{side}"]["official channels_last"] == pytest.approx(2000.0 / ours)
        best = "the official code's best, official bfloat16 channels_last"
        assert f"{side}: {1000.0 / ours:.2f} times as fast as {best}" in shown
        assert f" {2000.0 / ours:.2f} " in shown


@pytest.mark.parametrize(
    ("device", "parts", "ways"),
    [
        ("cpu", ("official", "official_ways"), CPU_WAYS),
        ("gpu", ("official", "official_ways"), GPU_WAYS),
        ("cpu", ("official",), {}),
        ("old", ("official", "official_ways"), {"official channels_last": ("--channels-last",)}),
    ],
)
def test_ways_that_run(options, device, parts, ways):
    """A way that does not start is told; the others run."""
    told = []
    officials = start_officials(options(device, parts), load("tiny", "float32")[0], told.append)
    found = {name: official.about["options"] for name, official in officials.items()}
    for official in officials.values():
        official.close()
    assert found == {"official": []} | {name: list(way) for name, way in ways.items()}
    failed = "official bfloat16 channels_last: the official code has ended; its output is above."
    assert told == ([failed] if device == "old" else [])


def test_without_the_official_code_there_is_no_speedup():
    assert speedups({f"nvc_jax/{side}": {"median_s": 1.0} for side in ("encode", "decode")}, 1) == {}


def test_packets_of_two_pictures_are_compared_per_picture():
    seconds = {"nvc_jax": 1.0, "official": 3.0}
    points = {f"{name}/{side}": {"median_s": s} for name, s in seconds.items() for side in ("encode", "decode")}
    assert speedups(points, 2)["speedups_encode"] == {"official": 6.0}
