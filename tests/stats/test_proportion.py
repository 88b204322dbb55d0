"""Intervals of shares: worked numbers, library cross-checks, properties of the clustered forms."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safety_eval.stats import proportion as p

# k, n, Wilson, Clopper-Pearson, one-sided 95% upper limit
WORKED = [
    (0, 100, (0.0, 0.036993), (0.0, 0.036217), 0.029513),
    (1, 100, (0.001767, 0.054486), (0.000253, 0.054459), 0.046560),
    (2, 604, (0.000909, 0.011992), (0.000401, 0.011910), 0.010386),
    (5, 100, (0.021544, 0.111750), (0.016432, 0.112835), 0.102253),
    (143, 459, (0.270890, 0.355332), (0.269422, 0.356120), 0.349032),
    (34, 40, (0.709277, 0.929388), (0.701647, 0.942898), None),
    (272, 817, (0.301459, 0.365955), None, None),
]
FIVE = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
FIVE_CLUSTERS = np.repeat(np.arange(5), 4)


@pytest.mark.parametrize(("k", "n", "wilson", "exact", "upper"), WORKED)
def test_worked_numbers(k, n, wilson, exact, upper):
    near = {"abs": 1e-6}
    assert p.wilson(k, n) == pytest.approx(wilson, **near)
    assert exact is None or p.clopper_pearson(k, n) == pytest.approx(exact, **near)
    assert upper is None or p.upper_limit(k, n) == pytest.approx(upper, **near)


@pytest.mark.parametrize(("k", "n"), [(0, 7), (1, 7), (7, 7), (13, 500), (250, 500)])
def test_equal_to_the_libraries(k, n):
    exact = stats.binomtest(k, n).proportion_ci()
    score = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert p.clopper_pearson(k, n) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert p.wilson(k, n) == pytest.approx((score.low, score.high), abs=1e-9)


def test_zero_failures_certify_one_percent_only_from_299_prompts():
    assert p.upper_limit(0, 298) > 0.01 >= p.upper_limit(0, 299)
    assert p.upper_limit(0, 58) > 0.05 >= p.upper_limit(0, 59)


def test_korn_graubard_worked_number():
    c = p.clustered(FIVE, FIVE_CLUSTERS)
    assert (c.value, c.se, c.deff) == pytest.approx((0.15, 0.1, 1.568627), abs=1e-6)
    assert p.effective_n(c, 0.025) == pytest.approx(7.245702, abs=1e-6)
    n = p.effective_n(c, 0.025)
    assert p.clopper_pearson(c.value * n, n) == pytest.approx((0.004903, 0.577390), abs=1e-6)


def test_clustered_error_equals_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(4)
    clusters = rng.integers(0, 30, 300)
    y = (rng.random(300) < rng.beta(1, 4, 30)[clusters]).astype(float)
    fit = api.OLS(y, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    assert p.clustered(y, clusters).se == pytest.approx(fit.bse[0], rel=1e-9)


@given(st.integers(0, 60), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_rows_of_their_own_are_plain_clopper_pearson(k, extra):
    y = np.r_[np.ones(k), np.zeros(extra)]
    c = p.clustered(y)
    assert p.korn_graubard_upper(c) == pytest.approx(p.upper_limit(k, y.size), abs=1e-12)
    assert p.korn_graubard_lower(c) == pytest.approx(p.lower_limit(k, y.size), abs=1e-12)


def test_identical_rows_in_a_cluster_count_once():
    y, ids = np.repeat([1.0, *[0.0] * 19], 5), np.repeat(np.arange(20), 5)
    assert p.korn_graubard_upper(p.clustered(y, ids)) >= p.upper_limit(1, 20) - 1e-9


def test_scale_of_weights_and_order_of_rows_change_nothing():
    rng = np.random.default_rng(1)
    y, ids, w = (rng.random(90) < 0.1).astype(float), rng.integers(0, 25, 90), rng.random(90)
    order = rng.permutation(90)
    one, two = p.clustered(y, ids, w), p.clustered(y[order], ids[order], 7 * w[order])
    for limit in (p.korn_graubard_upper, p.korn_graubard_lower):
        assert limit(one) == pytest.approx(limit(two), rel=1e-9)


def test_a_first_failure_never_makes_a_group_look_safer():
    ids = np.repeat(np.arange(100), 5)
    none = p.korn_graubard_upper(p.clustered(np.zeros(500), ids))
    assert none == pytest.approx(p.upper_limit(0, 100))
    assert p.korn_graubard_upper(p.clustered(np.r_[1.0, np.zeros(499)], ids)) >= none


def test_gate_is_never_tighter_than_the_display_number():
    rng = np.random.default_rng(2)
    for _ in range(50):
        ids = np.repeat(np.arange(30), rng.integers(1, 20, 30))
        c = p.clustered(rng.random(ids.size) < rng.beta(0.5, 3, 30)[ids], ids)
        assert p.gate_n(c, 0.025) <= p.effective_n(c, 0.025) * (1 + 1e-9) or c.se == 0


def test_one_cluster_says_almost_nothing():
    assert p.korn_graubard_upper(p.clustered([0.0] * 500, ["a"] * 500)) == pytest.approx(0.95)


def test_lower_and_upper_limits_mirror_each_other():
    c, mirrored = p.clustered(FIVE, FIVE_CLUSTERS), p.clustered(1 - np.array(FIVE), FIVE_CLUSTERS)
    assert p.korn_graubard_lower(c) == pytest.approx(1 - p.korn_graubard_upper(mirrored), abs=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: p.upper_limit(3, 2),
        lambda: p.wilson(-1, 5),
        lambda: p.clustered([]),
        lambda: p.clustered([1, 0], ["a"]),
        lambda: p.clustered([1, 0], weights=[0, 0]),
    ],
)
def test_impossible_counts_are_refused(call):
    with pytest.raises(ValueError):
        call()


def test_twenty_thousand_rows_take_milliseconds():
    rng = np.random.default_rng(0)
    ids = [f"article {i}" for i in rng.integers(0, 4000, 23_679)]
    y = rng.random(23_679) < 0.03
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        p.korn_graubard_upper(p.clustered(y, ids))
        best = min(best, time.perf_counter() - start)
    assert best < 0.1
