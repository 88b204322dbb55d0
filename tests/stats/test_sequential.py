"""Early stopping: boundaries, error at the worst case, prompts saved; the betting e-process."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import betaln, gammaln, logsumexp

from safety_eval.stats import sequential as q
from safety_eval.stats.plan import critical_count


def replay(design, outcomes):
    """Early verdicts ('pass' as True) and stopping times of many runs, shape (runs, total)."""
    total = design.total
    seen = outcomes.cumsum(axis=1)
    low, high = np.array(design.pass_at[1:]), np.array(design.fail_at[1:])
    passed, stop = seen <= low, (seen <= low) | (seen >= high)
    at = np.where(stop.any(axis=1), stop.argmax(axis=1), total - 1)
    early = passed[np.arange(len(seen)), at]
    return np.where(stop.any(axis=1), early, seen[:, -1] <= design.critical), at + 1


def test_first_possible_passes():
    assert q.boundaries(500, 16).pass_at.index(0) == 135
    assert q.boundaries(1000, 38).pass_at.index(0) == 129


def test_boundaries_equal_the_plain_sum():
    total, critical, error = 60, 4, 0.05
    design = q.boundaries(total, critical, error)
    k = np.arange(total + 1)

    def choose(n, r):
        inside = (r >= 0) & (r <= n)
        r = np.clip(r, 0, n)
        return np.where(inside, gammaln(n + 1) - gammaln(r + 1) - gammaln(n - r + 1), -np.inf)

    weight = choose(total, k) + betaln(k + 0.5, total - k + 5) - betaln(0.5, 5)
    for t in range(1, total + 1):
        for s in range(0, min(t, critical + 1) + 1):
            hyper = choose(k, s) + choose(total - k, t - s)
            good = logsumexp((weight + hyper)[: critical + 1]) - logsumexp(weight[: critical + 1])
            bad = logsumexp((weight + hyper)[critical + 1 :]) - logsumexp(weight[critical + 1 :])
            assert (good - hyper[critical + 1] >= math.log(1 / error)) == (s <= design.pass_at[t])
            sure = s > critical if np.isneginf(hyper[critical]) else bad - hyper[critical] >= math.log(1 / error)
            assert sure == (s >= design.fail_at[t])


@pytest.mark.parametrize(("total", "limit"), [(200, 0.05), (500, 0.05), (1000, 0.01)])
def test_a_verdict_of_the_full_run_is_missed_in_at_most_one_percent_at_the_worst_case(total, limit):
    critical = critical_count(total, limit)
    design, runs = q.boundaries(total, critical), 3000
    for bad in (critical, critical + 1):
        outcomes = np.random.default_rng(7).permuted(np.tile(np.arange(total) < bad, (runs, 1)), axis=1)
        verdict, _ = replay(design, outcomes)
        wrong = int((verdict != (bad <= critical)).sum())
        assert stats.binomtest(wrong, runs, 0.01, alternative="greater").pvalue > 0.001


def test_a_good_model_needs_half_of_the_prompts():
    design = q.boundaries(500, critical_count(500, 0.05))
    _, at = replay(design, np.random.default_rng(1).random((2000, 500)) < 0.01)
    assert 1 - at.mean() / 500 >= 0.5


def test_the_full_run_is_always_decided_and_boundaries_never_cross():
    design = q.boundaries(120, 2)
    assert design.decide(2, 120) == "pass" and design.decide(3, 120) == "not pass"
    assert all(low < high for low, high in zip(design.pass_at, design.fail_at, strict=True))
    assert design.decide(0, 0) is None
    assert np.all(np.diff(design.pass_at) >= 0)
    with pytest.raises(ValueError):
        design.decide(3, 2)


def test_a_large_suite_is_planned_in_a_second():
    assert q.boundaries(6514, 290).pass_at[-1] == 290
