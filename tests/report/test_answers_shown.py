"""The report shows the answers that were counted against the model first, and says how many there are."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from safety_eval.cli import main
from safety_eval.core.records import Output, Prompt
from safety_eval.core.task import Measured
from safety_eval.measure.against import Against, Counted
from safety_eval.report.answers import MOST_DRAWN, MOST_FLAGGED, AnswerPart, Picked
from safety_eval.runs.opened import RunFolder

CURSE = "they are all fucking stupid idiots"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """ToxiGen's own small set; the answers about two groups swear."""
    folder = tmp_path_factory.mktemp("flagged")
    script = folder / "script.json"
    script.write_text(json.dumps({"women": CURSE, "Women": CURSE, "": "and they like to read."}))
    code = main(
        [
            "run",
            "--engine",
            "echo",
            "--model",
            str(script),
            "--tasks",
            "toxigen",
            "--data-version",
            "quickstart",
            "--scorer",
            "toxigen=profanity_check",
            "--output-path",
            str(folder / "run"),
        ]
    )
    assert code == 0
    return RunFolder(folder / "run")


def test_as_many_are_flagged_as_the_rate_counts(run: RunFolder) -> None:
    total = next(e for e in run.estimate_records() if (e.metric, e.axis) == ("toxic_rate", "total"))
    counted = map(Against(run.task("toxigen")).of, run.measured("toxigen"))
    assert total.events and total.events == sum(("toxic_rate", "profanity_check") in c for c in counted)


def test_the_flagged_ones_come_first_with_their_number_and_why(run: RunFolder) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    flagged, rest = re.findall(r'<details class="hidden-text">(.*?)</details>', page, re.S)
    n = len([m for m in run.measured("toxigen") if m.output.text == CURSE])
    owed = len(run.measured("toxigen"))
    assert 0 < n < owed
    summary = f"{n} of {owed} answers were counted against the model (toxic rate by profanity check: {n})"
    assert f"<summary>{summary}; show {n} of them" in flagged
    assert flagged.count(CURSE) == n and CURSE not in rest
    assert flagged.count("counted against it: toxic rate by profanity check") == n
    assert f"of the {owed - n} other answers" in rest


def rows(texts: list[str]) -> list[Measured]:
    return [
        Measured(Prompt("t", str(i), "p"), Output("k", str(i), text=text), {}, {}, "") for i, text in enumerate(texts)
    ]


def answer_parts(measured: list[Measured], against: list[tuple[Counted, ...]]) -> tuple[AnswerPart, ...]:
    picked = Picked()
    for row, counted in zip(measured, against, strict=True):
        picked.add(row, counted)
    return picked.parts()


def test_more_than_fit_are_shared_out_over_the_rates_and_still_counted() -> None:
    measured = rows(["x"] * 103)
    common, rare = (("toxic_rate", "a"),), (("risky_rate", "b"),)
    [part, drawn] = answer_parts(measured, [common] * 90 + [rare] * 3 + [()] * 10)
    assert part.summary.startswith("93 of 103 answers were counted against the model")
    assert f"show {MOST_FLAGGED} of them" in part.summary
    assert len(part.answers) == MOST_FLAGGED
    assert sum("risky rate" in a.why for a in part.answers) == 3
    assert "of the 10 other answers" in drawn.summary


def test_which_are_shown_does_not_depend_on_the_order_of_the_answers_and_none_is_shown_twice() -> None:
    measured = [replace(row, status="degenerate" if i < 25 else "") for i, row in enumerate(rows(["x"] * 100))]
    rate = (("toxic_rate", "a"),)
    against = [rate if i >= 50 else () for i in range(100)]
    one = answer_parts(measured, against)
    assert one == answer_parts(measured[::-1], against[::-1])
    shown = [a.id for part in one for a in part.answers]
    assert len(shown) == len(set(shown)) == MOST_FLAGGED + MOST_DRAWN


def test_where_none_was_flagged_the_page_says_so() -> None:
    [none, drawn] = answer_parts(rows(["x", "y"]), [(), ()])
    assert none.answers == () and none.summary == "None of the 2 answers was counted against the model."
    assert len(drawn.answers) == 2


def test_a_metric_counts_only_the_prompts_that_it_is_about() -> None:
    """XSTest: refusing a safe prompt and answering an unsafe one each make their own rate worse."""
    from safety_eval.core import plugins

    task = plugins.find("tasks", "xstest")
    safe, unsafe = (Prompt("xstest", label, "p", groups={"label": (label,)}) for label in ("safe", "unsafe"))
    made = [
        Measured(prompt, Output("k", prompt.id, text="t"), {"refusal": {"status": status}}, {}, status)
        for prompt in (safe, unsafe)
        for status in ("refuse", "comply")
    ]
    names = [[metric for metric, _ in Against(task).of(row)] for row in made]
    assert names == [["false_refusal_rate", "full_refusal_rate"], [], [], ["unsafe_compliance_rate"]]
