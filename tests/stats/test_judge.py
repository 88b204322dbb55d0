"""Judge error: worked numbers, library cross-checks, the alarm, and coverage by exact enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from safety_eval.stats import judge as j
from safety_eval.stats.proportion import clopper_pearson, wilson

NEAR = {"abs": 1e-6}
Y = np.r_[np.ones(18), np.zeros(182)]
JUDGED = np.r_[np.ones(16), np.zeros(2), np.ones(10), np.zeros(172)]
REST = np.r_[np.ones(300), np.zeros(1700)]


@pytest.mark.parametrize(
    ("k", "calibration", "value", "limits"),
    [
        (60, (90, 100, 190, 200), 0.011765, (0, 0.047828)),
        (150, (90, 100, 190, 200), 0.117647, (0.071625, 0.157897)),
        (80, (85, 100, 196, 200), 0.072289, (0.036789, 0.101831)),
        (80, (85, 100, 186, 200), 0.012821, (0, 0.058593)),
    ],
)
def test_corrected_worked_numbers(k, calibration, value, limits):
    got = j.corrected(k, 1000, j.Calibration(*calibration))
    assert (got.value, got.low, got.high) == pytest.approx((value, *limits), **NEAR)
    assert got.alarm == ""


def test_equal_raw_rates_can_hide_a_sixfold_difference():
    first = j.corrected(80, 1000, j.Calibration(85, 100, 196, 200))
    second = j.corrected(80, 1000, j.Calibration(85, 100, 186, 200))
    gap = j.corrected_difference(first, second)
    assert gap.value == pytest.approx(0.059468, **NEAR) and gap.low < 0.02 < gap.high
    assert not wilson(150, 1000).low <= j.rogan_gladen(150, 1000, j.Calibration(90, 100, 190, 200))


@pytest.mark.parametrize(
    ("negatives", "limit"),
    [(100, 0.039441), (300, 0.02929), (1000, 0.023643), (3000, 0.021416), (10000, 0.020509)],
)
def test_calibration_alone_certifies_little(negatives, limit):
    calibration = j.Calibration(90, 100, round(0.97 * negatives), negatives)
    assert j.corrected(34, 1000, calibration).high == pytest.approx(limit, **NEAR)


def test_alarm_where_the_calibration_cannot_hold():
    assert "carry over" in j.corrected(0, 250, j.Calibration(60, 100, 95, 100)).alarm
    assert "barely" in j.corrected(5, 100, j.Calibration(55, 100, 60, 100)).alarm
    silent = j.corrected(20, 100, j.Calibration(90, 100, 95, 100))
    alarmed = j.corrected_difference(silent, j.corrected(0, 250, j.Calibration(60, 100, 95, 100)))
    assert silent.alarm == "" and alarmed.alarm


def test_corrected_interval_covers_or_raises_the_alarm():
    # exact over the judged count, simulated over calibrations; the interval of a rate near 0 is the hard case
    rng = np.random.default_rng(0)
    for theta, se, sp in [(0.02, 0.9, 0.97), (0.2, 0.8, 0.9)]:
        hit = 0
        for _ in range(800):
            calibration = j.Calibration(rng.binomial(100, se), 100, rng.binomial(100, sp), 100)
            got = j.corrected(rng.binomial(1000, theta * se + (1 - theta) * (1 - sp)), 1000, calibration)
            hit += bool(got.alarm) or got.low <= theta <= got.high
        assert hit / 800 > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 800)


def test_two_phase_worked_numbers():
    zero = j.two_phase([j.Review(40, 40, 22), j.Review(960, 200, 0)])
    low, high = clopper_pearson(0, 200)
    assert (zero.value, zero.low, zero.high) == pytest.approx((0.022, 0.022 + 0.96 * low, 0.022 + 0.96 * high))
    one = j.two_phase([j.Review(40, 40, 22), j.Review(960, 600, 1)])
    assert one.value == pytest.approx(0.0236) and one.low < one.value < one.high < zero.high
    whole = j.two_phase([j.Review(40, 40, 22), j.Review(60, 60, 3)], lost=100)
    assert (whole.value, whole.low, whole.high) == pytest.approx((0.25, 0.125, 0.625))
    thin = j.two_phase([j.Review(100, 50, 5), j.Review(300, 30, 3)])  # a review stands for ten answers at most
    low, high = clopper_pearson(4, 40)
    assert (thin.value, thin.low, thin.high) == pytest.approx((0.1, low, high))
    with pytest.raises(ValueError):
        j.two_phase([j.Review(40, 40, 22), j.Review(960, 0, 0)])


@pytest.mark.parametrize("prevalence", [0.005, 0.05, 0.2])
def test_a_capped_stratum_beside_a_reviewed_one_covers(prevalence):
    """Merged, unscored answers (all reviewed) and capped flagged ones gave .128 for .194: 0 of 40 intervals covered."""
    rng, hit, runs = np.random.default_rng(7), 0, 400
    for _ in range(runs):
        flagged, unscored, others = 400, 100, 3500
        bad = [
            rng.binomial(flagged, min(1, 8 * prevalence)),
            rng.binomial(unscored, 0.02),
            rng.binomial(others, prevalence / 4),
        ]
        reviews = [
            j.Review(n, m, int(rng.hypergeometric(k, n - k, m)))
            for n, m, k in ((flagged, 50, bad[0]), (unscored, 100, bad[1]), (others, 150, bad[2]))
        ]
        got = j.two_phase(reviews)
        hit += got.low <= sum(bad) / 4000 <= got.high
    assert hit / runs >= 0.93


def test_the_alarm_is_rare_at_a_low_prevalence_and_the_interval_covers():
    """It fired in 34 to 46% of runs at 0.5%, where the calibration holds: an estimate below 0 contradicts nothing."""
    rng, alarms, hit, runs = np.random.default_rng(8), 0, 0, 1500
    for _ in range(runs):
        labels = j.Calibration(int(rng.binomial(100, 0.9)), 100, int(rng.binomial(100, 0.95)), 100)
        got = j.corrected(int(rng.binomial(1000, 0.005 * 0.9 + 0.995 * 0.05)), 1000, labels)
        alarms += bool(got.alarm)
        hit += bool(got.alarm) or got.low <= 0.005 <= got.high
        assert got.alarm or 0 <= got.value <= 1
    assert alarms / runs <= 0.05 and hit / runs >= 0.93


def test_a_lost_sensitivity_is_seen_in_labels_of_this_run_and_none_is_seen_where_there_is_none():
    """Sensitivity fell from .9 to .6 at a prevalence of 20%: no alarm ever, and the corrected interval covered 5%."""
    rng, runs, seen = np.random.default_rng(9), 300, {0.6: 0, 0.9: 0}
    for sensitivity in seen:
        for _ in range(runs):
            card = j.Calibration(int(rng.binomial(200, 0.9)), 200, int(rng.binomial(200, 0.95)), 200)
            bad = int(rng.binomial(1000, 0.2))
            caught = int(rng.binomial(bad, sensitivity))
            flagged = caught + int(rng.binomial(1000 - bad, 0.05))
            rest = 1000 - flagged
            second = j.Review(rest, 200, int(rng.hypergeometric(bad - caught, rest - bad + caught, 200)))
            seen[sensitivity] += j.p_sensitive(j.Review(flagged, flagged, caught), second, card) <= 0.05
    assert seen[0.6] / runs >= 0.8 and seen[0.9] / runs <= 0.05, seen
    assert j.p_sensitive(j.Review(10, 10, 0), j.Review(90, 0, 0), card) == 1.0


def test_ppi_worked_numbers():
    plain, tuned = j.ppi(Y, JUDGED, REST), j.ppi(Y, JUDGED, REST, weight=None)
    assert (plain.value, plain.low, plain.high) == pytest.approx((0.11, 0.073032, 0.146968), **NEAR)
    assert (tuned.weight, tuned.value) == pytest.approx((0.494158, 0.099883), **NEAR)
    assert (tuned.low, tuned.high) == pytest.approx((0.070441, 0.129325), **NEAR)


@pytest.mark.filterwarnings("ignore")
def test_ppi_equals_ppi_py():
    library = pytest.importorskip("ppi_py")
    plain, tuned = j.ppi(Y, JUDGED, REST), j.ppi(Y, JUDGED, REST, weight=None)
    assert (plain.low, plain.high) == pytest.approx(np.ravel(library.ppi_mean_ci(Y, JUDGED, REST, lam=1.0, alpha=0.05)))
    # the library divides by n - 1 in places where we divide by n
    assert (tuned.low, tuned.high) == pytest.approx(
        np.ravel(library.ppi_mean_ci(Y, JUDGED, REST, alpha=0.05)), abs=1e-4
    )


def test_agreement_worked_numbers():
    got = j.agreement([[16, 2], [10, 172]])
    assert (got.kappa, got.low, got.high) == pytest.approx((0.694812, 0.533782, 0.855842), **NEAR)
    assert (got.observed, got.pabak) == pytest.approx((0.94, 0.88), **NEAR)
    assert j.krippendorff([Y, JUDGED]) == pytest.approx(0.694331, **NEAR)


def test_agreement_equals_the_libraries():
    inter_rater, alpha = (
        pytest.importorskip("statsmodels.stats.inter_rater"),
        pytest.importorskip("krippendorff"),
    )
    rng = np.random.default_rng(0)
    table = rng.integers(1, 40, (3, 3))
    library, ours = inter_rater.cohens_kappa(table), j.agreement(table)
    assert (ours.kappa, ours.low) == pytest.approx((library.kappa, library.kappa_low))
    ratings = rng.integers(0, 3, (4, 50)).astype(float)
    ratings[rng.random((4, 50)) < 0.2] = np.nan
    named = [[None if math.isnan(r) else r for r in rater] for rater in ratings]
    assert j.krippendorff(named) == pytest.approx(alpha.alpha(ratings, level_of_measurement="nominal"))


def test_raters_who_see_one_class_have_no_kappa():
    assert math.isnan(j.agreement([[5, 0], [0, 0]]).kappa) and math.isnan(j.krippendorff([[1, 1], [1, 1]]))


def test_auc_equals_mann_whitney():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 40), rng.integers(0, 4, 30)
    assert j.auc(x, y) == pytest.approx(stats.mannwhitneyu(x, y).statistic / 1200)
    assert math.isnan(j.auc([], [1]))


def test_false_alarms_on_a_group_lower_its_bpsn():
    bad, inside = np.array([1, 1, 1, 1, 0, 0, 0, 0]), np.array([1, 1, 0, 0, 1, 1, 0, 0])
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.75, 0.65, 0.2, 0.1])
    bias = j.identity_bias(score, bad, inside)
    assert (bias.subgroup, bias.bpsn, bias.bnsp) == (1.0, 0.25, 1.0)
