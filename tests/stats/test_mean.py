"""Intervals of mean scores: equality with scipy, honesty with few clusters and without spread."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from safety_eval.stats import mean as m

TWENTY = np.array(
    [0.0, 0.0, 0.42, 0.38, -0.15, 0.77, 0.0, 0.61, 0.25, -0.4, 0.31, 0.0, 0.55, 0.12, 0.9, 0.05, -0.05, 0.33, 0.48, 0.2]
)


def test_worked_numbers():
    assert m._bca(TWENTY, np.ones(20), 0.025, seed=0) == pytest.approx((0.106, 0.383), abs=1e-6)
    few = m.mean_interval(TWENTY)
    assert (few.value, few.low, few.high) == pytest.approx((0.2385, 0.086639, 0.390361), abs=1e-6)
    assert few.method == "t over clusters, 19 df"


def test_bca_equals_scipy_draw_for_draw():
    x = np.random.default_rng(3).exponential(size=80)
    library = stats.bootstrap((x,), np.mean, n_resamples=9999, rng=np.random.default_rng(5)).confidence_interval
    ours = m.mean_interval(x, seed=5)
    assert (ours.low, ours.high) == pytest.approx((library.low, library.high), abs=1e-12)
    assert ours.method == "BCa over clusters"


def test_chunks_do_not_change_the_draws(monkeypatch):
    x = np.random.default_rng(3).exponential(size=80)
    whole = m.mean_interval(x)
    monkeypatch.setattr(m, "CHUNK", 1000)
    assert m.mean_interval(x) == whole


def test_clusters_are_resampled_whole():
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(60), 10)
    y = rng.normal(size=60)[ids] + 0.1 * rng.normal(size=600)
    by_cluster, by_row = m.mean_interval(y, ids), m.mean_interval(y)
    assert by_cluster.high - by_cluster.low > 2 * (by_row.high - by_row.low)


def test_t_limits_with_weights_equal_the_ratio_formula():
    y, w, ids = np.array([1.0, 2, 4, 3]), np.array([1.0, 2, 1, 1]), [0, 1, 1, 2]
    got = m.mean_interval(y, ids, w)
    a, b = np.array([1.0, 8, 3]), np.array([1.0, 3, 1])
    se = np.sqrt(3 / 2 * (((a - b * 12 / 5) / 5) ** 2).sum())
    assert got.value == pytest.approx(2.4) and got.high - got.value == pytest.approx(stats.t.ppf(0.975, 2) * se)


def test_one_sided_limits_use_the_whole_error_on_one_side():
    upper, both = m.mean_interval(TWENTY, side="upper"), m.mean_interval(TWENTY, level=0.9)
    assert upper.low is None and upper.high == pytest.approx(both.high)
    lower = m.mean_interval(TWENTY, side="lower")
    assert lower.high is None and lower.low == pytest.approx(both.low)


@pytest.mark.parametrize(
    "call",
    [
        lambda: m.mean_interval([0.3, 0.5, 0.2], ["a", "a", "a"]),
        lambda: m.mean_interval([0.4]),
        lambda: m.mean_interval([0.4] * 50),
    ],
)
def test_no_spread_or_one_cluster_has_no_limits(call):
    got = call()
    assert got.low is None and got.high is None and got.method.startswith("none")


def test_equal_scores_of_known_range_get_honest_limits():
    got = m.mean_interval(np.zeros(100), span=(-1, 1), side="upper")
    assert got.high == pytest.approx(1 - 0.05 ** (1 / 100))


def test_memory_stays_flat():
    y = np.random.default_rng(0).normal(size=23_679)
    tracemalloc.start()
    m.mean_interval(y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


@pytest.mark.parametrize(
    "call",
    [
        lambda: m.mean_interval([]),
        lambda: m.mean_interval([1.0, float("nan")]),
        lambda: m.mean_interval([1.0], ["a", "b"]),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError):
        call()
