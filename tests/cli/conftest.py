"""The command line with the tiny model, mostly in this process: it starts at once and compiles once."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import synthetic
from command_line import FRAMES, HEIGHT, WIDTH, Result, read_report

from nvc_jax.cli.command import main
from nvc_jax.codec.store import save_model
from nvc_jax.video import Colour, VideoInfo, create_video

NEED_A_MODEL = ("encode", "decode", "demo")


@pytest.fixture(scope="session", autouse=True)
def user_cache(request):
    """The commands keep compiled programs where the other tests keep them, not in the user's folder."""
    cache = request.config.cache
    folder = cache.mkdir("user") / "nvc-jax"
    folder.mkdir(exist_ok=True)
    if not (folder / "jax").is_symlink():
        (folder / "jax").symlink_to(cache.mkdir("jax"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.parent))
        yield


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """An empty working folder for each test."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model():
    """The tiny model itself."""
    return synthetic.tiny_model()


@pytest.fixture(scope="session")
def model(tiny_model, tmp_path_factory):
    """Directory of the tiny model."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, tiny_model)
    return folder


def complete(arguments, model):
    """Let commands that take a model use the tiny one."""
    arguments = list(map(str, arguments))
    needed = arguments and arguments[0] in NEED_A_MODEL and "--model" not in arguments
    return [*arguments, "--model", str(model)] if needed else arguments


@pytest.fixture
def nvc(model, capsys):
    """Run a command line in this process: nvc("encode", ...)."""

    def run(*arguments) -> Result:
        capsys.readouterr()
        code = main(complete(arguments, model))
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def nvc_command(model):
    """A command line for a process of its own."""
    program = str(Path(sys.executable).with_name("nvc-jax"))
    return lambda *arguments: [program, *complete(arguments, model)]


@pytest.fixture(scope="session")
def nvc_process(nvc_command):
    """Run a command line in a process of its own; options are those of subprocess.run."""

    def run(*arguments, **options):
        given = {"capture_output": True, "timeout": 120} | options
        return subprocess.run(nvc_command(*arguments), check=False, **given)

    return run


@pytest.fixture(scope="session")
def frames():
    """The pictures of the clip."""
    return synthetic.moving_picture(WIDTH, HEIGHT, FRAMES)


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory):
    """Write frames to a new video file: make_clip("name.mp4", frames)."""

    def make(name, frames):
        path = tmp_path_factory.mktemp("clips") / name
        info = VideoInfo(*frames[0].size, Fraction(25), Colour(1, 1, 1, False), len(frames))
        with create_video(path, info) as writer:
            for frame in frames:
                writer.write(frame)
        return path

    return make


@pytest.fixture(scope="session")
def clip(make_clip, frames):
    """A y4m file."""
    return make_clip("clip.y4m", frames)


@pytest.fixture(scope="session")
def coded(clip, model, tmp_path_factory):
    """The clip as a stream, and the encoder's report."""
    path = tmp_path_factory.mktemp("streams") / "clip.bin"
    report = path.with_suffix(".json")
    arguments = ["encode", clip, path, "--model", model, "--report", report, "--reset-interval", 3]
    assert main([str(a) for a in arguments]) == 0
    return path, read_report(report)


@pytest.fixture(scope="session")
def stream(coded):
    """The clip as a stream."""
    return coded[0]
