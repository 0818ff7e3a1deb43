"""Commands of the documents parse, and run where no comment says what they need; links lead somewhere; the site builds.

A command is a line of a fenced block of type `sh`. With `# needs ...` behind it, it is only parsed.
"""

import argparse
import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from nvc_jax.cli.arguments import OWN_PARSERS
from nvc_jax.cli.command import main
from nvc_jax.demo.sequence import write_demo
from nvc_jax.training.settings import load_config, override

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "README.md"
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", RESULTS])
RUN_PYTHON = {ROOT / "README.md", ROOT / "docs" / "PYTHON.md"}  # here, and in tests/api/test_docs.py
INSTALLERS = {"pip", "make"}  # checked, not run
FOREIGN = {"ffmpeg", "ffplay"}
_ASSIGNMENT = re.compile(r"\w+=")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page):
    """The lines of a page's shell blocks, continued ones joined."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def programs(line):
    """The argument lists of a command line, one for each part of a pipe."""
    parts = [[]]
    for word in shlex.split(line, comments=True):
        if word == "|":
            parts.append([])
        elif parts[-1] or not _ASSIGNMENT.match(word):
            parts[-1].append(word)
    return parts


def name(page):
    return str(page.relative_to(ROOT))


ALL = [
    pytest.param(line, id=f"{name(page)}: {line.split('#')[0].strip()[:60]}")
    for page in PAGES
    for line in commands(page)
]


class Parsed(Exception):
    """A command line has been parsed."""


@pytest.fixture
def parsing(monkeypatch):
    """End programs once they have parsed their arguments."""
    for method in ("parse_args", "parse_intermixed_args"):
        original = getattr(argparse.ArgumentParser, method)

        def stop(self, args=None, namespace=None, original=original):
            raise Parsed(original(self, args, namespace))

        monkeypatch.setattr(argparse.ArgumentParser, method, stop)


@pytest.mark.parametrize("line", ALL)
@pytest.mark.usefixtures("parsing")
def test_command_parses(line, monkeypatch, capsys):
    for program, *arguments in programs(line):
        if program == "pip":
            check_extras(arguments)
        elif program == "make":
            assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        elif program == "nvc-jax":
            check(lambda arguments=arguments: main(arguments), arguments, capsys)
        elif program == "python" and arguments[0].endswith(".py"):
            monkeypatch.setattr(sys, "argv", arguments)
            monkeypatch.syspath_prepend(str((ROOT / arguments[0]).parent))
            check(
                lambda arguments=arguments: runpy.run_path(str(ROOT / arguments[0]), run_name="__main__"),
                arguments,
                capsys,
            )
        elif program == "python":
            assert arguments[0] == "-c"
            compile(arguments[1], line, "exec")
        else:
            assert program in FOREIGN, f"unknown program {program}"
            assert "# needs" in line


def check(call, arguments, capsys):
    if arguments[0] in ("--version", "--help"):
        return
    with pytest.raises((Parsed, SystemExit)) as stop:
        assert call() == 0, capsys.readouterr().err
    assert stop.type is Parsed, capsys.readouterr().err
    options = stop.value.args[0]
    if hasattr(options, "overrides") and str(options.config) != "my_recipe.py":
        override(load_config(options.config), options.overrides)


def check_extras(arguments):
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extras in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
        assert set(extras.split(",")) <= known.keys()


@pytest.fixture(scope="module")
def options_of():
    """The help of each command of nvc-jax."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        names = re.findall(r"^    (\w+) ", helped(), re.MULTILINE)
        assert set(names) >= OWN_PARSERS.keys()
        return {command: helped(command) for command in names}


def helped(*command):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main([*command, "--help"]) == 0
    return out.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_in_sentences_exist(page, options_of):
    """`nvc-jax NAME` in a sentence names a command, and its options are options of it."""
    for text in re.findall(r"`nvc-jax ([^`]+)`", page.read_text()):
        command = text.split()[0]
        if not command.startswith("-"):
            assert command in options_of, f"nvc-jax {text}"
            for option in re.findall(r"(?<!\S)--[\w-]+", text):
                assert option in options_of[command], f"nvc-jax {text}"


def test_python_examples_are_on_pages_that_run():
    assert {page for page in PAGES if blocks(page, "python")} == RUN_PYTHON


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in _LINK.findall(page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page):
    """The anchors of headings, as forges and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_pages_are_in_the_navigation():
    listed = set(re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {page.name for page in ROOT.glob("docs/*.md")}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with what the commands name: videos, and the programs of a checkout."""
    folder = tmp_path_factory.mktemp("documents")
    write_demo(folder / "in.mp4", 128, 96, 8)
    for number, frames in enumerate((4, 5)):
        write_demo(folder / "clips" / f"clip{number}.mkv", 128, 96, frames)
    write_demo(folder / "my_videos" / "long.mkv", 128, 96, 20)
    for path in ("tools", "configs", "nvc_jax", "eval.py", "train.py"):
        (folder / path).symlink_to(ROOT / path)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != RESULTS], ids=name)
def test_commands_run(page, workplace, compilation_cache):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = compilation_cache | {"PATH": path, "JAX_PLATFORMS": "cpu"}
    for line in dict.fromkeys(commands(page)):
        if "# needs" in line or programs(line)[0][0] in INSTALLERS:
            continue
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=workplace,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"


@pytest.mark.slow
def test_readme_example():
    (block,) = blocks(ROOT / "README.md", "python")
    y, x = np.mgrid[:48, :64]
    frames = np.stack([np.stack([3 * x + t, 4 * y, x + y], axis=-1) for t in range(2)]).astype(np.uint8)
    names = {"frames": frames}
    exec(compile(block, "README.md", "exec"), names)
    assert names["frames"].shape == names["coded"].pictures.shape == frames.shape


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocstrings", reason="the site needs the extra [docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    page = (tmp_path / "API.html").read_text()
    for public in ("load", "Codec", "Encoder", "open_stream", "EncodingOptions", "TrainConfig", "DesyncError"):
        assert f"{public}</" in page or f">{public}<" in page
