"""The list of answers holds every answer, and a number's link leads to exactly the answers that the number counted."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from safety_eval.core.errors import UserError
from safety_eval.core.records import key
from safety_eval.report import explorer as explorers
from safety_eval.report.explorer import TaskAnswers, query
from safety_eval.report.explorer import explored as packed
from safety_eval.report.page import write
from safety_eval.report.seen import walk
from safety_eval.show.notebook import Run


def unpacked(content: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(content)))


@pytest.fixture(scope="module")
def html(explored: Run) -> str:
    return (explored.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def index(html: str) -> dict[str, Any]:
    return unpacked(re.search('id="answers-index">([^<]*)<', html).group(1))  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def texts(html: str) -> list[list[str]]:
    return [row for part in re.findall(r'id="answers-texts-\d+">([^<]*)<', html) for row in unpacked(part)]


def fits(index: dict[str, Any], row: int, words: str) -> bool:
    """What the page's script decides, said a second time."""
    wanted = {name: value[0] for name, value in parse_qs(words).items()}
    c, task = index["columns"], index["tasks"][index["columns"]["task"][row]]
    status = index["statuses"][c["status"][row]]
    counted = [task["rates"][i]["name"] for i in index["counted"][c["against"][row]]]
    groups = ["|".join(pair) for pair in index["groups"][c["group"][row]]]
    kinds = index["answered"] if wanted.get("status") == "answered" else [wanted.get("status", status)]
    return (
        task["name"] == wanted["task"]
        and status in kinds
        and ("against" not in wanted or wanted["against"] in counted)
        and ("group" not in wanted or wanted["group"] in groups)
    )


def test_every_answer_is_in_the_page_with_its_key_and_texts(
    explored: Run, index: dict[str, Any], texts: list[list[str]]
) -> None:
    measured = {key(m.output): m for m in explored.measured("explored_task")}
    short = index["columns"]["keys"]
    assert len(short) == len(set(short)) == len(measured) == len(texts) == 120
    for begin, (prompt, answer, *_) in zip(short, texts, strict=True):
        [m] = [m for name, m in measured.items() if name.startswith(begin)]
        assert m.prompt.asked in prompt
        assert "\x1b" not in answer and (m.output.text or "").split("\x1b")[0] in answer


def test_a_numbers_link_leads_to_exactly_the_answers_that_were_counted(explored: Run, index: dict[str, Any]) -> None:
    counting = walk(explored.task("explored_task"), explored.measured("explored_task")).rates
    assert ("toxic_rate", "profanity_check") in counting and ("kept_rate", "refusal") in counting
    looked_at = 0
    for e in explored.estimate_records():
        words = query(e, counting)
        rows = [row for row in range(len(index["columns"]["task"])) if fits(index, row, words)]
        if e.kind == "rate" and e.events is not None:
            bad = e.count - e.events if e.better == "higher" else e.events
            assert len(rows) == bad, (e.cell, words)
            looked_at += bad > 0
    assert looked_at >= 12


def test_those_counted_against_the_model_stand_first(index: dict[str, Any]) -> None:
    flagged = [bool(index["counted"][i]) for i in index["columns"]["against"]]
    assert any(flagged) and flagged == sorted(flagged, reverse=True)


def test_the_other_runs_answers_stand_beside_the_same_prompts(
    explored: Run, index: dict[str, Any], texts: list[list[str]]
) -> None:
    was, now = index["columns"]["was"], index["columns"]["against"]
    toxic = [bool(index["counted"][i]) for i in now]
    before = [i >= 0 and bool(index["counted"][i]) for i in was]
    changed = [row for row in range(120) if toxic[row] and not before[row]]
    assert changed and all("idiots" in texts[row][1] and "long walk" in texts[row][3] for row in changed)


def test_no_text_of_the_run_stands_open_in_the_page(html: str) -> None:
    assert "BROKEN" not in re.sub(r"<details.*?</details>", "", html, flags=re.S)
    assert html.count("<script") == html.count("</script>") == 2 + html.count('id="answers-texts-')


def test_where_there_is_no_room_every_answer_is_listed_and_the_page_says_so(
    explored: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = explored.task("explored_task")
    measured = explored.measured("explored_task")
    seen = walk(task, measured)
    bad = sum(map(bool, seen.against))
    monkeypatch.setattr(explorers, "MOST_CHARACTERS", 150 * bad)
    few = packed({"t": TaskAnswers("T", seen)})
    assert few.owed == few.listed == 120 and 0 < few.told < 120
    rows = [row for part in few.texts for row in unpacked(part)]
    assert sum("no room" in row[1] for row in rows) == 120 - few.told
    assert "no room" not in rows[0][1], "those counted against the model are kept first"
    monkeypatch.setattr(explorers, "MOST_ROWS", bad)
    fewer = packed({"t": TaskAnswers("T", seen)})
    assert (fewer.owed, fewer.listed) == (120, bad)
    assert all(unpacked("".join(fewer.index))["columns"]["against"][row] >= 0 for row in range(bad))


def test_a_run_that_may_not_be_compared_is_refused_beside(explored: Run, tmp_path: Path) -> None:
    from safety_eval.runs import own_code, pipeline
    from safety_eval.runs.config import run_config

    values = {"model": "echo", "engine": "echo", "tasks": explored.file.config.tasks, "seed": 7, "predict_only": True}
    with own_code.allowed(True):
        other = Run(pipeline.run(run_config({**values, "output_path": str(tmp_path / "run")})))
        with pytest.raises(UserError, match="may not be compared"):
            write(explored, baseline=other)
