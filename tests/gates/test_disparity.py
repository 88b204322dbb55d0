"""Disparity for every run: the family's error, the promised power, and what reaches files, tables and charts."""

from __future__ import annotations

import json
from dataclasses import replace

import estimates_for_tests as made
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safety_eval import api
from safety_eval.core.records import Estimate, Standing
from safety_eval.measure.disparity import Disparity, disparities
from safety_eval.show.disparity_chart import disparity_chart
from safety_eval.show.disparity_table import disparity_table
from safety_eval.stats.gaps import gap_limits, mean_gap_limits, p_gap
from safety_eval.stats.groups import tau_interval

SIZES = np.array(made.OWED)


def group(number: int, value: float, answers: float, kind: str = "rate", better: str = "lower") -> Estimate:
    """The estimate of one group, of a kind whose interval the panel does not read."""
    of = Estimate("t", "m", "s", "g", f"g{number}", kind, value, value, value, answers=answers, better=better)
    return replace(of, standing=Standing.JUDGED, sd=value * (1 - value))


def of_counts(bad: np.ndarray, sizes: np.ndarray = SIZES, better: str = "lower") -> Disparity:
    rows = [group(i, k / n, float(n), better=better) for i, (k, n) in enumerate(zip(bad, sizes, strict=True))]
    (panel,) = disparities(rows)
    return panel


def test_the_worked_case_of_llama_2_on_toxigen() -> None:
    """STATISTICS 2.5: tau, the shrunk ends and the honest range of the worst group."""
    d = of_counts(np.array(made.EVENTS))
    # 0.0383 by the moments of DerSimonian and Laird, which may lie outside the interval.
    assert d.tau == pytest.approx(0.0407, abs=2e-4) and d.tau_low < d.tau < d.tau_high
    assert d.worst_low == pytest.approx(0.250746, abs=1e-6) and d.worst_value == pytest.approx(0.311547, abs=1e-6)
    assert list(d.shrunk.values())[0] == pytest.approx(0.2896, abs=3e-4) and max(d.shrunk.values()) < d.worst_value
    assert d.gap == pytest.approx(0.154186, abs=1e-6) and 0.04 < d.gap_low < d.gap and d.p_equal < 0.001


@pytest.mark.parametrize("rate", [0.005, 0.05, 0.5])
def test_where_groups_are_alike_hardly_ever_is_one_named(rate: float) -> None:
    rng, runs = np.random.default_rng(1), 500
    wrong = sum(p_gap(rng.binomial(SIZES, rate) / SIZES, SIZES) <= 0.05 for _ in range(runs))
    assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_one_of_thirteen_groups_at_ten_percent_beside_five_is_seen() -> None:
    """Bonferroni over 156 pairs saw it in 21% of runs."""
    rng, runs, seen = np.random.default_rng(2), 13 * 40, 0
    for i in range(runs):
        rates = np.where(np.arange(13) == i % 13, 0.10, 0.05)
        seen += p_gap(rng.binomial(SIZES, rates) / SIZES, SIZES) <= 0.05
    assert seen / runs >= 0.9 - 2 * (0.09 / runs) ** 0.5
    rates, named = np.where(np.arange(13) == 1, 0.10, 0.05), 0
    for _ in range(30):
        bad = rng.binomial(SIZES, rates) / SIZES
        limits = gap_limits(bad, SIZES)
        named += bool(limits.above[1] > 0)
        assert (limits.largest > 0) == (p_gap(bad, SIZES) <= 0.05)
    assert named >= 20


def test_small_and_large_groups_keep_the_error_at_low_rates() -> None:
    rng, runs, sizes = np.random.default_rng(3), 60, np.array([59, 62, 82, 90, 130, 430, 1156, 4839])
    rates = np.array([0.002, 0.01, 0.002, 0.05, 0.002, 0.002, 0.05, 0.002])
    true = rates[:, None] - rates[None, :]
    wrong = sum((gap_limits(rng.binomial(sizes, rates) / sizes, sizes).pairs > true + 1e-9).any() for _ in range(runs))
    assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_limit_and_p_value_agree_and_the_better_end_turns_everything_around() -> None:
    bad = np.array(made.EVENTS) / SIZES
    assert p_gap(bad, SIZES, gap_limits(bad, SIZES).largest) == pytest.approx(0.05, abs=0.015)
    low, high = of_counts(np.array(made.EVENTS)), of_counts(SIZES - np.array(made.EVENTS), better="higher")
    assert (low.worst, low.p_equal, low.gap_low) == (high.worst, high.p_equal, pytest.approx(high.gap_low))
    assert (high.worst_low, high.worst_high) == pytest.approx((1 - low.worst_high, 1 - low.worst_low))
    assert set(low.named) == set(high.named)


def test_means_keep_their_error_and_tau_covers() -> None:
    rng, runs = np.random.default_rng(4), 400
    variances, wrong, held = np.array([0.01, 0.02, 0.005, 0.03, 0.01, 0.01, 0.02, 0.004]), 0, 0
    for _ in range(runs):
        wrong += mean_gap_limits(rng.normal(0, np.sqrt(variances)), variances).largest > 0
        low, high = tau_interval(rng.normal(0, np.sqrt(variances + 0.1**2)), variances)
        held += low <= 0.1 <= high
    assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert held / runs >= 0.95 - 3 * (0.05 * 0.95 / runs) ** 0.5


def test_scores_with_a_rare_high_one_name_no_group_by_chance() -> None:
    """Few answers, most of them equal: groups that did not meet the rare score are not known exactly."""
    rng, wrong, runs = np.random.default_rng(5), 0, 60
    for _ in range(runs):
        rows = []
        for i, n in enumerate([20] * 20):
            y = np.where(rng.random(n) < 0.05, 0.9, 0.05)
            rows.append(
                Estimate(
                    "t",
                    "m",
                    "s",
                    "g",
                    f"g{i}",
                    "mean",
                    float(y.mean()),
                    answers=float(n),
                    better="lower",
                    standing=Standing.JUDGED,
                    sd=float(y.std()),
                )
            )
        (d,) = disparities(rows)
        wrong += bool(d.named) or d.gap_low > 0 or d.p_equal <= 0.05
    assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def _alike(kind: str, groups: int, answers: int, rng: np.random.Generator) -> list[Estimate]:
    """Groups of one truth: means of unlike spread around 0.3, or rates of 50%."""
    if kind == "rate":
        return [group(i, k / answers, answers) for i, k in enumerate(rng.binomial(answers, 0.5, groups))]
    drawn = rng.normal(0.3, rng.uniform(0.2, 0.6, groups), (answers, groups)).clip(-1, 1)
    made = (group(i, float(y.mean()), answers, "mean", "neither") for i, y in enumerate(drawn.T))
    return [replace(e, sd=float(y.std()), span=(-1.0, 1.0)) for e, y in zip(made, drawn.T, strict=True)]


@pytest.mark.parametrize(("kind", "groups", "answers"), [("mean", 41, 5), ("mean", 14, 14), ("rate", 36, 3)])
def test_a_spread_between_groups_of_few_answers_is_no_noise_of_theirs(kind: str, groups: int, answers: int) -> None:
    """With each group's own spread these said 'not alike' in 63%, 8% and 98% of runs."""
    rng, runs = np.random.default_rng(5), 50
    wrong = sum(disparities(_alike(kind, groups, answers, rng))[0].tau_low > 0 for _ in range(runs))
    assert wrong / runs <= 0.16


def test_where_neither_end_is_better_groups_differ_both_ways() -> None:
    rows = [
        Estimate("t", "m", "s", "g", name, "mean", value, answers=400.0, standing=Standing.JUDGED, sd=0.3, span=(-1, 1))
        for name, value in (("low", -0.3), ("a", 0.0), ("b", 0.0), ("c", 0.01), ("high", 0.3))
    ]
    (d,) = disparities(rows)
    assert (d.worst, d.best) == ("low", "high") and set(d.named) == {"low", "high"}
    assert d.named["low"] < -0.1 < 0.1 < d.named["high"] and d.measured["high"] == 0.3
    table = disparity_table([d])
    assert table is not None and "low (−0." in table.rows[0].cells[-1] and "high (+0." in table.rows[0].cells[-1]


def test_groups_without_data_or_with_few_prompts_are_left_out() -> None:
    rows = [e if e.axis == "macro" else e for e in made.toxigen()]
    assert disparities(rows) == []  # no effective numbers: measured by another version
    (d,) = disparities([replace(e, answers=float(e.count)) for e in rows])
    assert d.groups == 11 and disparity_table([]) is None
    table = disparity_table([d])
    assert table is not None and "mexican" in table.rows[0].cells[4]
    assert disparity_chart(d).axes[0].get_yticklabels()[0].get_text() == "mexican"


def test_a_run_has_it_in_results_report_and_details(tmp_path) -> None:
    run = api.run(
        model="echo",
        engine="echo",
        tasks=["toxigen"],
        data_version={"": "quickstart"},
        scorers={"toxigen": "profanity_check"},
        output_path=tmp_path / "r",
    )
    held = json.loads((tmp_path / "r" / "results.json").read_text())
    assert isinstance(held["disparity"], list)
    assert [d["axis"] for d in held["disparity"]] == [d.axis for d in disparities(run.estimate_records())]


_SHARE = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
_ANSWERS = st.sampled_from([0.5, 1.0, 2.0, 3.7, 50.0, 5000.0])


@settings(max_examples=40, deadline=None)
@example([(0.0, 50.0), (0.0, 50.0)], "rate", "lower")
@example([(1.0, 50.0), (0.0, 50.0)], "rate", "lower")
@example([(1.0, 1.0), (1.0, 1.0), (0.0, 1.0)], "rate", "higher")
@example([(0.3, 10.0), (0.3, 10.0)], "mean", "higher")
@example([(0.3, 1.0), (0.4, 1.0)] * 20, "mean", "neither")
@given(
    st.lists(st.tuples(_SHARE, _ANSWERS), min_size=2, max_size=6),
    st.sampled_from(["rate", "mean"]),
    st.sampled_from(["lower", "higher", "neither"]),
)
def test_no_group_however_degenerate_breaks_the_panel(
    groups: list[tuple[float, float]], kind: str, better: str
) -> None:
    """All zero, all one, one answer, rates a rounding error apart: finite, in range, and consistent."""
    rows = [group(i, v, n, kind, better) for i, (v, n) in enumerate(groups)]
    (d,) = disparities(rows)
    assert 0 <= d.p_equal <= 1 and 0 <= d.tau_low <= d.tau <= d.tau_high + 1e-12
    assert all(np.isfinite(v) for v in (*d.shrunk.values(), *d.named.values(), d.tau_high, d.gap_low))
    assert 0 <= d.worst_low <= d.worst_high <= 1 and d.tau_high <= 0.5
    assert d.worst_low - 1e-9 <= d.worst_value <= d.worst_high + 1e-9
    assert 0 <= d.gap_low <= d.gap + 1e-9 and d.gap <= 1
    low, high = min(v for v, _ in groups), max(v for v, _ in groups)
    assert all(low - 1e-9 <= v <= high + 1e-9 for v in d.shrunk.values())
    assert disparity_table([d]) is not None and disparity_chart(d).axes
    if low == high and kind == "rate":
        assert not d.named and d.gap_low == 0 and d.tau_high > 0
