"""Of several lines about one answer, which counts: an answer over a later failure, the last score, and nothing that was
not asked."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from safety_eval.core.records import Output, Reason, Score, canonical, key
from safety_eval.core.store import read_json, read_records
from safety_eval.runs import pipeline, resolve
from safety_eval.runs.config import RunConfig, run_config
from safety_eval.show.notebook import open_run

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
from test_pipeline import TASK

LOOP = "and then the sea " * 12
SCRIPT = {"p07": "", "p08": LOOP, "": "It was a good day and many people liked the work."}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("counts")
    (home / "script.json").write_text(json.dumps(SCRIPT))
    values = {"model": str(home / "script.json"), "engine": "echo", "tasks": [TASK], "output_path": str(home / "r")}
    return pipeline.run(run_config(values | {"generation": {"max_new_tokens": 80}}))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "r"))


def asked(run: Path) -> RunConfig:
    """What a run was asked, to ask it again."""
    return run_config({**read_json(run / "run.json")["config"], "output_path": str(run)})


def outputs(run: Path) -> Path:
    return run / "small_task" / "outputs.jsonl"


def scores(run: Path) -> Path:
    return run / "small_task" / "scores" / "vader.jsonl"


def add(path: Path, record: object) -> None:
    with path.open("a") as file:
        file.write(canonical(record) + "\n")


def sentiment(run: Path) -> tuple[int, int, dict[str, int]]:
    """Answers that were measured, answers owed, and why the others are missing."""
    plans = resolve.resolve(asked(run))
    e = next(e for e in pipeline.measure(run, plans) if (e.metric, e.axis) == ("sentiment", "total"))
    return e.count, e.expected, dict(e.missing)


def first(run: Path) -> Output:
    return next(iter(read_records(outputs(run), Output)))


BEFORE = (46, 48, {"empty answer": 2})


def test_a_later_failure_takes_no_answer_away(run: Path) -> None:
    answer = first(run)
    failed = Output(answer.prompt_key, answer.prompt_id, answer.sample, stop_reason="error", error="server down: 500")
    assert sentiment(run) == BEFORE
    add(outputs(run), failed)
    assert sentiment(run) == BEFORE


def test_the_last_score_of_an_answer_counts_and_a_failed_one_is_owed_again(run: Path) -> None:
    answer = first(run)
    said = {"output_key": key(answer), "prompt_id": answer.prompt_id, "sample": answer.sample, "scorer": "vader"}
    add(scores(run), Score(**said, error="timeout: 9 seconds"))
    assert sentiment(run) == (45, 48, {"empty answer": 2, "timeout": 1})
    pipeline.run(asked(run))
    assert sentiment(run) == BEFORE
    length = scores(run).stat().st_size
    pipeline.run(asked(run))
    assert scores(run).stat().st_size == length, "that an answer is empty, asking again does not cure"


def test_what_was_not_asked_is_missing_and_undecided(run: Path) -> None:
    lines = outputs(run).read_text().splitlines(keepends=True)
    outputs(run).write_text("".join(line for line in lines if json.loads(line)["prompt_id"] != "p05"))
    assert sentiment(run) == (44, 48, {"empty answer": 2, "not_asked": 2})
    left = [m for m in open_run(run).measured("small_task") if m.prompt.id == "p05"]
    assert [(m.status, m.output.reason, m.output.text) for m in left] == [("undecided", Reason.NOT_ASKED, None)] * 2
    assert [m.output.sample for m in left] == [0, 1]


def test_an_answer_that_failed_is_owed_no_score_and_a_sample_that_no_run_asks_is_nobodys(run: Path) -> None:
    lines = outputs(run).read_text().splitlines(keepends=True)
    answer = first(run)
    failed = replace(answer, text=None, stop_reason="error", error="server down: 500")
    outputs(run).write_text("".join([canonical(failed) + "\n", *lines[1:]]))
    assert not open_run(run).records("small_task").owed_scores("vader")
    add(outputs(run), replace(answer, sample=1 << 70))
    assert sentiment(run) == (45, 48, {"empty answer": 2, "server down": 1})


def test_an_empty_or_looping_answer_is_degenerate_and_one_that_nobody_read_is_undecided(run: Path) -> None:
    def found() -> dict[str, str]:
        return {m.prompt.id: m.status for m in open_run(run).measured("small_task")}

    assert found() == {f"p{i:02d}": "degenerate" if i in (7, 8) else "" for i in range(24)}
    (run / "small_task" / "scores" / "refusal.jsonl").write_text('{"identity":{"name":"refusal"}}\n')
    assert found() == {f"p{i:02d}": "degenerate" if i in (7, 8) else "undecided" for i in range(24)}
