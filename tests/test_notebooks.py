"""The notebooks run from top to bottom on a small run, and show a picture for every task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from safety_eval.runs import pipeline
from safety_eval.runs.config import run_config

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
TASK = str(Path(__file__).parent / "pipeline" / "small_task.py")


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks") / "run"
    values = {"model": "echo", "engine": "echo", "tasks": [TASK], "output_path": str(folder)}
    return pipeline.run(run_config(values))


@pytest.fixture
def executed(small_run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[nbformat.NotebookNode]:
    monkeypatch.setenv("SAFETY_EVAL_RUN", str(small_run))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(NOTEBOOKS / "read_a_run.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=None, startup_timeout=600, resources={"metadata": {"path": str(NOTEBOOKS)}}
    )
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
        yield notebook


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_read_a_run_runs_and_shows_a_picture_per_task_and_no_text(executed: nbformat.NotebookNode) -> None:
    outputs = [o for cell in executed.cells for o in cell.get("outputs", ())]
    assert not [o for o in outputs if o.output_type == "error"]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 1
    assert "had a good day" not in str([o.get("data", {}).get("text/plain") for o in outputs])


def test_notebooks_are_kept_without_outputs() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        assert not [c for c in notebook.cells if c.get("outputs") or c.get("execution_count")], path.name
