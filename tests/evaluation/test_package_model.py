"""Figures and pages made from a packaged model follow it."""

import html
import importlib
import sys
from pathlib import Path

import pytest

from nvc_jax.codec.descriptions import packaged_models
from nvc_jax.codec.store import load_model
from nvc_jax.errors import OutputError
from nvc_jax.evaluation.bd_rate import compare
from nvc_jax.evaluation.results import read_results
from nvc_jax.models.codecs import tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield importlib.import_module("package_model")
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.fixture(scope="module")
def card(tool):
    return importlib.import_module("model_card")


@pytest.mark.slow
@pytest.mark.parametrize("name", packaged_models())
def test_pages_have_the_figures_of_the_model(card, name):
    for (page, title), figures in card.blocks(name).items():
        text = page.read_text()
        new = figures()
        if new is not None:
            assert card.with_block(text, title, new) == text, "run tools/package_model.py RUN --only card"


def test_readme_has_the_bd_rates_of_the_model(card):
    readme = (ROOT / "README.md").read_text()
    ours = read_results(card.results_of("embedded"))
    for anchor in ("x264-ultrafast", "mpeg4", "x264", "x265"):
        mean = card.shown_mean(compare(read_results(card.results_of(anchor)), ours).average)
        assert mean in readme, f"README.md: the BD-rate against {anchor} is {mean}"


def test_example_report_is_of_the_packaged_model():
    identity = load_model("embedded").identity
    text = (ROOT / "docs" / "example_report.html").read_text()
    assert identity in html.unescape(text), "run tools/package_model.py RUN --only report"


def test_page_without_a_place_is_refused(card):
    with pytest.raises(OutputError, match="has no lines"):
        card.with_block("a page\n", "architectures", "figures\n")


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
