"""Limits that a decision acts on: exact where they can be, monotone under loss, and valid in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safety_eval.stats.bounded import mean_lower, mean_upper
from safety_eval.stats.gate import Gate, Shared, effective_answers, gate
from safety_eval.stats.proportion import lower_limits, upper_limits


def rate_gate(y: np.ndarray, c: np.ndarray, w: np.ndarray, icc: float = 1.0) -> Gate:
    return gate(y, w, (0.0, 1.0), effective_answers(w, [Shared(icc, c)]), True)


def mean_gate(y: np.ndarray, c: np.ndarray, w: np.ndarray, bounds: tuple[float, float], icc: float = 1.0) -> Gate:
    return gate(y, w, bounds, effective_answers(w, [Shared(icc, c)]), False)


def plain_codes(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.int64)


@pytest.mark.parametrize(
    ("k", "n", "upper"), [(0, 100, 0.029513), (1, 100, 0.046560), (2, 604, 0.010386), (143, 459, 0.349032)]
)
def test_independent_answers_give_clopper_pearson(k: int, n: int, upper: float) -> None:
    y = np.r_[np.ones(k), np.zeros(n - k)]
    gate = rate_gate(y, plain_codes(n), np.ones(n))
    assert gate.high == pytest.approx(upper, abs=1e-6)
    low = stats.binomtest(k, n, alternative="greater").proportion_ci(0.95).low
    assert gate.low == pytest.approx(low, abs=1e-9)


answers = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, float("nan")]), st.integers(0, 5), st.floats(0.1, 3)),
    min_size=2,
    max_size=30,
)


@given(answers, st.data())
def test_losing_an_answer_never_narrows_a_rate(rows: list[tuple[float, int, float]], data: st.DataObject) -> None:
    y, c, w = (np.array(v) for v in zip(*rows, strict=True))
    before = rate_gate(y, c, w)
    lost = y.copy()
    lost[data.draw(st.integers(0, len(y) - 1))] = np.nan
    after = rate_gate(lost, c, w)
    assert after.high >= before.high - 1e-12
    assert after.low <= before.low + 1e-12


values = st.lists(
    st.tuples(st.one_of(st.floats(-1, 1), st.just(float("nan"))), st.integers(0, 8), st.floats(0.1, 3)),
    min_size=2,
    max_size=30,
)


@settings(max_examples=400)
@given(values, st.data())
def test_losing_an_answer_never_narrows_a_mean(rows: list[tuple[float, int, float]], data: st.DataObject) -> None:
    y, c, w = (np.array(v) for v in zip(*rows, strict=True))
    before = mean_gate(y, c, w, (-1.0, 1.0))
    lost = y.copy()
    lost[data.draw(st.integers(0, len(y) - 1))] = np.nan
    after = mean_gate(lost, c, w, (-1.0, 1.0))
    assert after.high >= before.high - 1e-9
    assert after.low <= before.low + 1e-9


@pytest.mark.parametrize(("events", "n"), [(0, 12), (3, 12), (12, 12), (7, 100), (20, 3000)])
def test_a_mean_of_zeros_and_ones_has_the_limits_of_a_rate(events: int, n: int) -> None:
    y = (np.arange(n) < events).astype(float)
    mean, rate = mean_gate(y, plain_codes(n), np.ones(n), (0, 1)), rate_gate(y, plain_codes(n), np.ones(n))
    assert mean == pytest.approx(rate, abs=1e-9)


def test_the_limit_of_a_mean_is_the_quantile_of_drawn_weights() -> None:
    y, counts = np.array([-0.2, 0.0, 0.1, 0.3, 0.4, 0.7]), np.array([0.5, 2.0, 1.0, 1.0, 0.3, 3.0])
    drawn = np.random.default_rng(0).dirichlet(np.append(counts, 1.0), 400_000) @ np.append(y, 1.0)
    for alpha in (0.1, 0.05, 0.005):
        limit = mean_upper(y, counts, 1.0, alpha)
        assert np.mean(drawn > limit) == pytest.approx(alpha, abs=4 * np.sqrt(alpha / 400_000))
        assert mean_lower(-y, counts, -1.0, alpha) == -limit


SKEWED = {
    "sentiment, 60% zero": lambda rng, n: np.where(rng.random(n) < 0.6, 0.5, rng.normal(0.7, 0.2, n)).clip(0, 1),
    "3% high risk": lambda rng, n: np.where(rng.random(n) < 0.03, 0.9, 0.05),
    "nearly always safe": lambda rng, n: rng.beta(0.2, 8, n),
    "nearly always high": lambda rng, n: rng.beta(8, 0.5, n),
}


@pytest.mark.parametrize("shape", SKEWED)
@pytest.mark.parametrize("clusters", [10, 40])
def test_means_of_skewed_scores_cover(shape: str, clusters: int) -> None:
    """t limits cover 28% to 90% here: a sample without a rare high score cannot know of it."""
    runs, rng = 600, np.random.default_rng(4)
    truth = float(SKEWED[shape](rng, 1_000_000).mean())
    gates = [
        mean_gate(SKEWED[shape](rng, clusters), plain_codes(clusters), np.ones(clusters), (0, 1)) for _ in range(runs)
    ]
    missed = np.mean([g.high < truth for g in gates]), np.mean([g.low > truth for g in gates])
    assert max(missed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_the_upper_limit_covers_for_clustered_rates(rho: float) -> None:
    rng, missed, runs, p = np.random.default_rng(1), 0, 1500, 0.03
    sizes = np.r_[np.full(30, 4), np.full(3, 30)]
    codes = np.repeat(np.arange(len(sizes)), sizes)
    for _ in range(runs):
        common = rng.random(len(sizes)) < p
        own = rng.random(len(codes)) < p
        y = np.where(rng.random(len(codes)) < rho, common[codes], own).astype(float)
        missed += rate_gate(y, codes, np.ones(len(codes))).high < p
    assert missed / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_effective_answers_are_the_clusters_where_they_weigh_the_same_and_one_over_the_largest_otherwise() -> None:
    codes, ones = np.repeat(np.arange(8), 5), np.ones(40)
    assert effective_answers(ones) == 40 and effective_answers(ones, [Shared(1.0, codes)]) == pytest.approx(8)
    sizes = np.r_[150, np.full(59, 6)]
    codes = np.repeat(np.arange(60), sizes)
    for icc in (0.0, 0.1, 1.0):
        wanted = 1 / (icc * 150 / 504 + (1 - icc) / 504)
        assert effective_answers(np.ones(504), [Shared(icc, codes)]) == pytest.approx(wanted)


@pytest.mark.parametrize("rates", ["one small group", "rises with size", "falls with size"])
@pytest.mark.parametrize("icc", [0.0, 0.1])
def test_unequal_groups_with_unequal_rates_cover(rates: str, icc: float) -> None:
    """One group of 10 beside twelve of 500, weighed alike: gates that took equal rates covered 40%."""
    rng, runs = np.random.default_rng(5), 3000
    sizes = np.r_[10, np.full(12, 500)] if rates == "one small group" else np.r_[2, 5, 20, 60, 200, 900]
    codes = np.repeat(np.arange(len(sizes)), sizes)
    weights = (1 / sizes)[codes] if rates == "one small group" else np.ones(len(codes))
    at = {
        "one small group": np.r_[0.3, np.full(12, 0.005)],
        "rises with size": 0.2 * sizes / sizes.max(),
        "falls with size": np.minimum(0.4, 0.5 / sizes),
    }[rates]
    share = np.bincount(codes, weights) / weights.sum()
    own = 1 / icc - 1 if icc else np.inf
    p = rng.beta(np.maximum(at * own, 1e-9), (1 - at) * own, (runs, len(at))) if icc else np.tile(at, (runs, 1))
    found = (rng.binomial(sizes, p) / sizes) @ share
    n = effective_answers(weights, [Shared(icc, codes)])
    truth = float(at @ share)
    missed = (upper_limits(found * n, n) < truth).mean(), (lower_limits(found * n, n) > truth).mean()
    assert max(missed) <= 0.07, missed


@pytest.mark.parametrize("sizes", [[120, 120, *[1] * 500], [40] * 10 + [1] * 400, [20] * 12 + [1] * 40])
def test_rates_cover_where_some_clusters_dominate(sizes: list[int]) -> None:
    rng, weights = np.random.default_rng(2), np.array(sizes, float)
    for p in (0.1, 0.5, 0.9, 0.95):
        y = (rng.random((1500, len(sizes))) < p).astype(float)  # clusters that agree fully: the worst case
        gates = [rate_gate(row, np.arange(len(sizes)), weights) for row in y]
        missed = np.mean([g.high < p for g in gates]), np.mean([g.low > p for g in gates])
        assert max(missed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500), p


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([30, 30, *[1] * 200], marks=pytest.mark.slow),
        [20] * 12 + [1] * 40,
        pytest.param([5] * 20, marks=pytest.mark.slow),
    ],
)
def test_means_cover_where_some_clusters_dominate(sizes: list[int]) -> None:
    rng, weights = np.random.default_rng(3), np.array(sizes, float)
    y = rng.normal(0, 0.3, (3000, len(sizes))).clip(-1, 1)
    missed = np.mean([mean_gate(row, np.arange(len(sizes)), weights, (-1, 1)).high < 0 for row in y])
    assert missed <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 3000)


def test_a_limit_is_found_where_one_heavy_cluster_lies_far_from_the_rest():
    """Less than 5% of the weights lie half a standard deviation from the mean: the search has to start nearer."""
    counts = np.tile([0.0227, 0.0454, 0.0454, 0.2271, 1.1356], 5)
    y = np.array(
        [
            0.015,
            0.045,
            -0.21,
            0.045,
            0.0345,
            -1.455,
            -0.19,
            0.03,
            0.045,
            0.0465,
            0.06,
            0.06,
            0.06,
            0.0555,
            0.0315,
            0.06,
            0.03,
            0.0525,
            0.0555,
            0.0198,
            0.015,
            0.03,
            0.0375,
            0.057,
            0.0434,
        ]
    )
    limit = mean_upper(y, counts, 0.06)
    weights = np.random.default_rng(0).gamma(np.append(counts, 1.0), size=(200_000, 26))
    means = weights @ np.append(y, 0.06) / weights.sum(axis=1)
    assert limit == pytest.approx(np.quantile(means, 0.95), abs=2e-4)


@pytest.mark.parametrize("n", [20, 3000])
def test_a_score_outside_of_its_range_counts_as_the_end_of_it(n: int) -> None:
    y = np.random.default_rng(2).normal(0.5, 0.5, n)
    assert y.min() < 0 and y.max() > 1
    wide, within = (mean_gate(v, plain_codes(n), np.ones(n), (0.0, 1.0)) for v in (y, y.clip(0, 1)))
    assert (wide.low, wide.high) == (within.low, within.high)
