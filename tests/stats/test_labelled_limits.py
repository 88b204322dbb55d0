"""Limits by people's labels pay for both unknowns: answers that nobody labelled, and what the prompts stand for."""

from __future__ import annotations

from safety_eval.stats.judge import Review, two_phase
from safety_eval.stats.labelled import SeenLabels
from safety_eval.stats.limits import SeenShare

NONE = Review(0, 0, 0)


def test_where_every_answer_has_a_label_the_prompts_still_cost_and_the_labels_are_paid_for() -> None:
    every = SeenLabels((Review(100, 100, 10), NONE, Review(300, 300, 0)), 0, answers=400)
    share = SeenShare(10 / 400, 10 / 400, 400)
    assert every.value == 10 / 400
    assert every.upper(0.95) > share.upper(0.95) and every.lower(0.95) < share.lower(0.95)


def test_where_the_prompts_are_all_that_there_is_the_labels_still_cost() -> None:
    strata = (Review(100, 100, 10), NONE, Review(300, 100, 1))
    some, alone = SeenLabels(strata, 0, answers=1e9), two_phase(strata, 0, 0.9)
    assert some.upper(0.95) > alone.high + 1e-3 and some.lower(0.95) < alone.low


def test_answers_that_no_label_makes_good_count_at_either_end() -> None:
    strata = (Review(100, 100, 10), NONE, Review(300, 300, 0))
    whole, lost = SeenLabels(strata, 0, 400), SeenLabels(strata, 40, 440)
    assert (lost.low_value, lost.high_value) == (10 / 440, 50 / 440)
    assert lost.upper(0.95) > whole.upper(0.95)
