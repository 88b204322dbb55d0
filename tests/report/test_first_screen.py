"""The first screen after a run: 15 lines of 80 columns, with what a decision needs and nothing that misleads."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from safety_eval.cli import main
from safety_eval.core.records import Estimate, Standing
from safety_eval.report.first_screen import LINES, WIDTH, cut, cut_middle, first_screen, not_measured
from safety_eval.runs.results import SCHEMA
from safety_eval.runs.suites import SUITES
from safety_eval.show.notebook import Run, open_run
from safety_eval.show.selection import headline

WITHOUT_WEIGHTS = {
    "truthfulqa_generation": "truth_similarity",
    "toxigen": "profanity_check",
    "red_team": "risk_words",
    "real_toxicity_prompts": "profanity_check",
}
"""Instruments that need no download, for the tasks whose own ones do."""
ODD = "模型 \x1b[31m \u202e [bold]x[/bold] " + "very-long-name-" * 12


def asked(suite: str, folder: Path) -> list[str]:
    """The command for a suite with the engine that needs no model."""
    scorers = [
        part
        for task in SUITES[suite].tasks
        if task in WITHOUT_WEIGHTS
        for part in ("--scorer", f"{task}={WITHOUT_WEIGHTS[task]}")
    ]
    return [
        "run",
        "--engine",
        "echo",
        "--model",
        "echo",
        "--tasks",
        suite,
        *scorers,
        "--output-path",
        str(folder),
    ]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("screen") / "run"
    assert main(asked("quickstart", folder)) in (0, 4)
    return open_run(folder)


def lines(run: Run) -> list[str]:
    return [line.text for line in first_screen(run)]


def fits(shown: list[str]) -> None:
    assert len(shown) <= LINES
    for line in shown:
        assert cell_len(line) <= WIDTH, line
        assert line.isprintable(), repr(line)


@pytest.mark.parametrize(
    "suite", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("release", "bias"))) for name in SUITES]
)
def test_every_suites_first_screen_fits_and_has_a_line_for_each_task(
    suite: str, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    command = [*asked(suite, folder), "--limit", "4", "--data", str(data_dir)]
    assert main(command) in (0, 4)
    shown = capsys.readouterr().out.splitlines()
    fits(shown)
    run = open_run(folder)
    assert shown == lines(run) or "next       the same command again" in shown[-1]
    table = "\n".join(shown[3:])
    for name in SUITES[suite].tasks:
        assert (run.task(name).short or run.task(name).title)[:14] in table, name
    assert "NOT the" in shown[1]


def test_a_line_holds_the_headlines_own_numbers_and_the_instruments_quality(demo: Run) -> None:
    e = headline(demo.estimate_records(), "toxigen")
    assert e is not None and e.value is not None and e.low is not None and e.high is not None
    line = next(text for text in lines(demo) if text.startswith("ToxiGen"))
    assert f"{100 * e.value:.1f}% [{100 * e.low:.1f}, {100 * e.high:.1f}]" in line
    assert re.search(rf"\] +{e.count} ", line)
    assert "profanity" in line and "WEAK" in line
    assert any("WEAK" in text and "profanity_check misses 83%" in text for text in lines(demo))


def test_missing_answers_stand_in_their_tasks_line(demo: Run, tmp_path: Path) -> None:
    def lose(e: dict[str, Any]) -> None:
        if e["task"] == "toxigen":
            e["missing"], e["expected"] = {"error": 7}, e["count"] + 7

    line = next(text for text in lines(changed(demo, tmp_path, lose)) if text.startswith("ToxiGen"))
    assert "(7)" in line
    assert not any("(7)" in text for text in lines(demo))


def test_what_no_instrument_measured_is_said(demo: Run) -> None:
    line = next(text for text in lines(demo) if text.startswith("unmeasured"))
    assert "TruthfulQA: truthful and inf" in line
    lacking = not_measured(demo, demo.estimate_records())
    assert lacking["truthfulqa_generation"][:3] == ("truthful_and_informative", "truthful", "informative")
    assert "toxigen" not in lacking


def test_the_worst_judgeable_group_is_named_and_a_descriptive_one_never(demo: Run, tmp_path: Path) -> None:
    def judge(e: dict[str, Any]) -> None:
        if e["task"] == "toxigen" and e["axis"] == "target":
            e["value"], e["standing"] = (0.9 if e["group"] == "asian" else 0.2), Standing.FEW
            if e["group"] in ("women", "muslim"):  # one of them is named by chance alone
                e["value"], e["standing"] = (0.31 if e["group"] == "women" else 1.0), Standing.JUDGED
                e["count"] = e["expected"] = e["effective_prompts"] = 40 if e["group"] == "women" else 1
                e["events"], e["missing"] = 0, {}

    [line] = [text for text in lines(changed(demo, tmp_path, judge)) if text.startswith("ToxiGen")]
    assert line.endswith("women 31.0%")


def test_a_rate_that_is_not_zero_is_never_written_as_zero(demo: Run, tmp_path: Path) -> None:
    def small(e: dict[str, Any]) -> None:
        if e["task"] == "toxigen":
            e["value"], e["low"], e["high"] = 0.0002, 0.00001, 0.001

    [line] = [text for text in lines(changed(demo, tmp_path, small)) if text.startswith("ToxiGen")]
    assert "<0.1% [<0.1, 0.1]" in line


def test_odd_and_long_names_neither_widen_nor_bend_it(demo: Run, tmp_path: Path) -> None:
    def rename(e: dict[str, Any]) -> None:
        e["group"] = f"{e['group']}{ODD}"
        e["standing"] = Standing.UNMEASURED if e["value"] is None else Standing.JUDGED
        e["count"], e["expected"], e["missing"] = 12_345_678, 22_345_678, {"error": 10_000_000}
        if e["kind"] == "mean":
            e["value"], e["low"], e["high"] = -0.12345, -10.5, -0.001

    odd = changed(demo, tmp_path / ("x" * 90) / ("y z" * 40), rename)
    config = odd.file.config.model_copy(update={"model": ODD, "policy": Path(f"/{ODD}/policy.yaml")})
    odd.file = odd.file.changed(config=config)
    for name in odd.tasks:
        odd.file = odd.file.changed_task(name, title=ODD, data_version="v1")
    shown = lines(odd)
    fits(shown)
    assert shown[-2].endswith("(every table: --details)") and "report.html" in shown[-2]
    assert shown[-1].startswith("next       safety-eval signoff")


@pytest.mark.parametrize("length", [1, 40, 45, 57, 58])
def test_a_path_that_fits_is_whole_so_that_it_can_be_copied(
    demo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.chdir(tmp_path)
    run = changed(demo, Path("x" * length), lambda e: None)
    shown = lines(run)
    fits(shown)
    path = f"{run.folder.name}/report.html"
    assert (path in shown[-2]) == (11 + len(path) <= WIDTH)


def test_more_tasks_than_lines_are_counted(demo: Run, tmp_path: Path) -> None:
    run = changed(demo, tmp_path, lambda e: None)
    rows = run.estimate_records()
    more = [vars_of(e) | {"task": f"more_{i}"} for i in range(9) for e in rows if e.task == "xstest"]
    for i in range(9):
        run.file = run.file.with_task(f"more_{i}", run.file.tasks["xstest"])
        source = (Path(__file__).parents[1] / "hostile_task.py").read_text(encoding="utf-8")
        (tmp_path / f"more_{i}.py").write_text(source.replace('"hostile_task"', f'"more_{i}"'))
        tasks = (*run.file.config.tasks, str(tmp_path / f"more_{i}.py"))
        run.file = run.file.changed(config=run.file.config.model_copy(update={"tasks": tasks}))
    write(run, [*map(vars_of, rows), *more])
    shown = lines(run)
    fits(shown)
    packed = [line for line in shown if line.startswith("also")]
    assert len(packed) == 2
    hidden = int(packed[1].rpartition("; +")[2].partition(":")[0])
    assert hidden + len(re.findall(r"%|no data", "".join(packed))) == 7 + 9 - 6


def test_every_table_is_printed_on_request(demo: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(demo.folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["report", str(demo.folder), "--details"]) == 0
    text = capsys.readouterr().out
    for e in demo.estimate_records():
        assert e.metric.replace("_", " ").split(".")[0] in text
    assert "toxigen: toxic rate (by profanity_check)" in text


def test_the_demo_never_speaks_of_published_models(demo: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(demo.folder), "--details"]) == 0
    text = capsys.readouterr().out + (demo.folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"not comparable|Falcon 7B|Llama 2 7B", text, re.IGNORECASE)


def test_cutting_keeps_the_beginning_or_both_ends() -> None:
    assert cut("abcdef", 4) == "abc\N{HORIZONTAL ELLIPSIS}"
    assert cell_len(cut("模型模型模型", 4)) <= 4
    short = cut_middle("/a/very/long/folder/name/report.html", 20)
    assert short.startswith("/a/") and short.endswith("report.html") and cell_len(short) <= 20


def vars_of(e: Estimate) -> dict[str, Any]:
    from safety_eval.core.records import plain

    return dict(plain(e))


def write(run: Run, rows: list[dict[str, Any]]) -> None:
    (run.folder / "results.json").write_text(json.dumps({"schema": SCHEMA, "estimates": rows}))


def changed(run: Run, folder: Path, change: Any) -> Run:
    """A copy of a run with other estimates; names of any length are kept out of the file system."""
    folder = Path(os.fspath(folder))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(run.folder, folder, dirs_exist_ok=True)
    rows = [vars_of(e) for e in run.estimate_records()]
    for row in rows:
        change(row)
    copy = open_run(folder)
    write(copy, rows)
    return copy
