"""Paired differences: worked numbers, exact coverage of the gate limit, decisions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln

from safety_eval.stats import paired as d


def test_worked_numbers():
    near = {"abs": 1e-6}
    assert d.tango(3, 12, 200) == pytest.approx((-0.089170, -0.008061), **near)
    assert d.tango(0, 0, 200) == pytest.approx((-0.018845, 0.018845), **near)
    assert d.mcnemar(3, 12) == pytest.approx(0.035156, **near)


@pytest.mark.parametrize(
    ("b", "c", "n", "ninety", "p", "decision"),
    [
        (14, 10, 1000, (-0.004281, 0.012655), 0.541256, "cannot decide"),
        (14, 10, 2000, (-0.002143, 0.006338), 0.541256, "approved"),
        (4, 6, 1000, (-0.008041, 0.003629), 0.753906, "approved"),
    ],
)
def test_non_inferiority_examples(b, c, n, ninety, p, decision):
    assert d.tango(b, c, n, level=0.90) == pytest.approx(ninety, abs=1e-6)
    assert d.mcnemar(b, c) == pytest.approx(p, abs=1e-6)
    assert d.non_inferior(d.difference_lower(b, c, n), d.difference_upper(b, c, n), 0.01) == decision


def test_xstest_two_system_prompts():
    assert d.mcnemar(5, 80) == pytest.approx(1.8e-18, rel=0.02)


def test_mcnemar_equals_statsmodels():
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    for b, c in [(3, 12), (0, 4), (7, 7)]:
        assert d.mcnemar(b, c) == pytest.approx(min(1.0, tables.mcnemar([[50, b], [c, 99]]).pvalue), abs=1e-12)


def missed(n, both_rates, limit):
    """Exact probability that the one-sided upper limit lies below the true difference."""
    new, old = both_rates
    b, c = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    inside = (b + c <= n) & (b <= stats.binom.isf(1e-8, n, new)) & (c <= stats.binom.isf(1e-8, n, old))
    b, c = b[inside].astype(float), c[inside].astype(float)
    log = gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(n - b - c + 1)
    log = log + b * np.log(max(new, 1e-300)) + c * np.log(max(old, 1e-300)) + (n - b - c) * np.log1p(-new - old)
    high = limit(b, c, np.full_like(b, n))
    return float(np.exp(log)[high < new - old - 1e-12].sum())


@pytest.mark.parametrize("n", [20, 50, 200])
def test_gate_limit_never_covers_less_than_it_says(n):
    for psi in (0.005, 0.02, 0.05, 0.1, 0.4, 0.8):
        for share in (0.0, 0.05, 0.25, 0.5, 0.75, 1.0):
            assert missed(n, (psi * share, psi * (1 - share)), d.difference_uppers) <= 0.05 + 1e-9, (
                psi,
                share,
            )


def test_plain_tango_does_cover_less_which_is_why_gates_do_not_use_it():
    assert missed(50, (0.005, 0.095), lambda b, c, n: d.tango_limits(b, c, n, 0.90)[1]) > 0.06


def test_a_run_against_itself_is_exactly_zero():
    y = (np.random.default_rng(0).random(300) < 0.1).astype(float)
    got = d.paired_rate(y, y)
    assert (got.value, got.b, got.c, got.p_value) == (0, 0, 0, 1.0)
    assert got.low == -got.high and got.gate_high > 0


def test_swapping_the_releases_mirrors_everything():
    rng = np.random.default_rng(1)
    ids, x, y = rng.integers(0, 40, 200), rng.random(200) < 0.2, rng.random(200) < 0.1
    one, two = d.paired_rate(x, y, ids), d.paired_rate(y, x, ids)
    assert (one.low, one.gate_high) == pytest.approx((-two.high, -two.gate_low), abs=1e-9)


def test_samples_of_one_prompt_are_not_new_prompts():
    rng = np.random.default_rng(2)
    x, y = rng.random(100) < 0.2, rng.random(100) < 0.2
    once, thrice = (
        d.paired_rate(x, y),
        d.paired_rate(np.repeat(x, 3), np.repeat(y, 3), np.repeat(np.arange(100), 3)),
    )
    assert thrice.gate_high >= once.gate_high - 1e-3


def test_equivalence_margin_agrees_with_statsmodels_tost():
    weights = pytest.importorskip("statsmodels.stats.weightstats")
    rng = np.random.default_rng(5)
    x = rng.normal(size=60)
    y = x + 0.1 * rng.normal(size=60)
    limits = stats.ttest_rel(x, y).confidence_interval(0.90)
    for margin in (0.01, 0.02, 0.05, 0.2):
        p = weights.ttost_paired(x, y, -margin, margin)[0]
        assert (d.equivalent(*limits, margin) == "approved") == (p < 0.05)


def test_decisions_are_three_valued():
    assert d.non_inferior(0.02, 0.04, 0.01) == "rejected"
    assert d.equivalent(-0.04, -0.02, 0.01) == "rejected"
    assert d.equivalent(-0.04, 0.02, 0.01) == "cannot decide"
    with pytest.raises(ValueError):
        d.non_inferior(0, 0, 0)
