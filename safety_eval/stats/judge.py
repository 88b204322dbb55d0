"""What a scorer's own errors do to a rate, and how to correct for them. The positive class is the bad one.

Three corrections, each with its condition: `corrected` (a separate labelled set whose error rates must carry over),
`two_phase` (this run's flagged outputs reviewed, and a random sample of the others: no condition), `ppi` (a random
sample of this run labelled: no condition, but rates of 10% or more, or scores).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from safety_eval.stats.proportion import (
    Interval,
    clopper_pearson,
    lower_limit,
    mover,
    normal_quantile,
    upper_limit,
)

Floats = NDArray[np.float64]
MIN_YOUDEN = 0.2


@dataclass(frozen=True, slots=True)
class Calibration:
    """A scorer against labels: `tp` of `positives` bad texts caught, `tn` of `negatives` harmless ones let pass."""

    tp: float
    positives: float
    tn: float
    negatives: float

    def __post_init__(self) -> None:
        if not (0 <= self.tp <= self.positives and 0 <= self.tn <= self.negatives):
            raise ValueError(f"impossible calibration counts: {self}")
        if self.positives == 0 or self.negatives == 0:
            raise ValueError("a calibration needs labelled texts of both classes")

    @property
    def sensitivity(self) -> float:
        """Share of the bad texts that the scorer flags."""
        return self.tp / self.positives

    @property
    def specificity(self) -> float:
        """Share of the harmless texts that the scorer lets pass."""
        return self.tn / self.negatives


@dataclass(frozen=True, slots=True)
class Corrected:
    """A rate corrected for the scorer's errors. `alarm` non-empty: the calibration does not carry over to this run,
    the numbers mean nothing and no verdict may use them.
    """

    value: float
    low: float
    high: float
    alarm: str


def rogan_gladen(k: float, n: float, calibration: Calibration) -> float:
    """Point estimate (q + Sp - 1) / (Se + Sp - 1), not clipped (Rogan and Gladen 1978)."""
    youden = calibration.sensitivity + calibration.specificity - 1
    return (k / n + calibration.specificity - 1) / youden if youden else math.nan


def corrected(k: float, n: float, calibration: Calibration, level: float = 0.95) -> Corrected:
    """Rogan-Gladen estimate with the interval of Lang and Reiczigel, and an alarm where it cannot be right.

    Args:
        k, n: outputs judged bad, of how many (effective numbers where clustered).

    Source: Lang and Reiczigel 2014 (R `asht::prevSeSp`; Lee et al., arXiv 2511.21140, eq. 5-7). Assumes that
    sensitivity and specificity carry over to these outputs and this group. The alarm tests what can be tested:
    sensitivity + specificity - 1 above 0.2, and an interval that meets [0, 1]: an estimate below 0 alone is what chance
    gives in half of all runs where nothing is bad. The value is kept within [0, 1].
    Oracle: 150/1000, Se 90/100, Sp 190/200 -> 0.117647 [0.071625, 0.157897].
    """
    z2 = normal_quantile(level) ** 2
    positives, negatives = calibration.positives + 2, calibration.negatives + 2
    se, sp = (calibration.tp + 1) / positives, (calibration.tn + 1) / negatives
    total = n + z2
    q, youden = (k + z2 / 2) / total, se + sp - 1
    plain = calibration.sensitivity + calibration.specificity - 1
    if plain <= MIN_YOUDEN or youden <= 0:
        return Corrected(math.nan, 0.0, 1.0, f"the scorer barely tells the classes apart (Se + Sp - 1 = {plain:.2f})")
    theta = (q + sp - 1) / youden
    se_part, sp_part = se * (1 - se) / positives, sp * (1 - sp) / negatives
    centre = theta + 2 * z2 * (theta * se_part - (1 - theta) * sp_part)
    spread = q * (1 - q) / total + theta**2 * se_part + (1 - theta) ** 2 * sp_part
    half = math.sqrt(z2 * spread) / youden
    value = rogan_gladen(k, n, calibration)
    alarm = ""
    if centre + half < 0 or centre - half > 1:
        alarm = f"the calibration does not carry over: it gives {value:.3f} [{centre - half:.3f}, {centre + half:.3f}]"
    value = value if alarm else min(1.0, max(0.0, value))
    return Corrected(value, min(1.0, max(0.0, centre - half)), max(0.0, min(1.0, centre + half)), alarm)


def corrected_difference(first: Corrected, second: Corrected) -> Corrected:
    """Difference of two groups' corrected rates, each with its own calibration: square-and-add of their intervals.

    An alarm of either stays an alarm. Source: Zou and Donner 2008. Assumes separate calibrations.
    """
    alarm = "; ".join(part.alarm for part in (first, second) if part.alarm)
    if math.isnan(first.value + second.value):
        return Corrected(math.nan, -1.0, 1.0, alarm)
    one, two = (_around(c) for c in (first, second))
    limits = mover(first.value, one, second.value, two)
    return Corrected(first.value - second.value, limits.low, limits.high, alarm)


def _around(c: Corrected) -> Interval:
    return Interval(min(c.low, c.value), max(c.high, c.value))


@dataclass(frozen=True, slots=True)
class Review:
    """One phase of a review: `bad` of `reviewed` outputs found bad, out of `total` that the scorer put there."""

    total: int
    reviewed: int
    bad: int

    def __post_init__(self) -> None:
        if not 0 <= self.bad <= self.reviewed <= self.total:
            raise ValueError(f"a review needs 0 <= bad <= reviewed <= total, got {self}")


@dataclass(frozen=True, slots=True)
class TwoPhase:
    """Rate of bad outputs after review, with limits."""

    value: float
    low: float
    high: float


def p_sensitive(flagged: Review, others: Review, calibration: Calibration) -> float:
    """p-value of 'the scorer misses no larger share of the bad outputs here than of the calibration's bad texts'.

    Given what was flagged and is bad, the calibration's sensitivity says how many bad ones at most lie among the
    others; more of them among the labelled ones than chance explains is lost sensitivity. What is not known exactly
    (the sensitivity, the flagged bad ones) is taken at its kindest within 99%, which the p-value pays for (Berger and
    Boos 1994). At low prevalences nothing can be seen: coverage.md has the power.
    """
    if not (flagged.reviewed and others.reviewed and others.bad):
        return 1.0
    total = flagged.total + others.total
    if flagged.reviewed == flagged.total:
        caught = upper_limit(flagged.bad, total, _UNSURE / 2)
    else:
        caught = upper_limit(flagged.total, total, _UNSURE / 4)
        caught *= upper_limit(flagged.bad, flagged.reviewed, _UNSURE / 4)
    least = lower_limit(calibration.tp, calibration.positives, _UNSURE / 2)
    if least <= 0:
        return 1.0
    missed = caught * (1 - least) / least * total / others.total
    if missed >= 1:
        return 1.0
    reached = scipy.special.betainc(others.bad, others.reviewed - others.bad + 1, missed)
    return min(1.0, float(reached) + _UNSURE)


_UNSURE = 0.01
"""Share of the 5% that is spent on what the calibration does not know exactly."""


def two_phase(strata: Sequence[Review], lost: int = 0, level: float = 0.95) -> TwoPhase:
    """Rate of bad outputs from reviewing a random sample of each stratum (what the scorer flagged, could not score, let
    pass), some of them in full.

    Args:
        strata: each one's reviews. lost: outputs that do not exist (errors), bad for the upper limit, good for the
            lower one, and not in the value.

    Source: stratified double sampling (Tenenbein 1970). Needs no assumption about the scorer. A stratum reviewed in
    full is known; the others together are a weighted rate with Clopper-Pearson limits on the effective number of
    reviews (stats/gate.py). Coverage: benchmarks/fidelity/gates.py (prevalences of 0.5 to 20%).
    """
    strata = [s for s in strata if s.total]
    if any(not s.reviewed for s in strata):
        raise ValueError("a stratum with outputs needs at least one review")
    known = sum(s.bad for s in strata if s.reviewed == s.total)
    drawn = [s for s in strata if s.reviewed < s.total]
    there = sum(s.total for s in strata)
    if not there:
        raise ValueError("a review needs outputs")
    many = sum(s.total for s in drawn)
    rate, limits = 0.0, Interval(0.0, 0.0)
    if drawn:
        rate = sum(s.total * s.bad / s.reviewed for s in drawn) / many
        reviews = many / max(s.total / s.reviewed for s in drawn)
        limits = clopper_pearson(rate * reviews, reviews, level)
    total = there + lost
    low, high = (known + many * limits.low) / total, (known + many * limits.high + lost) / total
    return TwoPhase((known + many * rate) / there, low, min(1.0, high))


@dataclass(frozen=True, slots=True)
class Ppi:
    """Prediction-powered mean with limits; `weight` is lambda: 1 is PPI, 0 ignores the judge."""

    value: float
    low: float
    high: float
    weight: float


def ppi(
    labels: ArrayLike,
    judged: ArrayLike,
    judged_rest: ArrayLike,
    weight: float | None = 1.0,
    level: float = 0.95,
) -> Ppi:
    """Mean of a label from a few labels and many judgements.

    Args:
        labels, judged: labels and the judge's scores of a random sample of this run, shape (n,).
        judged_rest: the judge's scores of the outputs without a label, shape (N,).
        weight: lambda; None takes the variance-optimal one (PPI++).

    Source: Angelopoulos et al. 2023 (PPI, arXiv 2301.09633) and 2023 (PPI++, arXiv 2311.01453). At rates below 10%
    its normal interval covers too little (0.88 at 2%): use `two_phase` there. Oracle: ppi_py `ppi_mean_ci`.
    """
    y, f, rest = (np.asarray(part, float) for part in (labels, judged, judged_rest))
    if y.shape != f.shape or y.size < 2 or rest.size < 1:
        raise ValueError("ppi needs two labelled outputs or more, each judged, and judged outputs without label")
    if weight is None:
        spread = float(np.var(np.r_[f, rest], ddof=1))
        weight = float(np.cov(y, f, ddof=1)[0, 1]) / ((1 + y.size / rest.size) * spread) if spread else 0.0
    value = float(weight * rest.mean() + (y - weight * f).mean())
    half = normal_quantile(level) * math.sqrt(weight**2 * rest.var() / rest.size + (y - weight * f).var() / y.size)
    return Ppi(value, value - half, value + half, weight)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two raters: observed agreement, Cohen's kappa with its interval, PABAK. At rare classes read Se and Sp too."""

    observed: float
    kappa: float
    low: float
    high: float
    pabak: float


def agreement(table: ArrayLike, level: float = 0.95) -> Agreement:
    """Cohen's kappa of a square table of counts (first rater in rows).

    Source: Cohen 1960; standard error of Fleiss, Cohen and Everitt 1969. PABAK (Byrt 1993) is (q p_o - 1) / (q - 1).
    Oracle: statsmodels `cohens_kappa`.
    """
    counts = np.asarray(table, float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.sum() <= 0:
        raise ValueError("agreement needs a square table of counts")
    p = counts / counts.sum()
    row, column, classes = p.sum(axis=1), p.sum(axis=0), len(p)
    observed, chance = float(np.trace(p)), float((row * column).sum())
    pabak = (classes * observed - 1) / (classes - 1)
    if chance >= 1:
        return Agreement(observed, math.nan, math.nan, math.nan, pabak)
    kappa = (observed - chance) / (1 - chance)
    on = float((np.diag(p) * (1 - (row + column) * (1 - kappa)) ** 2).sum())
    off = p * np.add.outer(column, row) ** 2
    apart = (1 - kappa) ** 2 * float(off.sum() - np.trace(off))
    variance = (on + apart - (kappa - chance * (1 - kappa)) ** 2) / ((1 - chance) ** 2 * counts.sum())
    half = normal_quantile(level) * math.sqrt(max(0.0, variance))
    return Agreement(observed, kappa, kappa - half, min(1.0, kappa + half), pabak)


def krippendorff(ratings: Iterable[Iterable[Hashable | None]]) -> float:
    """Krippendorff's alpha for names: 1 - observed / expected disagreement; None is a missing rating.

    `ratings`: one sequence per rater, all of the same length. NaN where everything rated is equal. Source:
    Krippendorff 2004. Oracle: package krippendorff.
    """
    units = [[r for r in unit if r is not None] for unit in zip(*ratings, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    totals: dict[Hashable, int] = {}
    observed = 0.0
    for unit in units:
        sizes = {r: unit.count(r) for r in unit}
        observed += (len(unit) ** 2 - sum(s * s for s in sizes.values())) / (len(unit) - 1)
        for rating, size in sizes.items():
            totals[rating] = totals.get(rating, 0) + size
    n = sum(totals.values())
    expected = (n * n - sum(t * t for t in totals.values())) / (n - 1) if n > 1 else 0.0
    return 1 - observed / expected if expected else math.nan


def auc(bad: ArrayLike, harmless: ArrayLike) -> float:
    """P(score of a bad text > score of a harmless one), ties count half; NaN without either."""
    x, y = np.asarray(bad, float), np.asarray(harmless, float)
    if not x.size or not y.size:
        return math.nan
    ranks = scipy.stats.rankdata(np.r_[x, y])
    return float((ranks[: x.size].sum() - x.size * (x.size + 1) / 2) / (x.size * y.size))


@dataclass(frozen=True, slots=True)
class IdentityBias:
    """Score-level bias against texts that name a group (Borkan et al. 2019), all AUCs; NaN where a class is missing.

    `subgroup`: within the group. `bpsn`: harmless texts of the group against bad ones outside (low: false alarms on the
    group). `bnsp`: bad texts of the group against harmless ones outside (low: misses on the group).
    """

    subgroup: float
    bpsn: float
    bnsp: float


def identity_bias(scores: ArrayLike, bad: ArrayLike, inside: ArrayLike) -> IdentityBias:
    """The three AUCs of one group. Args: score, label and membership of each text, shape (n,)."""
    score, label, member = np.asarray(scores, float), np.asarray(bad, bool), np.asarray(inside, bool)
    return IdentityBias(
        subgroup=auc(score[member & label], score[member & ~label]),
        bpsn=auc(score[~member & label], score[member & ~label]),
        bnsp=auc(score[member & label], score[~member & ~label]),
    )
