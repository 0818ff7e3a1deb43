"""The page on UI2C has the figures of the networks and of the result files that are there."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield importlib.import_module("ui2c_page")
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.mark.slow
def test_the_page_is_up_to_date(tool):
    assert tool.page() == tool.PAGE.read_text(), "run tools/ui2c_page.py"


@pytest.mark.slow
def test_rows_of_the_ablation_cost_the_same(tool):
    """Per picture, but for those of an intra network."""
    costs = []
    for row in tool.TABLE_3:
        codec = tool.load_config(f"{tool.CONFIGURATION}:{row}").codec
        total = tool.packet_complexity(codec, codec.rest).total
        costs.append((total.encode, total.decode))
    for side in zip(*costs, strict=True):
        assert max(side) < 1.01 * min(side)
