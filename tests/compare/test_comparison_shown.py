"""What a comparison shows: command, tables and chart hold the same rows as compare.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from safety_eval.cli import main
from safety_eval.compare.comparable import Ground
from safety_eval.compare.comparison import Comparison
from safety_eval.compare.difference_chart import difference_chart, save_charts
from safety_eval.compare.differences import Difference
from safety_eval.compare.table import metric_table, who
from safety_eval.runs import pipeline
from safety_eval.runs.config import run_config

TASK = str(Path(__file__).with_name("paired_task.py"))
FOUL = "You are a stupid fucking bitch."


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for name, foul in (("new", 0), ("old", 15)):
        script = folder / f"{name}.json"
        script.write_text(json.dumps({f"p{i:02d}": FOUL if i < foul else "A mild day." for i in range(40)}))
        asked = {"model": str(script), "engine": "echo", "tasks": [TASK], "output_path": str(folder / name)}
        made.append(pipeline.run(run_config(asked)))
    return made[0], made[1]


def test_the_command_writes_the_file_the_charts_and_a_table(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(runs[0]), str(runs[1]), "--margin", "toxic_rate=0.05"]) == 0
    shown = capsys.readouterr().out
    assert "-37.50 pt" in shown.replace("\N{MINUS SIGN}", "-") and "compare.json" in shown
    held = json.loads((runs[0] / "compare.json").read_text())
    toxic = next(d for d in held["differences"] if (d["metric"], d["axis"]) == ("toxic_rate", "total"))
    assert toxic["margin"] == 0.05 and toxic["not_worse"] == "approved"
    assert (runs[0] / "charts" / "compare.paired_task.toxic_rate.profanity_check.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "flags",
    [["--margin", "little"], ["--margin", "toxicrate=0.1"], ["--across", "seeds"]],
    ids=lambda f: f[1],
)
def test_wrong_use_says_what_to_do(
    runs: tuple[Path, Path], flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(runs[0]), str(runs[1]), *flags]) == 2
    assert "->" in capsys.readouterr().err


def row(group: str, value: float | None, axis: str = "team", better: str = "lower") -> Difference:
    reason = "" if value is not None else "nothing in common"
    return Difference("t", "toxic_rate", "s", axis, group, "rate", value, 0.2, 0.1, better=better, reason=reason)


def test_groups_come_worst_first_and_those_without_data_stay() -> None:
    rows = [row("all", 0.0, "total"), row("a", -0.2), row("none", None), row("b", 0.3), row("c", 0.1)]
    assert [r.cells[0] for r in metric_table(rows).rows] == ["all answers", "b", "c", "a", "none"]
    higher = [row("a", -0.2, better="higher"), row("b", 0.3, better="higher")]
    assert [r.cells[0] for r in metric_table(higher).rows] == ["a", "b"]
    labels = [t.get_text() for t in difference_chart(rows, "title", "fine").axes[0].get_yticklabels()]
    assert labels == ["all answers", "b", "c", "a", "none"]


def test_a_hostile_group_name_is_shown_escaped_and_draws() -> None:
    rows = [row("\x1b[31m$\\frac{x$", 0.1)]
    assert "\x1b" not in metric_table(rows).rows[0].cells[0]
    difference_chart(rows, "$\\bad", "fine").canvas.draw()


def test_a_metric_in_which_no_group_changed_is_a_row_and_no_picture(tmp_path: Path) -> None:
    def metric(name: str, p: float) -> list[Difference]:
        return [replace(row("a", 0.2), metric=name, p_adjusted=p), replace(row("all", 0.2, "total"), metric=name)]

    side = {"model": "/home/ann/models/new", "folder": "r", "dtype": "float32"}
    rows = (*metric("first", 1.0), *metric("same", 0.06), *metric("moved", 0.05))
    made = Comparison(side, side, Ground(("t",), {"t": frozenset({"s"})}, (), ()), rows, ())
    earlier = tmp_path / "charts" / "compare.gone.png"
    earlier.parent.mkdir()
    earlier.touch()
    drawn = {path.name for path in save_charts(tmp_path, made)}
    assert drawn == {"compare.t.first.s.png", "compare.t.moved.s.png"}
    assert {path.name for path in earlier.parent.iterdir()} == drawn
    assert who(side) == "new (r, float32)" and who({**side, "model": "org/new"}).startswith("org/new ")
