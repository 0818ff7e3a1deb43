"""A small model and small clips on disk."""

import pytest
import synthetic

from nvc_jax.codec.store import save_model
from nvc_jax.demo.sequence import write_demo
from nvc_jax.evaluation.command import main


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, synthetic.tiny_model())
    return folder


@pytest.fixture(scope="session")
def moving_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "moving"
    save_model(folder, synthetic.tiny_model(motion=True))
    return folder


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory):
    """make_clip(width, height, frames, name): path of a clip; all clips are of the class `clips`."""
    folder = tmp_path_factory.mktemp("videos") / "clips"
    folder.mkdir()

    def make(width, height, frames, name="clip.y4m"):
        return write_demo(folder / name, width, height, frames)

    return make


@pytest.fixture
def evaluate(tmp_path):
    """evaluate(*arguments): exit code of eval.py; results go to out.json and streams/ unless told otherwise."""

    def run(*arguments):
        places = ["--stream-dir", tmp_path / "streams", "--output", tmp_path / "out.json"]
        return main([str(argument) for argument in (*places, *arguments)])

    return run
