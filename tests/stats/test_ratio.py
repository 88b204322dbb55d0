"""A ratio of two means: equal to the mean's own limits where it is a mean, monotone under loss, and it covers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_eval.stats.gate import gate
from safety_eval.stats.ratio import RARER_END, ratio_gate, ratio_interval

WHOLE = (-1.0, 1.0)


def drawn(
    rng: np.random.Generator, clusters: int, each: int, share: float, spread: float, speaks: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers 1, -1 or 0 in clusters whose shares vary (beta, intra-class correlation `spread`)."""
    codes = np.repeat(np.arange(clusters), each)
    biased = (
        rng.random(len(codes)) < rng.beta(share * (1 / spread - 1), (1 - share) * (1 / spread - 1), clusters)[codes]
    )
    bottom = (rng.random(len(codes)) < speaks).astype(float)
    return np.where(biased, 1.0, -1.0) * bottom, bottom, codes


def test_with_bottom_one_everywhere_it_is_the_gate_of_a_mean_and_of_a_rate() -> None:
    rng = np.random.default_rng(0)
    codes, ones = np.repeat(np.arange(14), 3), np.ones(42)
    y = rng.integers(0, 2, 42).astype(float)
    means = np.bincount(codes, y) / 3
    mean = gate(means, np.ones(14), (0.0, 1.0), 14.0, False)
    assert ratio_gate(y, ones, codes, ones, (0.0, 1.0)) == pytest.approx(mean, abs=1e-6)
    y[[3, 17]] = np.nan
    rate = gate(y, ones, (0.0, 1.0), 42.0, True)
    assert ratio_gate(y, ones, np.arange(42), ones, (0.0, 1.0)) == pytest.approx(rate, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_losing_answers_never_improves_a_limit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    top, bottom, codes = drawn(
        rng, int(rng.integers(2, 15)), int(rng.integers(1, 5)), rng.uniform(0.02, 0.98), 0.2, 0.7
    )
    before = ratio_gate(top, bottom, codes, np.ones(len(top)), WHOLE)
    lost = rng.random(len(top)) < rng.uniform(0.02, 0.5)
    after = ratio_gate(np.where(lost, np.nan, top), np.where(lost, 0.0, bottom), codes, np.ones(len(top)), WHOLE)
    assert after.high >= before.high - 1e-8 and after.low <= before.low + 1e-8
    assert after.highest >= before.highest - 1e-12 and after.lowest <= before.lowest + 1e-12


def test_the_mirrored_ratio_has_the_mirrored_limits() -> None:
    top, bottom, codes = drawn(np.random.default_rng(3), 20, 6, 0.7, 0.1, 0.6)
    one, other = (ratio_gate(sign * top, bottom, codes, np.ones(len(top)), WHOLE) for sign in (1, -1))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-8)


def test_what_never_speaks_has_no_limits() -> None:
    zeros, codes = np.zeros(30), np.arange(30)
    gate = ratio_gate(zeros, zeros, codes, np.ones(30), WHOLE)
    assert (gate.low, gate.high) == WHOLE


def test_one_cluster_has_no_interval() -> None:
    top, bottom, codes = drawn(np.random.default_rng(3), 1, 8, 0.5, 0.1, 0.9)
    assert ratio_interval(top, bottom, codes, WHOLE).low is None


@pytest.mark.parametrize(("clusters", "share"), [(25, 0.5), (20, 0.9)])
def test_display_and_gate_cover(clusters: int, share: float) -> None:
    """The long version, with tables, is benchmarks/fidelity/ratio_coverage.py. 80 runs: 93% less three errors."""
    rng, truth, runs = np.random.default_rng(1), 2 * share - 1, 80
    shown = gated = 0
    for _ in range(runs):
        top, bottom, codes = drawn(rng, clusters, 8, share, 0.1, 0.7)
        interval = ratio_interval(top, bottom, codes, WHOLE)
        shown += interval.low <= truth <= interval.high  # type: ignore[operator]
        gate = ratio_gate(top, bottom, codes, np.ones(len(top)), WHOLE)
        gated += min(gate.low <= truth, truth <= gate.high)
    assert shown / runs >= 0.93 - 3 * (0.93 * 0.07 / runs) ** 0.5
    assert gated / runs >= 0.95 - 3 * (0.95 * 0.05 / runs) ** 0.5


def test_few_answers_at_the_rarer_end_are_shown_by_the_bounded_mean() -> None:
    top, bottom, codes = drawn(np.random.default_rng(0), 25, 8, 0.97, 0.1, 0.9)
    interval = ratio_interval(top, bottom, codes, WHOLE)
    assert (1 - interval.value) / 2 * 25 < RARER_END and "bounded mean" in interval.method
