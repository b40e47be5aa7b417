"""The notebooks run from top to bottom: their cells in this process here; as Jupyter runs them in the long tier."""

from __future__ import annotations

import ast
import json
import sys
import types
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from tests.docs_code import NOTEBOOKS

NAMES = ("first_run", "plasticity_of_any_module", "your_own_environment")
KILOBYTES = 20


def code_cells(notebook: Path) -> list[str]:
    return [
        "".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def run_cells(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs all cells in a module of their own; what that then holds."""
    module = types.ModuleType(f"cells_of_{notebook.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for number, cell in enumerate(code_cells(notebook)):
        exec(compile(cell, f"{notebook.name} cell {number}", "exec"), module.__dict__)
    return module.__dict__


def test_there_are_the_three() -> None:
    assert tuple(path.stem for path in NOTEBOOKS) == NAMES


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_outputs(notebook: Path) -> None:
    found = json.loads(notebook.read_text())
    assert found["nbformat"] == 4
    assert found["cells"][0]["cell_type"] == "markdown"
    assert found["cells"][0]["source"][0].startswith("# ")
    for cell in found["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            ast.parse("".join(cell["source"]))
    assert notebook.stat().st_size < 1000 * KILOBYTES


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_run(
    notebook: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    if "ray.init(" in "".join(code_cells(notebook)):
        request.getfixturevalue("ray_session")
    monkeypatch.chdir(tmp_path)
    _stand_in_for_ipython(monkeypatch)
    with matplotlib.rc_context({"backend": "agg"}):
        monkeypatch.setattr(pyplot, "show", pyplot.close)
        found = run_cells(notebook, monkeypatch)
    CLAIMS[notebook.stem](found)


def _stand_in_for_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter, which tests do not install, shows pictures; here nobody looks at them. Only the submodule: pyplot asks a
    loaded ``IPython`` for more than this."""
    display = types.ModuleType("IPython.display")
    display.Image = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython.display", display)


def _finds_the_eight(found: dict[str, Any]) -> None:
    assert found["greedy"].mean() > found["random"].mean()
    assert found["rows"][-1]["eval/return_mean"] == 8.0
    assert found["total"] == 8.0


def _meets(found: dict[str, Any]) -> None:
    assert found["row"]["train/win_rate"] > 0.6
    assert found["greedy"].returns.mean() > found["random"].returns.mean()
    assert found["film"].read_bytes().startswith(b"GIF8")


def _loses_and_regains(found: dict[str, Any]) -> None:
    losses = [loss for loss, _, _ in found["tasks"]]
    assert losses[-1] > losses[0]
    assert found["tasks"][-1][1] > found["tasks"][0][1]


CLAIMS = {
    "first_run": _finds_the_eight,
    "your_own_environment": _meets,
    "plasticity_of_any_module": _loses_and_regains,
}


@pytest.mark.long
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_in_jupyter(notebook: Path, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="pip install -e '.[docs]'")
    nbclient = pytest.importorskip("nbclient", reason="pip install -e '.[docs]'")
    cells = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(
        cells, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    assert any(cell.get("outputs") for cell in cells.cells)
