"""Limits at another level, from the published 95% limits alone: exact for rates, never too short for means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_eval.stats.bounded import mean_lower, mean_upper
from safety_eval.stats.limits import SeenDifference, SeenMean, SeenShare, gap_upper
from safety_eval.stats.proportion import lower_limit, upper_limit

SHAPES = {
    "symmetric": lambda rng, n: rng.normal(0.55, 0.2, n).clip(0, 1),
    "60% zero": lambda rng, n: np.where(rng.random(n) < 0.6, 0.5, rng.normal(0.7, 0.2, n)).clip(0, 1),
    "low risk": lambda rng, n: rng.beta(0.6, 3, n),
    "lower risk": lambda rng, n: rng.beta(0.2, 8, n),
    "high": lambda rng, n: rng.beta(8, 0.5, n),
    "all equal": lambda rng, n: np.full(n, 0.05),
}


@pytest.mark.parametrize("events", [0, 3, 20])
def test_a_rate_gives_back_its_limits_at_every_level(events: int) -> None:
    seen = SeenShare(events / 20, events / 20, 20)
    for level in (0.9, 0.95, 0.999):
        assert seen.upper(level) == pytest.approx(upper_limit(events, 20, 1 - level), abs=1e-9)
        assert seen.lower(level) == pytest.approx(lower_limit(events, 20, 1 - level), abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [10, 30, 100, 500])
def test_a_mean_is_never_given_a_shorter_limit_or_a_smaller_p_than_its_own(shape: str, n: int) -> None:
    y, ones = SHAPES[shape](np.random.default_rng(n), n), np.ones(n)
    mean = float(y.mean())
    seen = SeenMean(mean, mean, mean_lower(y, ones, 0.0), mean_upper(y, ones, 1.0), units=n)
    for alpha in (0.1, 0.05, 0.01, 0.001, 0.0001):
        high, low = mean_upper(y, ones, 1.0, alpha), mean_lower(y, ones, 0.0, alpha)
        assert seen.upper(1 - alpha) >= high - 1e-9 and seen.lower(1 - alpha) <= low + 1e-9
        assert seen.p_below(high) >= alpha * (1 - 1e-6) and seen.p_exceeds(low) >= alpha * (1 - 1e-6)


def test_a_value_on_the_right_side_is_no_evidence() -> None:
    seen = SeenMean(0.2, 0.2, 0.1, 0.3, units=50)
    assert seen.p_exceeds(0.4) == seen.p_below(0.05) == 1.0


def test_a_paired_difference_is_judged_alike_by_its_limit_and_by_its_p_value() -> None:
    """STATISTICS 3.2: 14 worse and 10 better of 1,000 leave one point open, the same counts of 2,000 settle it."""
    for n, settled in ((1000, False), (2000, True)):
        seen = SeenDifference((14 / n, 10 / n), (14 / n, 10 / n), n)
        assert (seen.upper(0.95) < 0.01) == settled == (seen.p_below(0.01) < 0.05)
        assert seen.p_exceeds(seen.lower(0.99)) == pytest.approx(0.01, rel=1e-3)
    nothing = SeenDifference((0.0, 0.0), (0.0, 0.0), 300)
    assert nothing.upper(0.95) == pytest.approx(upper_limit(0, 300)) and nothing.upper(0.95) == -nothing.lower(0.95)


@given(
    st.floats(-1, 1),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    st.sampled_from([0.9, 0.95, 0.99, 0.999]),
    st.floats(1.5, 500),
)
def test_a_loss_moves_no_limit_of_a_mean_inwards(
    value: float, room: tuple[float, float], loss: tuple[float, float, float, float], level: float, units: float
) -> None:
    """A loss moves value and limit outwards, the value sometimes further: beyond 95% the limit moved inwards then."""
    before = SeenMean(value, value, value - room[0], value + room[1], units)
    after = SeenMean(value - loss[0], value + loss[1], before.low - loss[2], before.high + loss[3], units)
    assert after.upper(level) >= before.upper(level) - 1e-12
    assert after.lower(level) <= before.lower(level) + 1e-12


def test_the_largest_gap_is_found_wherever_its_groups_stand() -> None:
    low, middle, high = (SeenShare(share, share, 200) for share in (0.05, 0.2, 0.4))
    widest = gap_upper([low, high], 0.95)
    for groups in ([low, middle, high], [high, middle, low], [low, middle, high, middle], [middle, low, middle, high]):
        assert gap_upper(groups, 0.95) == widest > 0.35
