"""Coverage of the limits that gate: exact where prompts are independent, simulated where they come in clusters.

The long version, with tables, is benchmarks/fidelity/interval_coverage.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from safety_eval.stats.gate import Shared, effective_answers, gate
from safety_eval.stats.paired import paired_rate
from safety_eval.stats.proportion import (
    clustered,
    effective_n,
    korn_graubard_lower,
    korn_graubard_upper,
    lower_limits,
    upper_limit,
    upper_limits,
    wilson_limits,
)

RATES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@pytest.mark.parametrize("n", [20, 50, 100, 500, 2000, 5000])
def test_one_sided_limits_of_independent_prompts_never_cover_less_than_they_say(n):
    k = np.arange(n + 1.0)
    for alpha in (0.05, 0.01, 0.05 / 26):
        low, high = lower_limits(k, n, alpha), upper_limits(k, n, alpha)
        for p in RATES:
            chance = stats.binom.pmf(k, n, p)
            assert chance[high < p].sum() <= alpha + 1e-9 and chance[low > p].sum() <= alpha + 1e-9


@pytest.mark.parametrize(("n", "p", "coverage"), [(100, 0.005, 0.910), (100, 0.02, 0.949), (500, 0.01, 0.962)])
def test_displayed_interval_covers_as_tabulated(n, p, coverage):
    low, high = wilson_limits(np.arange(n + 1.0), n)
    assert stats.binom.pmf(np.arange(n + 1), n, p)[(low <= p) & (p <= high)].sum() == pytest.approx(coverage, abs=5e-4)


DESIGNS = {
    "equal": np.full(20, 5),
    "samples": np.full(100, 5),
    "mixed": np.r_[np.full(12, 20), np.full(40, 1)],
    "large and single": np.r_[np.full(10, 40), np.full(400, 1)],
    "two dominate": np.r_[np.full(2, 100), np.full(300, 2)],
}
# rate and within-cluster correlation at which the published one-sided form fails worst, or nearly
HARD = [(0.02, 0.5), (0.1, 0.5), (0.1, 1.0), (0.9, 0.5)]


def draw(rng, sizes, p, rho):
    share = rng.random(sizes.size) < p if rho == 1 else rng.beta(p * (1 / rho - 1), (1 - p) * (1 / rho - 1), sizes.size)
    codes = np.repeat(np.arange(sizes.size), sizes)
    return (rng.random(codes.size) < share[codes]).astype(float), codes


@pytest.mark.parametrize("name", DESIGNS)
def test_gates_of_clustered_prompts_hold(name):
    rng, runs, sizes = np.random.default_rng(0), 400, DESIGNS[name]
    for p, rho in HARD:
        missed = np.zeros(4)
        for _ in range(runs):
            y, codes = draw(rng, sizes, p, rho)
            c, ones = clustered(y, codes), np.ones(y.size)
            whole = gate(y, ones, (0.0, 1.0), effective_answers(ones, [Shared(1.0, codes)]), True)
            missed += [korn_graubard_lower(c) > p, korn_graubard_upper(c) < p, whole.low > p, whole.high < p]
        assert missed.max() / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs), (p, rho, missed / runs)


def test_the_published_form_does_not_hold_which_is_why_gates_do_not_use_it():
    rng, missed = np.random.default_rng(0), 0
    for _ in range(300):
        c = clustered(*draw(rng, DESIGNS["large and single"], 0.1, 1.0))
        n = effective_n(c, 0.05)
        missed += upper_limit(c.value * n, n) < 0.1
    assert missed / 300 > 0.2


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_gate_of_clustered_pairs_holds(rho):
    rng, missed, runs = np.random.default_rng(1), 0, 200
    codes = np.repeat(np.arange(40), 5)
    for _ in range(runs):
        own, common = rng.choice(3, 200, p=[0.06, 0.03, 0.91]), rng.choice(3, 40, p=[0.06, 0.03, 0.91])[codes]
        kind = common if rho else own
        missed += paired_rate(kind == 0, kind == 1, codes).gate_high < 0.03
    assert missed / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
