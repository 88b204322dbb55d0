"""A review: blind, random, complete; what it says is what two-phase sampling says."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from safety_eval.audit.review import Asked, read_sheets, write_sheet
from safety_eval.cli import main
from safety_eval.core.errors import UserError
from safety_eval.runs import pipeline
from safety_eval.runs.config import run_config
from safety_eval.show.notebook import Run, open_run

TASK = str(Path(__file__).parents[1] / "compare" / "paired_task.py")
FOUL = "You are a stupid fucking bitch."


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """40 answers: 10 foul ones, one empty, one that looks like a formula."""
    script = {
        f"p{i:02d}": FOUL if i < 10 else "=SUM(A1)" if i == 20 else "" if i == 30 else "A mild day." for i in range(40)
    }
    path = tmp_path / "script.json"
    path.write_text(json.dumps(script))
    asked = {"model": str(path), "engine": "echo", "tasks": [TASK], "output_path": str(tmp_path / "run")}
    return open_run(pipeline.run(run_config(asked)))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def fill(path: Path, label: Callable[[dict[str, str]], str], name: str = "") -> Path:
    rows = rows_of(path)
    target = path.with_name(name) if name else path
    with target.open("w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows({**row, "label": label(row)} for row in rows)
    return target


def test_the_sheet_holds_all_flagged_all_unscored_and_a_share_of_the_others_in_a_blind_order(
    run: Run,
) -> None:
    rows = rows_of(write_sheet(run, Asked("paired_task", others=12)))
    foul = [row["answer"] == FOUL for row in rows]
    assert len(rows) == 10 + 1 + 12 and sum(foul) == 10
    assert set(rows[0]) == {"id", "prompt", "answer", "label", "remark"}
    assert foul != sorted(foul) and foul != sorted(foul, reverse=True)
    assert all(FOUL not in row["id"] and not row["label"] for row in rows)


def test_the_same_review_draws_the_same_answers_and_never_overwrites(run: Run) -> None:
    first = write_sheet(run, Asked("paired_task", others=12))
    before = first.read_text()
    with pytest.raises(UserError, match="exists already"):
        write_sheet(run, Asked("paired_task", others=12))
    first.unlink()
    assert write_sheet(run, Asked("paired_task", others=12)).read_text() == before


def test_no_cell_is_a_formula(run: Run) -> None:
    rows = rows_of(write_sheet(run, Asked("paired_task", others=100)))
    assert "'=SUM(A1)" in {row["answer"] for row in rows}
    assert not any(row[c].startswith(("=", "+", "-", "@")) for row in rows for c in ("prompt", "answer"))


def test_labels_give_the_two_phase_rate(run: Run) -> None:
    sheet = write_sheet(run, Asked("paired_task", others=100))
    found = read_sheets(run, [fill(sheet, lambda row: str(int(row["answer"] == FOUL)))])
    whole = found.rows[0]
    assert (whole.value, whole.low, whole.high) == (
        0.25,
        0.25,
        0.25,
    )  # everything was labelled: no sampling error
    assert whole.labelled == whole.count == 40 and found.kappa is None
    assert {r.group for r in found.rows} == {"all", "red", "green", "blue"}


def test_a_partial_draw_has_an_interval_and_misses_of_the_scorer_count(run: Run) -> None:
    sheet = write_sheet(run, Asked("paired_task", others=12))
    whole = read_sheets(run, [fill(sheet, lambda row: "1" if row["answer"] else "0")]).rows[0]
    assert whole.raw == pytest.approx(10 / 39) and whole.value == pytest.approx((10 + 29) / 40)
    assert whole.low is not None and whole.low < (whole.value or 0)


def test_two_people_agree_by_kappa_and_disagreements_count_as_bad(run: Run) -> None:
    sheet = write_sheet(run, Asked("paired_task", others=100))
    one = fill(sheet, lambda row: str(int(row["answer"] == FOUL)), f"{sheet.stem}.anna.csv")
    first_fine = next(row["id"] for row in rows_of(sheet) if row["answer"] == "A mild day.")
    two = fill(sheet, lambda r: str(int(r["answer"] == FOUL or r["id"] == first_fine)), f"{sheet.stem}.ben.csv")
    found = read_sheets(run, [one, two])
    assert found.disagreed == 1 and found.rows[0].value == pytest.approx(11 / 40)
    assert found.kappa is not None and 0.9 < found.kappa[0] < 1 and found.alpha is not None
    held = json.loads(next((run.folder / "review").glob("*.findings.json")).read_text())
    assert held["disagreed"] == 1


@pytest.mark.parametrize("label", ["", "perhaps", "2"])
def test_a_row_without_a_usable_label_stops_with_its_name(run: Run, label: str) -> None:
    sheet = write_sheet(run, Asked("paired_task", others=5))
    with pytest.raises(UserError, match="16 of 16 answers have no usable label"):
        read_sheets(run, [fill(sheet, lambda row: label)])


def test_a_stranger_sheet_is_refused(run: Run, tmp_path: Path) -> None:
    write_sheet(run, Asked("paired_task", others=5))
    (tmp_path / "else.csv").write_text("id,label\n")
    with pytest.raises(UserError, match="is not a sheet of"):
        read_sheets(run, [tmp_path / "else.csv"])


def test_a_random_sample_of_scores_is_read_by_ppi(run: Run) -> None:
    sheet = write_sheet(run, Asked("paired_task", "toxicity", others=20, design="random"))
    found = read_sheets(run, [fill(sheet, lambda row: "0.9" if row["answer"] == FOUL else "0.1")])
    whole = found.rows[0]
    assert whole.method.startswith("PPI++") and whole.value == pytest.approx(0.3, abs=0.05)
    with pytest.raises(UserError, match="is not a rate"):
        write_sheet(run, Asked("paired_task", "toxicity"))


def test_the_command_never_prints_an_answer(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", str(run.folder), "--others", "5"]) == 0
    sheet = next((run.folder / "review").glob("*.csv"))
    fill(sheet, lambda row: str(int(row["answer"] == FOUL)))
    assert main(["review", str(run.folder), "--read", str(sheet)]) == 0
    out = capsys.readouterr().out
    assert "25.00%" in out and FOUL not in out
    assert main(["review", str(run.folder), "--metric", "toxic_rat"]) == 2
