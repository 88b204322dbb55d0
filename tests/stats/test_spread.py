"""Spread between groups: the analysis of variance, brute force over what is missing, no gain from a loss, coverage."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from safety_eval.stats.proportion import lower_limit, upper_limit
from safety_eval.stats.spread import Values, _Products, shrunk_means, spread, spread_limits, worst_range

UNIT = (0.0, 1.0)


def drawn(rng: np.random.Generator, means: np.ndarray, size: int) -> list[Values]:
    return [Values((rng.random(size) < mean).astype(float)) for mean in means]


def test_equal_sizes_give_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(0.5, 0.1, 30)[:, None] + rng.normal(0, 0.2, (30, 8))
    between = 8 * y.mean(axis=1).var(ddof=1)
    within = y.var(axis=1, ddof=1).mean()
    assert spread([Values(row) for row in y]) == pytest.approx(((between - within) / 8) ** 0.5, rel=1e-12)


def test_noise_alone_is_no_spread_and_one_group_says_nothing() -> None:
    same = [Values(np.array([0.0, 1.0, 0.0, 1.0])) for _ in range(20)]
    assert spread(same) == 0.0
    assert spread(same[:1]) is None and spread_limits(same[:1], UNIT) is None
    assert spread([Values(np.array([1.0]), 19) for _ in range(20)]) is None


@pytest.mark.parametrize("centre", [0.0, 0.21, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("known", [[], [0.2], [0.2, 0.7], [0.0, 1.0, 1.0]])
@pytest.mark.parametrize("missing", [2, 3, 4])
def test_what_is_missing_is_taken_at_every_end(centre: float, known: list[float], missing: int) -> None:
    group = Values(np.array(known), missing)
    n = group.owed
    every = []
    for ends in product(UNIT, repeat=missing):
        y = np.append(known, ends) - centre
        every.append((y.sum() ** 2 - np.square(y).sum()) / (n * (n - 1)))
    products = _Products([group], UNIT)
    assert products.high(centre)[0] == pytest.approx(max(every), abs=1e-12)
    assert products.low(centre)[0] == pytest.approx(min(every), abs=1e-12)
    assert products.bottom(centre) <= min(every) + 1e-9 and products.top(centre) >= max(every) - 1e-9


def test_losing_values_never_narrows_a_limit() -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        size = int(rng.integers(2, 6))
        means = rng.choice([0.05, 0.3, 0.9], int(rng.integers(3, 15)))
        groups = drawn(rng, means, size)
        lost = [Values(g.known[n:], n) for g in groups for n in (int(rng.integers(0, size + 1)),)]
        whole, less = spread_limits(groups, UNIT), spread_limits(lost, UNIT)
        assert whole is not None and less is not None
        assert less.high >= whole.high - 1e-9 and less.low <= whole.low + 1e-9
        whole_worst, less_worst = worst_range(groups, UNIT), worst_range(lost, UNIT)
        assert whole_worst is not None and less_worst is not None
        assert less_worst.high >= whole_worst.high - 1e-9 and less_worst.low <= whole_worst.low + 1e-9


@pytest.mark.parametrize("true", [0.0, pytest.param(0.2, marks=pytest.mark.slow)])
def test_limits_cover_the_true_spread(true: float) -> None:
    rng = np.random.default_rng(2)
    low = high = 0
    for _ in range(150):
        means = 0.3 + true * rng.choice([-1.0, 1.0], 30)
        limits = spread_limits(drawn(rng, means, 10), UNIT)
        assert limits is not None
        low, high = low + (limits.low <= true), high + (limits.high >= true)
    assert low >= 0.93 * 150 and high >= 0.93 * 150


def test_a_clear_spread_is_shown() -> None:
    means = np.repeat([0.1, 0.7], 15)
    limits = spread_limits(drawn(np.random.default_rng(3), means, 20), UNIT)
    assert limits is not None and limits.low > 0.2


def test_the_worst_groups_range_is_the_largest_of_the_groups_own_limits() -> None:
    groups = [Values(np.repeat([1.0, 0.0], [k, 20 - k])) for k in (2, 7, 11)]
    found = worst_range(groups, UNIT)
    assert found is not None
    assert found.high == pytest.approx(upper_limit(11, 20, 0.05), abs=1e-8)
    assert found.low == pytest.approx(lower_limit(11, 20, 0.05 / 3), abs=1e-8)
    assert found.lowest == found.highest == 0.55


def test_shrunk_means_lie_between_the_own_mean_and_that_of_all() -> None:
    rng = np.random.default_rng(4)
    groups = [*drawn(rng, np.linspace(0.1, 0.8, 12), 15), Values(np.array([]), 15)]
    own = [g.known.mean() for g in groups[:-1]]
    drawn_to = shrunk_means(groups)
    assert drawn_to[-1] is None
    centre = float(np.mean(own))
    for mean, value in zip(own, drawn_to[:-1], strict=True):
        assert value is not None and abs(value - centre) <= abs(mean - centre) + 0.02
    assert max(own) > max(v for v in drawn_to if v is not None)
