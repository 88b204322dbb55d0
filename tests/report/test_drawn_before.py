"""Charts that were drawn before: the very same bytes for the very same numbers, drawn anew for any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from safety_eval.cli import main
from safety_eval.core.records import Estimate
from safety_eval.report import drawn_before
from safety_eval.report.drawn_before import Drawn, charts
from safety_eval.show.notebook import Run, open_run

TASK = "xstest"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "r"
    asked = ["run", "--engine", "echo", "--model", "echo", "--tasks", TASK, "--data-version", "quickstart"]
    assert main([*asked, "--output-path", str(folder)]) == 0
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "cache"))
    return open_run(shutil.copytree(made, tmp_path / "r"))


def drawing(run: Run, mine: Sequence[Estimate]) -> list[Drawn]:
    """A picture that is another one each time."""
    drawing.times += 1
    return [Drawn(f"{mine[0].task}.a", b"\x89PNG%d" % drawing.times, "<svg/>", "words")]


def drawn(run: Run) -> list[Drawn]:
    return charts(run, run.estimate_records(), drawing)


@pytest.fixture(autouse=True)
def _from_nought() -> None:
    drawing.times = 0


def test_what_did_not_change_is_not_drawn_again_and_is_the_same(run: Run) -> None:
    first = drawn(run)
    assert drawn(open_run(run.folder)) == first and drawing.times == 1


@pytest.mark.parametrize("file", ["results.json", "run.json"])
def test_other_numbers_are_drawn_anew(run: Run, file: str) -> None:
    drawn(run)
    content = json.loads((run.folder / file).read_text())
    if file == "results.json":
        content["estimates"][0]["method"] += " and another"
    else:
        content["config"]["model"] = "another"
    (run.folder / file).write_text(json.dumps(content))
    drawn(open_run(run.folder))
    assert drawing.times == 2


def test_other_code_draws_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(run)
    monkeypatch.setattr(drawn_before, "_code", lambda: "another")
    drawn(run)
    assert drawing.times == 2


@pytest.mark.parametrize(
    "content", ["", "[]x", "{}", '[{"name": 1}]', '[{"name": "a", "png": "?", "words": "w"}]', "7"]
)
def test_whatever_lies_in_the_cache_the_charts_are_drawn(run: Run, tmp_path: Path, content: str) -> None:
    drawn(run)
    (kept,) = (tmp_path / "cache" / "charts").iterdir()
    kept.write_text(content)
    assert [one.name for one in drawn(run)] == [f"{TASK}.a"] and drawing.times == 2


def test_a_run_folder_brings_no_charts_along(run: Run) -> None:
    """A picture that somebody put into the folder is drawn over, as it always was."""
    (chart, *_) = sorted((run.folder / "charts").glob("*.png"))
    honest = chart.read_bytes()
    chart.write_bytes(b"forged")
    for _ in range(2):
        assert main(["report", str(run.folder)]) == 0
        assert chart.read_bytes() == honest


def test_a_cache_that_cannot_be_written_costs_time_only(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    assert drawn(run) and drawn(run) and drawing.times == 2


def test_the_cache_stays_small(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_before, "KEPT", 3)
    for i in range(6):
        monkeypatch.setattr(drawn_before, "_code", lambda i=i: str(i))
        drawn(run)
    assert len(list((tmp_path / "cache" / "charts").iterdir())) == 3
