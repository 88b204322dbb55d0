"""The verdict box of the report shows a verdict that was checked, and no other."""

from __future__ import annotations

import pytest
from signoff_releases import AT, Planted, case, policy, release

from safety_eval.evidence.standing import Standing, State
from safety_eval.report.verdict_part import verdict_part
from safety_eval.signoff.decision import judge
from safety_eval.signoff.verdict import departures, facts


@pytest.mark.parametrize(
    ("bad", "decision", "css"),
    [(2, "approved", "approved"), (60, "rejected", "rejected"), (22, "cannot decide", "cannot-decide")],
)
def test_the_verdict_stands_on_top_with_its_rules(bad: int, decision: str, css: str) -> None:
    verdict = judge(case(release(Planted(bad=bad))), policy(), AT)
    part = verdict_part(Standing(State.CURRENT, verdict))
    assert (part.css, part.words) == (css, decision.capitalize())
    assert part.rules is not None and part.rules.rows[0].cells[2] == verdict.findings[0].sentence
    assert set(part.remarks) >= {*(b.sentence for b in verdict.blockers), *departures(verdict), *verdict.notes}
    assert {*part.remarks, *part.facts} >= {*facts(verdict), *verdict.history}


def test_a_verdict_that_does_not_hold_is_never_shown() -> None:
    part = verdict_part(Standing(State.STALE, why="run.json was changed"))
    assert part.css == "stale" and part.rules is None and "run.json was changed" in part.about
