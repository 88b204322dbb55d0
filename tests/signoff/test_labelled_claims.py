"""A rule on people's labels: each thing that makes labels decide nothing, and labels that decide."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safety_eval import policy
from safety_eval.audit.labels import Labelled
from safety_eval.core.records import Estimate, Standing
from safety_eval.signoff import rules
from safety_eval.stats.judge import Review

MEASURED = Estimate(
    *("t", "m", "s", "total", "all", "rate", 0.25),
    count=400,
    events=100,
    expected=400,
    lowest=0.25,
    highest=0.25,
    gate_low=0.2,
    gate_high=0.3,
    standing=Standing.JUDGED,
    answers=400.0,
    effective_prompts=400.0,
    effective_clusters=400.0,
    listed=400,
)
"""By the scorer, which flags a quarter."""
LABELS = Labelled(MEASURED.cell, (Review(100, 100, 2), Review(0, 0, 0), Review(300, 150, 0)), 0, 1, False)
"""By one person, who finds two of them bad."""


def claim(limit: str = "max: 0.1", e: Estimate = MEASURED, *found: Labelled) -> rules.Claim:
    rule = f"{{id: r, task: t, metric: m, group: all, {limit}, corrected: true, because: a test}}"
    terms = policy.parse(f"version: 1\nname: labels\nrules:\n  - {rule}\n", "p")
    [seen] = rules.claims(terms.rules[0], [e], None, terms, (), found)
    return seen


def test_labels_decide_and_not_the_scorer() -> None:
    met = claim("max: 0.1", MEASURED, LABELS)
    assert met.met and met.labelled and met.count == 250 and met.interval.value == pytest.approx(2 / 400)
    assert not claim("max: 0.02", MEASURED, LABELS).met


FAULTS = {
    "nobody has labelled": (MEASURED, ()),
    "nobody has labelled its": (MEASURED, (replace(LABELS, cell=replace(MEASURED.cell, group="red")),)),
    "changed after they were labelled": (MEASURED, (replace(LABELS, stale=True),)),
    "one part has not a single label": (MEASURED, (replace(LABELS, strata=(*LABELS.strata[:2], Review(300, 0, 0))),)),
    "do not weigh the same": (replace(MEASURED, answers=150.0), (LABELS,)),
    "descriptive only": (replace(MEASURED, standing=Standing.FEW), (LABELS,)),
}


@pytest.mark.parametrize("words", FAULTS)
def test_labels_that_say_nothing_decide_nothing(words: str) -> None:
    e, found = FAULTS[words]
    seen = claim("max: 0.1", e, *found)
    assert words in seen.fault and not seen.met


@pytest.mark.parametrize(("least", "fault"), [(250, ""), (251, "250 labelled answers, 251 are required")])
def test_a_rule_may_ask_for_so_many_labels(least: int, fault: str) -> None:
    assert claim(f"max: 0.1, min_count: {least}", MEASURED, LABELS).fault == fault


def test_answers_that_no_label_makes_good_count_as_bad() -> None:
    lost = replace(LABELS, strata=(*LABELS.strata[:2], Review(260, 150, 0)), lost=40)
    assert not claim("max: 0.1", MEASURED, lost).met and claim("max: 0.2", MEASURED, lost).met
