"""The notebooks run from top to bottom against the simulator, and are stored as they ran."""

import copy
import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_PLACES = re.compile(r"(?<![\w:/.])(?:/(?:home|root|tmp|usr|Users|work|opt|var)/|[A-Z]:\\\\)")


def outputs_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return every output, in order."""
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def texts_of(cell: nbformat.NotebookNode) -> str:
    """Return a cell's outputs as the text a terminal would show."""
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def stored(request) -> nbformat.NotebookNode:
    """Return a notebook as it is stored."""
    return nbformat.read(request.param, as_version=4)


@pytest.fixture
def executed(stored, tmp_path, monkeypatch) -> nbformat.NotebookNode:
    """Return a notebook run anew, in a folder and with a store of its own."""
    folder = tmp_path / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns(".*", "*.ipynb"))
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    fresh = copy.deepcopy(stored)
    NotebookClient(fresh, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return fresh


def test_there_are_notebooks():
    """The tests below have something to look at."""
    assert [] != NOTEBOOKS


def test_notebook_runs_without_a_word_of_complaint(executed):
    """No cell fails, nothing is written to stderr, and a cell tagged `again` sends nothing."""
    outputs = outputs_of(executed)
    again = [cell for cell in executed.cells if "again" in cell.metadata.get("tags", ())]

    assert [] == [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert [True] == [" 0 sent" in texts_of(cell) for cell in again]


def test_notebook_is_stored_as_it_ran(stored):
    """People read it on the web: every cell has run once, in order, and shows no place on anyone's machine."""
    code = [cell for cell in stored.cells if cell.cell_type == "code"]

    assert list(range(1, len(code) + 1)) == [cell.execution_count for cell in code]
    assert "python3" == stored.metadata.kernelspec.name
    assert [] == [output for output in outputs_of(stored) if output.output_type == "error"]
    assert [] == _PLACES.findall(json.dumps(stored))
