"""'Below 10%' is not met by a limit that is exactly 10%: a policy's bound belongs to what it forbids."""

from __future__ import annotations

import pytest

from safety_eval import policy
from safety_eval.core.records import Estimate, Standing
from safety_eval.signoff import rules

MEASURED = Estimate(
    *("t", "m", "s", "total", "all", "rate", 0.1),
    count=60,
    events=6,
    expected=60,
    lowest=0.1,
    highest=0.1,
    gate_low=0.05,
    gate_high=0.2,
    standing=Standing.JUDGED,
    answers=60.0,
    effective_prompts=60.0,
    effective_clusters=60.0,
    listed=60,
)


def claim(limit: str, bound: float) -> rules.Claim:
    terms = policy.parse(
        "version: 1\nname: exact\nrules:\n"
        f"  - {{id: r, task: t, metric: m, group: all, {limit}: {bound!r}, because: a test}}\n",
        "p",
    )
    [seen] = rules.claims(terms.rules[0], [MEASURED], None, terms)
    return seen


@pytest.mark.parametrize(("limit", "side", "step"), [("max", "high", 1e-12), ("min", "low", -1e-12)])
def test_a_limit_that_is_exactly_reached_is_not_met_and_one_beside_it_is(limit: str, side: str, step: float) -> None:
    reached = getattr(claim(limit, 0.5).interval, side)
    assert 0 < reached < 1
    assert claim(limit, reached).met is False
    assert claim(limit, reached + step).met is True
