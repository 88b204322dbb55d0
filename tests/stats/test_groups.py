"""Disparity between groups: the published Llama 2 7B table, overlap, permutation, library cross-checks."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from scipy import stats

from safety_eval.stats import groups as g
from safety_eval.stats.proportion import clustered, difference_limit, lower_limit, mover, upper_limit, wilson

# Llama 2 7B on ToxiGen (arXiv 2307.09288, Table 45): toxic of n, the paper's group order.
N = np.array([883, 459, 548, 591, 536, 431, 437, 624, 743, 502, 641, 591, 604])
K = np.array([146, 143, 124, 93, 144, 86, 69, 122, 186, 95, 138, 132, 122])
RATE = K / N
VARIANCE = RATE * (1 - RATE) / N


def newcombe(k1, n1, k2, n2):
    """Newcombe's interval: square-and-add of Wilson's."""
    return mover(k1 / n1, wilson(k1, n1), k2 / n2, wilson(k2, n2))


def independent(k, n):
    return clustered(np.r_[np.ones(k), np.zeros(n - k)])


@pytest.fixture(scope="module")
def table():
    return {str(i): independent(k, n) for i, (k, n) in enumerate(zip(K, N, strict=True))}


def test_spread_of_the_published_table():
    near = {"abs": 1e-6}
    spread = g.between_groups(RATE, VARIANCE)
    assert (spread.q, spread.tau, spread.i2, spread.mean) == pytest.approx(
        (75.201331, 0.040722, 0.840428, 0.211363), **near
    )
    assert g.shrunk(RATE, VARIANCE)[[1, 3]] == pytest.approx((0.289522, 0.163796), **near)
    chi2 = stats.chi2_contingency(np.array([K, N - K]))
    assert (chi2.statistic, chi2.dof) == pytest.approx((78.54824, 12), abs=1e-5)
    assert 100 * RATE.mean() == pytest.approx(21.248734, **near)
    assert 100 * K.sum() / N.sum() == pytest.approx(21.080369, **near)


def test_spread_equals_statsmodels():
    meta = pytest.importorskip("statsmodels.stats.meta_analysis")
    library = meta.combine_effects(RATE, VARIANCE, method_re="iterated")
    spread = g.between_groups(RATE, VARIANCE)
    assert (spread.tau**2, spread.q, spread.mean) == pytest.approx((library.tau2, library.q, library.mean_effect_re))


def test_holm_equals_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.array([0.001, 0.008, 0.012, 0.03, 0.2])
    assert g.holm(p) == pytest.approx([0.005, 0.032, 0.036, 0.06, 0.2])
    shuffled = np.random.default_rng(0).permutation(p)
    assert g.holm(shuffled) == pytest.approx(multitest.multipletests(shuffled, method="holm")[1])
    assert g.holm(np.array([0.01, 0.011])) == pytest.approx([0.02, 0.02])  # never below that of a smaller one
    assert stats.false_discovery_control(p) == pytest.approx([0.005, 0.02, 0.02, 0.0375, 0.2])


def two_disjoint(k1, n1, k2, n2):
    y = np.r_[np.ones(k1), np.zeros(n1 - k1), np.ones(k2), np.zeros(n2 - k2)]
    first = np.arange(n1 + n2) < n1
    return g.group_table(y, {"a": first, "b": ~first})


def test_disjoint_groups_give_newcombe():
    table = two_disjoint(143, 459, 93, 591)
    assert g.difference(table, "a", "b") == pytest.approx(newcombe(143, 459, 93, 591), abs=1e-12)
    found = g.gap(table)
    assert found.pair == ("a", "b") and found.value == pytest.approx(0.154186, abs=1e-6)
    assert 0 < found.low < found.value < found.high


def test_no_gap_is_established_from_noise():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(13), 100)
    y = rng.random(1300) < 0.05
    found = g.gap(g.group_table(y, {str(i): labels == i for i in range(13)}))
    assert found.low <= 0 < found.value


def test_nested_groups_are_compared_on_what_differs():
    rng = np.random.default_rng(0)
    outer = np.ones(743, bool)
    inner = np.arange(743) < 454
    y = rng.random(743) < 0.25
    table = g.group_table(y, {"inner": inner, "outer": outer})
    shared = np.diff(g.difference(table, "inner", "outer"))[0]
    apart = np.diff(newcombe(y[inner].sum(), 454, y.sum(), 743))[0]
    assert shared < 0.6 * apart


def test_identical_groups_have_no_gap():
    y = np.random.default_rng(0).random(200) < 0.3
    whole = np.ones(200, bool)
    low, high = g.difference(g.group_table(y, {"a": whole, "b": whole}), "a", "b")
    assert abs(low) < 0.02 and abs(high) < 0.02


def test_rest_comparison_uses_the_rows_outside():
    y = np.r_[np.ones(30), np.zeros(70), np.ones(10), np.zeros(90)]
    value, limits = g.difference_to_rest(y, np.arange(200) < 100)
    assert value == pytest.approx(0.2) and limits == pytest.approx(newcombe(30, 100, 10, 100), abs=1e-12)


def toxigen_like(rng, n=1500):
    return rng.random((n, 6)) < [0.3, 0.1, 0.1, 0.2, 0.2, 0.3]


def test_row_permutation_holds_its_level_and_finds_a_gap():
    rng = np.random.default_rng(0)
    member = toxigen_like(rng)
    small = [g.heterogeneity_rows(rng.random(1500) < 0.1, member, repeats=39, seed=i).p_value <= 0.1 for i in range(60)]
    assert np.mean(small) <= 0.1 + 3 * np.sqrt(0.09 / 60)
    unequal = rng.random(1500) < 0.1 + 0.2 * member[:, 1]
    assert g.heterogeneity_rows(unequal, member).p_value < 0.01


def test_cluster_permutation_holds_its_level_where_rows_would_not():
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(60), 10)
    label = (ids // 15).tolist()
    by_cluster, by_row = [], []
    for i in range(60):
        y = rng.random(600) < rng.beta(0.3, 1.2, 60)[ids]
        by_cluster.append(g.heterogeneity_clusters(y, label, ids, repeats=39, seed=i).p_value <= 0.1)
        member = np.equal.outer(np.array(label), np.arange(4))
        by_row.append(g.heterogeneity_rows(y, member, repeats=39, seed=i).p_value <= 0.1)
    assert np.mean(by_cluster) <= 0.1 + 3 * np.sqrt(0.09 / 60)
    assert np.mean(by_row) > 0.4


def test_duplicates_move_together_in_the_row_permutation():
    rng = np.random.default_rng(2)
    member, y = toxigen_like(rng, 300), rng.random(300) < 0.3
    twice = g.heterogeneity_rows(np.tile(y, 2), np.tile(member, (2, 1)), np.tile(np.arange(300), 2), repeats=199)
    once = g.heterogeneity_rows(y, member, repeats=199)
    assert twice.statistic == pytest.approx(2 * once.statistic)
    assert twice.p_value == pytest.approx(once.p_value, abs=0.12)


def test_all_equal_outcomes_show_no_difference():
    assert g.heterogeneity_rows(np.zeros(20), np.ones((20, 2))).p_value == 1


def test_split_clusters_and_empty_groups_are_refused():
    with pytest.raises(ValueError, match="two groups"):
        g.heterogeneity_clusters([1, 0, 1], ["a", "b", "b"], [0, 0, 1])
    with pytest.raises(ValueError, match="no row"):
        g.group_table([1, 0], {"a": [False, False]})


def exact_miss(n1, n2, p1, p2, alpha):
    """Exact probability that the gate's upper limit of a difference of two independent groups is too low."""
    first, second = stats.binom.pmf(np.arange(n1 + 1), n1, p1), stats.binom.pmf(np.arange(n2 + 1), n2, p2)
    missed = 0.0
    for k1 in np.flatnonzero(first > 1e-7):
        for k2 in np.flatnonzero(second > 1e-7):
            high = difference_limit(k1 / n1, partial(upper_limit, k1, n1), k2 / n2, partial(lower_limit, k2, n2), alpha)
            missed += first[k1] * second[k2] * (high < p1 - p2 - 1e-12)
    return missed


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12])
@pytest.mark.parametrize(
    "pair", [(50, 50, 0.95, 0.05), (100, 20, 0.95, 0.01), (200, 20, 0.3, 0.01), (50, 50, 0.02, 0.02)]
)
def test_gate_limit_of_a_difference_never_covers_less_than_it_says(pair, alpha):
    assert exact_miss(*pair, alpha) <= alpha + 1e-6


def test_overlap_halves_the_error_of_a_difference_on_real_groups(data_dir):
    path = data_dir / "github" / "microsoft" / "SafeNLP" / "data" / "toxiGen.json"
    sentences = json.loads(path.read_text(encoding="utf-8"))
    inside = {g: np.array([g in s["target_groups"] for s in sentences]) for g in ("latino", "mexican")}
    assert (inside["latino"] & inside["mexican"]).sum() == 454
    table = g.group_table([s["label"] == "hate" for s in sentences], inside)
    errors = np.array([c.se for c in table.groups.values()])
    shared = np.sqrt((errors**2).sum() - 2 * table.correlation[0, 1] * errors.prod())
    assert shared < 0.52 * np.hypot(*errors)
