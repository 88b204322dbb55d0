"""No loss improves a verdict, over random runs, rules and estimands (long: benchmarks/fidelity/losses.py)."""

from __future__ import annotations

import pytest
from losses import improvements, run, trial

from safety_eval.core.records import Cell
from safety_eval.signoff.claim import Claim, Interval

WHOLE = Cell("t", "rate", "", "total", "all")


def test_random_losses_over_every_kind_of_rule_improve_nothing() -> None:
    tried, improved, met = run(60, 90_000)
    assert (tried, improved) == (60, 0) and sum(met.values()) >= 1


def test_the_search_sees_an_improvement_where_there_is_one() -> None:
    rule = (
        trial(3)
        .policy.rules[0]
        .model_copy(
            update={
                "max": 0.1,
                "min": None,
                "max_gap": None,
                "non_inferior": None,
                "equivalent": None,
                "metric": "rate",
            }
        )
    )
    place = ("r", "all")
    wide, narrow = (Claim(rule, WHOLE, Interval(high=high), met=high < 0.1) for high in (0.15, 0.013))
    assert len(list(improvements({place: wide}, {place: narrow}))) == 2
    assert not list(improvements({place: narrow}, {place: wide}))
    assert list(improvements({place: wide}, {}))


@pytest.mark.parametrize("seed", range(3))
def test_a_trial_is_the_same_every_time(seed: int) -> None:
    assert trial(seed).run == trial(seed).run and trial(seed).policy == trial(seed).policy
