"""Planning: worked numbers and agreement with the limits that a run will be judged by."""

from __future__ import annotations

import pytest

from safety_eval.stats import plan
from safety_eval.stats.proportion import upper_limit

NEAR = {"abs": 1e-6}


@pytest.mark.parametrize(
    ("limit", "n", "k"),
    [
        (0.05, 58, -1),
        (0.05, 59, 0),
        (0.05, 100, 1),
        (0.05, 200, 4),
        (0.05, 500, 16),
        (0.05, 1000, 38),
        (0.01, 298, -1),
        (0.01, 299, 0),
        (0.01, 500, 1),
        (0.01, 1000, 4),
    ],
)
def test_critical_counts(limit, n, k):
    assert plan.critical_count(n, limit) == k
    assert upper_limit(k + 1, n) >= limit and (k < 0 or upper_limit(k, n) < limit)


@pytest.mark.parametrize(
    ("n", "row"),
    [
        (300, (0.999669, 0.954164, 0.119678, 0.000034)),
        (500, (1.0, 0.999775, 0.712468, 0.005033)),
        (1000, (1.0, 1.0, 0.998824, 0.435623)),
    ],
)
def test_chance_that_thirteen_groups_pass(n, row):
    got = [plan.all_pass_probability([n] * 13, 0.05, rate) for rate in (0.005, 0.01, 0.02, 0.03)]
    assert got == pytest.approx(row, **NEAR)


@pytest.mark.parametrize(
    ("n", "limit", "rate", "chance"),
    [
        (100, 0.05, 0.02, 0.403272),
        (200, 0.05, 0.02, 0.628844),
        (500, 0.05, 0.02, 0.974259),
        (1000, 0.05, 0.02, 0.99991),
        (298, 0.01, 0.002, 0.0),
        (299, 0.01, 0.002, 0.549581),
        (500, 0.01, 0.002, 0.735759),
        (1000, 0.01, 0.002, 0.947528),
    ],
)
def test_chance_that_one_group_passes(n, limit, rate, chance):
    assert plan.pass_probability(n, limit, rate) == pytest.approx(chance, **NEAR)


def test_clusters_cost_prompts():
    assert plan.critical_count(500, 0.05, effective=250) < plan.critical_count(500, 0.05)
    assert plan.pass_probability(500, 0.05, 0.02, deff=2) == plan.pass_probability(250, 0.05, 0.02)


def test_prompts_needed_reaches_the_chance_and_one_less_does_not():
    n = plan.prompts_needed(0.05, 0.02, chance=0.8, groups=13)
    assert plan.all_pass_probability([n] * 13, 0.05, 0.02) >= 0.8
    assert plan.all_pass_probability([n - 1] * 13, 0.05, 0.02) < 0.8
    assert plan.prompts_needed(0.05, 0.05) is None


def test_paired_sizes():
    assert plan.paired_prompts_needed(0.04, 0.02) == 619
    assert plan.paired_prompts_needed(0.04, 0.01) == 2474
    with pytest.raises(ValueError):
        plan.paired_prompts_needed(0.04, 0.01, difference=0.01)


def test_impossible_plans_are_refused():
    with pytest.raises(ValueError):
        plan.critical_count(0, 0.05)
