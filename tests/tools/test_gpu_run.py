"""tools/gpu_run.py: time limits, failures, and (slow) a rehearsal with a tiny codec on a CPU."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import native_coder  # noqa: TID251

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

from gpu import install, train  # noqa: E402
from gpu.runner import Runner, Step  # noqa: E402
from gpu.summary import lines_of  # noqa: E402


def call(code, **settings):
    settings = {"name": "step", "seconds": 30} | settings
    return Step("phase", command=[sys.executable, "-c", code, "{json}"], **settings)


WRITES = "import json, sys; json.dump({'lines': ['told']}, open(sys.argv[1], 'w'))"
SLEEPS = f"{WRITES}; import sys, time; print('begun', flush=True); time.sleep(60)"


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path / "work", tmp_path / "out", tmp_path, {}, 60)


def test_limits_and_failures(runner, tmp_path):
    """A step at its limit keeps its results; a failed one stops no other, but those that need it are left out."""
    steps = [
        call(SLEEPS, name="slow", seconds=2),
        call("raise SystemExit('no good')", name="bad"),
        call(WRITES, name="good", needs=("phase/beside",)),
        call(WRITES, name="lonely", needs=("phase/bad",)),
    ]
    runner.run("phase", [call(WRITES, name="beside", background=True), *steps], 30, again=False)
    runner.finish()
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    outcomes = {key: row["status"]["outcome"] for key, row in results.items()}
    assert outcomes == {
        "phase/beside": "done",
        "phase/slow": "limit",
        "phase/bad": "failed",
        "phase/good": "done",
        "phase/lonely": "left out",
    }
    assert results["phase/slow"]["result"] == {"lines": ["told"]}
    assert runner.failed == ["phase/slow", "phase/bad"]
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert "    | begun\n" in summary
    assert "    | no good\n" in summary


def test_a_second_call_goes_on(tmp_path):
    appends = "open('count', 'a').write('x')"
    for _ in range(2):
        runner = Runner(tmp_path / "work", tmp_path / "out", tmp_path, {}, 60)
        runner.run("phase", [call(appends), call(appends, name="always", always=True)], 30, again=False)
    assert (tmp_path / "count").read_text() == "xxx"


def test_a_step_is_asked_to_end_before_its_limit(runner, tmp_path):
    handler = "lambda *_: (open('asked', 'w'), exit(143))"
    code = f"import signal, time; signal.signal(signal.SIGTERM, {handler}); time.sleep(60)"
    runner.run("phase", [call(code, seconds=12, stop_s=10)], 30, again=False)
    assert (tmp_path / "asked").exists()
    assert json.loads((tmp_path / "out" / "results.json").read_text())["phase/step"]["status"]["outcome"] == "done"


def test_a_path_that_is_not_there_is_refused_at_once(tmp_path):
    command = [sys.executable, str(TOOLS / "gpu_run.py"), "--output", str(tmp_path / "out"), "--clips", "no/clips"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.endswith("error: no/clips: no such file or folder\n")
    assert not (tmp_path / "out").exists()


def test_checks_that_were_left_out_are_told():
    row = {"name": "first", "passed": True, "detail": "the same", "seconds": 1.0}
    told = lines_of({"checks": [row], "left_out": ["second"]})
    assert told == ["ok   first: the same (1.0 s)", "left out: second"]


@pytest.mark.parametrize(
    ("version", "installed"), [("13.1.0", False), ("14.0", True), ("18.1.0", True), ("19.0", False)]
)
def test_packages_are_left_alone_in_versions_that_are_allowed(monkeypatch, tmp_path, version, installed):
    monkeypatch.setattr(install, "ROOT", tmp_path)
    project = '[project]\ndependencies = ["av>=14,<19"]\n[project.optional-dependencies]\ntrain = ["grain>=0.2.10"]\n'
    (tmp_path / "pyproject.toml").write_text(project)
    about = tmp_path / f"av-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: av\nVersion: {version}\n")
    assert install.is_installed("av", tmp_path) == installed
    assert not install.is_installed("no-such-package", tmp_path)


@pytest.mark.parametrize(
    ("flags", "other"),
    [
        ("", "--xla_gpu_enable_triton_gemm=false"),
        ("--xla_a=1 --xla_gpu_enable_triton_gemm=false", "--xla_a=1 --xla_gpu_enable_triton_gemm=true"),
        ("--xla_gpu_enable_triton_gemm=true", "--xla_gpu_enable_triton_gemm=false"),
    ],
)
def test_training_that_fails_at_its_start_begins_again_with_other_products(monkeypatch, tmp_path, flags, other):
    """A restart gets the seconds that are left; a later failure or a success causes none."""
    monkeypatch.setenv("XLA_FLAGS", flags)
    told = tmp_path / "told"
    tells = f"import os, sys; print(os.environ['XLA_FLAGS'], file=open({str(told)!r}, 'a'));"

    def training(what):
        seconds = []
        return seconds, lambda left: seconds.append(left) or [sys.executable, "-c", f"{tells} {what}"]

    handler = train.signal.getsignal(train.signal.SIGTERM)
    try:
        for what, code, start_s, expected in (
            (f"sys.exit(os.environ['XLA_FLAGS'] != {other!r} and 3)", 0, 90, [flags, other]),
            ("sys.exit(3)", 3, 90, [flags, other]),
            ("sys.exit(3)", 3, 0, [flags]),
            ("sys.exit(0)", 0, 90, [flags]),
            ("os.abort()", 134, 90, [flags, other]),
        ):
            told.unlink(missing_ok=True)
            seconds, command = training(what.replace("os.abort()", "sys.stdout.flush(); os.kill(os.getpid(), 6)"))
            assert train.run(command, 100.0, start_s) == code
            assert told.read_text().splitlines() == expected
            assert seconds == sorted(seconds, reverse=True)
            assert 90 < seconds[-1] <= 100
    finally:
        train.signal.signal(train.signal.SIGTERM, handler)


def test_training_that_is_asked_to_end_is_not_begun_again(runner, tmp_path):
    """It can still save its checkpoint and its model."""
    leaves = "signal.signal(signal.SIGTERM, lambda *_: (open('asked', 'a').write('x'), sys.exit(143)))"
    trains = f"import signal, sys, time; {leaves}; time.sleep(60)"
    code = f"import sys; sys.path[:0] = [{str(TOOLS)!r}]; from gpu.train import run; "
    code += f"sys.exit(run(lambda left: [sys.executable, '-c', {trains!r}], 60.0))"
    runner.run("phase", [call(code, seconds=14, stop_s=11)], 30, again=False)
    assert (tmp_path / "asked").read_text() == "x"
    assert json.loads((tmp_path / "out" / "results.json").read_text())["phase/step"]["status"]["returncode"] == 143


@pytest.mark.slow
def test_rehearsal(tmp_path, compilation_cache):
    """Checks and speed, with the installed package in place of the one that `install` makes."""
    work, out = tmp_path / "work", tmp_path / "out"
    (work / "install").mkdir(parents=True)
    (work / "install" / "native.status.json").write_text('{"outcome": "done"}')
    built = work / "site" / "native_coder"
    built.mkdir(parents=True)
    for module in (native_coder, native_coder._native, native_coder._functions):
        shutil.copy(module.__file__, built)
    command = [sys.executable, str(TOOLS / "gpu_run.py"), "--rehearse", "--output", str(out), "--work", str(work)]
    subprocess.run([*command, "--phases", "exact,speed", "--seconds", "400"], check=True, env=compilation_cache)
    results = json.loads((out / "results.json").read_text())
    checks = results["exact/checks"]["result"]["checks"]
    assert len(checks) >= 4
    assert all(row["passed"] for row in checks)
    speed = results["speed/1080p_bfloat16"]["result"]
    assert speed["end_to_end"]["nvc_jax/encode"]["fps"] > 0
    assert speed["end_to_end"]["nvc_jax/decode 4 streams"]["streams"] == 4
    assert results["speed/kernels_bfloat16"]["result"]["decode"]["kernels_per_frame"] > 10
