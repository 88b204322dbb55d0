"""A run of an older version is read, or refused with a sentence that says what to do; it is never read wrongly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from safety_eval.cli import main

COMMANDS = {
    "report": ["report", "RUN"],
    "score": ["score", "RUN"],
    "export": ["export", "RUN", "--format", "model-card"],
    "compare": ["compare", "RUN", "NEW"],
    "run": ["run", "--engine", "echo", "--model", "echo", "--tasks", "xstest", "--data-version", "quickstart"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "run"
    assert main([*COMMANDS["run"], "--output-path", str(folder)]) == 0
    return folder


def older(made: Path, target: Path, name: str, schema: int | None) -> Path:
    """A copy of the run of which one file says another schema number (None: none at all)."""
    run = Path(shutil.copytree(made, target))
    content = json.loads((run / name).read_text(encoding="utf-8"))
    content.pop("schema")
    (run / name).write_text(json.dumps(content if schema is None else content | {"schema": schema}), encoding="utf-8")
    return run


@pytest.mark.parametrize("schema", [None, 1, 999])
@pytest.mark.parametrize("command", COMMANDS)
def test_another_schema_of_run_json_is_refused(
    made: Path, tmp_path: Path, command: str, schema: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = older(made, tmp_path / "run", "run.json", schema)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    words = [{"RUN": str(run), "NEW": str(made)}.get(word, word) for word in COMMANDS[command]]
    assert main([*words, "--output-path", str(run)] if command == "run" else words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "another version of safety-eval" in said and "->" in said
    assert {path: path.read_bytes() for path in before} == before


def test_numbers_of_another_schema_are_measured_again_from_the_same_records(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = older(made, tmp_path / "run", "results.json", 1)
    assert main(["report", str(run)]) == 2
    assert "safety-eval score" in " ".join(capsys.readouterr().err.split())
    assert main(["score", str(run)]) == 0
    new, old = ((folder / "results.json").read_bytes() for folder in (run, made))
    assert new == old and main(["report", str(run)]) == 0
