"""The notebooks run from top to bottom, and are kept with pictures; Python's door shows itself and hides texts."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_type_hints

import nbformat
import pytest
from nbclient import NotebookClient

import safety_eval
from safety_eval.core.records import Estimate
from safety_eval.runs import pipeline
from safety_eval.runs.config import RunConfig, RunSettings, run_config
from safety_eval.show.notebook import Run, open_run

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
TASK = str(Path(__file__).parent / "pipeline" / "small_task.py")
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks") / "run"
    values = {"model": "echo", "engine": "echo", "tasks": [TASK], "output_path": str(folder)}
    return pipeline.run(run_config(values))


def outputs(notebook: nbformat.NotebookNode) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_shows_a_picture_and_no_text(
    name: str, small_run: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if name == "audit_a_scorer":
        monkeypatch.setenv("SAFETY_EVAL_DATA", str(request.getfixturevalue("data_dir")))
    monkeypatch.setenv("SAFETY_EVAL_RUN", str(small_run))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=None, startup_timeout=600, resources={"metadata": {"path": str(NOTEBOOKS)}}
    )
    client.execute()
    assert not [o for o in outputs(notebook) if o.output_type == "error"]
    assert [o for o in outputs(notebook) if "image/png" in o.get("data", {})]
    assert "had a good day" not in str([o.get("data", {}).get("text/html") for o in outputs(notebook)])


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_with_its_pictures_and_no_trace_of_a_machine(name: str) -> None:
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert [o for o in outputs(notebook) if "image/png" in o.get("data", {})]
    assert not [o for o in outputs(notebook) if o.output_type == "error"]
    assert not re.findall(r"/(?:tmp|home|root|work|Users)/", path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 600_000


def test_every_setting_of_a_run_completes_as_a_keyword() -> None:
    assert set(get_type_hints(RunSettings)) == set(RunConfig.model_fields)
    assert set(RunConfig.model_fields) <= set(inspect.signature(safety_eval.run).parameters)


def test_the_door_offers_functions_although_folders_bear_their_names() -> None:
    from safety_eval.compare import comparison
    from safety_eval.report import page

    assert page and comparison
    for name in ("run", "open_run", "compare", "sign_off", "audit", "review", "plan", "report", "export"):
        assert inspect.isfunction(getattr(safety_eval, name)), name
        assert name in dir(safety_eval)


def test_what_a_notebook_shows_by_itself_is_escaped_and_holds_no_answer(small_run: Path) -> None:
    run = open_run(small_run)
    shown = run._repr_html_()
    assert "small task" in shown and "had a good day" not in shown
    assert not {"prompt", "text"} & set(run.outputs("small_task").columns)
    assert {"prompt", "text"} <= set(run.outputs("small_task", texts=True).columns)
    hostile = Estimate("t", "m", "s", "axis", "<script>\x1b\u202e", "rate", 0.5, 0.4, 0.6, 10, expected=12)
    html = hostile._repr_html_()
    assert "<script>" not in html and "\x1b" not in html and "\u202e" not in html
    assert "0.5 [0.4, 0.6]" in html and "2 of 12 missing" in html


def test_a_comparison_and_a_verdict_show_themselves(small_run: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    rule = "{id: one, task: small_task, metric: degenerate_rate, max: 0.9, because: a test}"
    policy.write_text(f"version: 1\nname: small\nabout: a test\nestimand: list\nrules:\n  - {rule}\n")
    compared = safety_eval.compare(small_run, small_run)._repr_html_()
    assert "<table>" in compared and "difference" in compared
    signed = safety_eval.sign_off(small_run, policy)
    assert signed.verdict.decision.upper() in signed._repr_html_() and "Signed by nobody." in signed._repr_html_()
    assert isinstance(open_run(small_run), Run)
