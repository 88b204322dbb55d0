"""What a rule looks at, to the edge: a limit that is exactly reached is not met, and groups too small to be judged are
neither required nor a fault."""

from __future__ import annotations

from dataclasses import replace

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


def test_groups_too_small_to_be_judged_are_left_out_of_every_group() -> None:
    """Judged, they would block approval for good: no rate of three prompts is shown to lie below a limit."""
    large = [replace(MEASURED, axis="team", group=name) for name in ("red", "blue")]
    small = replace(large[0], group="green", count=3, expected=3, standing=Standing.FEW, reason="3 prompts on its list")
    rule = "{id: r, task: t, metric: m, group: every team, max: 0.5, because: a test}"
    terms = policy.parse(f"version: 1\nname: exact\nrules:\n  - {rule}\n", "p")
    seen = rules.claims(terms.rules[0], [*large, small], None, terms)
    assert [c.cell.group for c in seen] == ["red", "blue"] and not any(c.fault for c in seen)


def of_teams(more: str, *found: Estimate) -> list[rules.Claim]:
    rule = f"{{id: r, task: t, metric: m, max: 0.5, because: a test, {more}}}"
    terms = policy.parse(f"version: 1\nname: exact\nrules:\n  - {rule}\n", "p")
    return rules.claims(terms.rules[0], found, None, terms)


def test_a_rule_that_several_instruments_could_answer_must_name_one() -> None:
    other = replace(MEASURED, scorer="s2", value=0.9)
    [unnamed] = of_teams("group: all", MEASURED, other)
    assert "several instruments (s, s2)" in unnamed.fault and not unnamed.met
    [named] = of_teams("group: all, scorer: s", MEASURED, other)
    assert named.met and named.cell.scorer == "s"


@pytest.mark.parametrize(("least", "fault"), [(60, ""), (61, "60 measured answers, 61 are required")])
def test_a_rule_may_ask_for_so_many_measured_answers(least: int, fault: str) -> None:
    [seen] = of_teams(f"group: all, min_count: {least}", MEASURED)
    assert (seen.fault, seen.met) == (fault, not fault)


@pytest.mark.parametrize(
    ("least", "fault"), [(2, ""), (3, "only 2 groups can be gated (10 prompts on the list), 3 are")]
)
def test_a_rule_may_ask_for_so_many_groups(least: int, fault: str) -> None:
    teams = [replace(MEASURED, axis="team", group=name) for name in ("red", "blue")]
    faults = [c.fault for c in of_teams(f"group: every team, min_groups: {least}", *teams) if c.fault]
    assert len(faults) == bool(fault) and all(found.startswith(fault) for found in faults)
