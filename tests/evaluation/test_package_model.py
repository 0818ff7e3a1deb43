"""What is made from a packaged model follows it."""

import html
import importlib.util
from pathlib import Path

import pytest

from nvc_jax.codec.store import load_model
from nvc_jax.errors import OutputError
from nvc_jax.models.config import tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("package_model", ROOT / "tools" / "package_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_model_card_has_the_figures_of_the_model(tool):
    text = (ROOT / "docs" / "MODELS.md").read_text()
    assert tool.with_figures(text, "embedded") == text, "run tools/package_model.py RUN --only card"


def test_example_report_is_of_the_packaged_model():
    identity = load_model("embedded").identity
    text = (ROOT / "docs" / "example_report.html").read_text()
    assert identity in html.unescape(text), "run tools/package_model.py RUN --only report"


def test_card_without_a_place_is_refused(tool):
    with pytest.raises(OutputError, match="has no lines"):
        tool.with_figures("a card\n", "embedded")


def test_training_curve_is_means(tool, monkeypatch):
    monkeypatch.setattr(tool, "MEANS", 2)
    pictures = [
        {"step": i, "stage": "a", "learning_rate": 1.0, "loss": float(i), "bpp_intra": None, "psnr_y_intra": 30.0}
        for i in range(3)
    ]
    both = {"loss": 8.0, "learning_rate": 0.5, "bpp_intra": 9.0, "bpp_inter": 1.5, "psnr_y_inter": 31.0}
    video = [{"step": 3, "stage": "b", **both}]
    curve = tool.summarised(pictures + video, tiny)
    assert [stage["rows"] for stage in curve["stages"]] == [
        [[2, 1.0, 0.5, None, 30.0], [3, 1.0, 2.0, None, 30.0]],
        [[4, 0.5, 8.0, 1.5, 31.0]],
    ]
