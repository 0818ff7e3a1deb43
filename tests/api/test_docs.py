"""Examples of the documentation run as they stand."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_the_page_on_python():
    """Its examples follow one another, in one namespace."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "PYTHON.md").read_text(), re.DOTALL)
    assert len(blocks) == 6
    names = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"PYTHON.md, example {number}", "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks(notebook, tmp_path, compilation_cache, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="notebooks run where nbclient and ipykernel are installed")
    nbformat = pytest.importorskip("nbformat")
    for name, value in compilation_cache.items():
        monkeypatch.setenv(name, value)
    opened = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(opened, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [
        output for cell in opened.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 3
