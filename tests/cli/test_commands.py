"""All commands of nvc-jax, as modules, as doors of a checkout, and in a checkout beside an ordinary install."""

import io
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import native_coder  # noqa: TID251
from nvc_jax.cli.arguments import OWN_PARSERS, with_own_parser
from nvc_jax.cli.command import main
from nvc_jax.errors import EvaluationError
from nvc_jax.training.settings import load_config, packaged_configs

ROOT = Path(__file__).resolve().parents[2]
DOORS = {
    "train.py": "train",
    "eval.py": "evaluate",
    "tools/bench.py": "bench",
    "tools/compare_bd_rate.py": "compare",
    "tools/make_report.py": "report",
    "tools/compile_for.py": "compile",
}


def test_help_lists_all_commands(capsys):
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for name, (_, _, help_) in OWN_PARSERS.items():
        assert f"    {name} " in told
        assert help_ in told


def test_debug_of_compare():
    with pytest.raises(EvaluationError, match="the anchor none is neither"):
        main(["compare", "some.json", "--anchor", "none", "--debug"])


@pytest.mark.parametrize("name", OWN_PARSERS)
def test_own_parsers(name, capsys):
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: nvc-jax {name} ")
    assert main([name, "--no-such-option"]) == 2
    assert f"nvc-jax {name}: error: " in capsys.readouterr().err


def test_debug_may_come_first(tmp_path):
    assert with_own_parser(["--debug", "train", "x"]) == ("train", ["--debug", "x"])
    assert with_own_parser(["encode", "train"]) is None
    assert with_own_parser([]) is None
    with pytest.raises(Exception, match="no such configuration"):
        main(["--debug", "train", "--config", "none", "--workdir", str(tmp_path)])


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(OWN_PARSERS, "compare", ("no_such_package", "eval", ""))
    assert main(["compare"]) == 1
    assert capsys.readouterr().err.endswith("No module named 'no_such_package'; pip install \"nvc-jax[eval]\".\n")


def test_a_reader_that_has_seen_enough(monkeypatch):
    result = ROOT / "benchmarks" / "results" / "eval" / "x264.json"
    read, write = os.pipe()
    os.close(read)
    with io.TextIOWrapper(io.FileIO(write, "w"), write_through=True) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["compare", str(result), "--anchor", "x264"]) == 141


def test_configurations_by_name(capsys, tmp_path):
    assert {"smoke", "dcvc_rt", "embedded", "ui2c"} <= packaged_configs().keys()
    assert load_config("smoke") == load_config(ROOT / "configs" / "smoke.py")
    assert main(["train", "--config", "smok", "--workdir", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err.startswith(
        "nvc-jax train: smok: no such configuration; give a Python file or one of: dcvc_rt, "
    )


@pytest.mark.parametrize("door", DOORS)
def test_doors_are_thin(door):
    assert len((ROOT / door).read_text().splitlines()) <= 10
    assert OWN_PARSERS[DOORS[door]][0] in (ROOT / door).read_text()


@pytest.fixture
def beside_an_install(tmp_path):
    """A checkout without compiled modules, and an environment with an ordinary install in another folder."""
    checkout, site = tmp_path / "checkout", tmp_path / "site"
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    for name in ("nvc_jax", "native_coder", "configs"):
        shutil.copytree(ROOT / name, checkout / name, ignore=ignored)
    shutil.copytree(ROOT / "nvc_jax", site / "nvc_jax", ignore=ignored)
    shutil.copytree(ROOT / "configs", site / "nvc_jax" / "configs")
    shutil.copytree(ROOT / "native_coder", site / "native_coder", ignore=ignored)
    for folder in native_coder.__path__:
        for module in Path(folder).glob("_*" + sysconfig.get_config_var("EXT_SUFFIX")):
            shutil.copy(module, site / "native_coder")
    for name in ("train.py", "eval.py"):
        shutil.copy(ROOT / name, checkout)
    paths = os.pathsep.join([str(site), sysconfig.get_path("purelib")])
    return checkout, os.environ | {"PYTHONPATH": paths}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["train.py", "--config", "smoke", "--workdir", "run", "data.source=nowhere"],
            "train.py: ",
        ),
        (["-m", "nvc_jax", "train", "--config", "smoke", "--workdir", "run", "data.source=nowhere"], "nvc-jax train: "),
        (["eval.py", "--videos", "nowhere", "--output", "out.json"], "eval.py: "),
    ],
)
def test_a_checkout_beside_an_ordinary_install(beside_an_install, command, message):
    """The compiled modules are found though the checkout's folders come first. -S: no editable install interferes."""
    checkout, environment = beside_an_install
    done = subprocess.run(
        [sys.executable, "-S", *command], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert message in done.stderr, done.stderr
    assert "nowhere" in done.stderr


def test_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "nvc_jax", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("nvc-jax ")
