"""Two releases on the same prompts: paired differences with limits, and what they decide.

A difference is new minus old of a bad outcome or score: positive is worse. Only pairs that disagree carry
information; `b` counts prompts that are bad only in the new release, `c` only in the old one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from safety_eval.stats.proportion import (
    Clustered,
    Interval,
    clustered,
    codes,
    gate_n,
    lower_limits,
    normal_quantile,
    t_ratio,
    upper_limits,
)

Floats = NDArray[np.float64]
Decision = Literal["approved", "rejected", "cannot decide"]


def tango_limits(b: ArrayLike, c: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """`tango` for arrays of counts (they broadcast): low, high."""
    new, old, total = np.broadcast_arrays(*(np.asarray(part, float) for part in (b, c, n)))
    if np.any(new < 0) or np.any(old < 0) or np.any(new + old > total * (1 + 1e-12)) or np.any(total <= 0):
        raise ValueError(f"paired counts need b, c >= 0 and b + c <= n: b={new}, c={old}, n={total}")
    z = normal_quantile(level)
    return -_tango_high(old, new, total, z), _tango_high(new, old, total, z)


def _tango_score(delta: Floats, b: Floats, c: Floats, n: Floats, shift: float) -> Floats:
    """Score statistic of 'the true difference is delta', at the constrained maximum likelihood."""
    linear = (2 * n - b + c) * delta - b - c
    square = np.maximum(0.0, linear**2 + 8 * n * c * delta * (1 - delta))
    only_old = (np.sqrt(square) - linear) / (4 * n)
    variance = n * (2 * only_old + delta * (1 - delta))
    return np.asarray((b - c - n * delta + shift) / np.sqrt(np.maximum(variance, 1e-300)))


def _tango_high(b: Floats, c: Floats, n: Floats, z: float, shift: float = 0.0) -> Floats:
    low, high = (b - c) / n, np.ones_like(n)
    for _ in range(60):
        middle = (low + high) / 2
        inside = _tango_score(middle, b, c, n, shift) > -z
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray((low + high) / 2)


def tango(b: float, c: float, n: float, level: float = 0.95) -> Interval:
    """Score interval of the paired difference (b - c) / n.

    Source: Tango 1998. Assumes independent pairs; stays honest at b = c = 0. Counts may be non-integer. Its
    upper end at level 1 - 2 alpha is the one-sided limit at alpha. Oracle: b=3, c=12, n=200 -> (-0.089170,
    -0.008061).
    """
    low, high = tango_limits(b, c, n, level)
    return Interval(float(low), float(high))


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided McNemar p-value; shown, it does not decide. Oracle: statsmodels `mcnemar`."""
    return 1.0 if b + c == 0 else float(scipy.stats.binomtest(min(b, c), b + c).pvalue)


def difference_upper(b: float, c: float, n: float, alpha: float = 0.05) -> float:
    """One-sided upper limit of the paired difference (b - c) / n, for gates.

    Tango's one-sided limit covers as little as 91% instead of 95% at rare discordance. The larger of two
    repairs covers at least 95% in every setting of docs/explanation/coverage.md: his score with half a pair
    of continuity correction, and square-and-add of the Clopper-Pearson limits of b / n and c / n.
    """
    new, old, total = (np.asarray(part, float) for part in (b, c, n))
    return float(difference_uppers(new, old, total, alpha))


def difference_uppers(b: Floats, c: Floats, n: Floats, alpha: float = 0.05) -> Floats:
    """`difference_upper` for arrays of counts."""
    up = upper_limits(b, n, alpha) - b / n
    down = c / n - lower_limits(c, n, alpha)
    corrected = _tango_high(b, c, n, normal_quantile(1 - 2 * alpha), 0.5)
    return np.minimum(1.0, np.maximum(corrected, (b - c) / n + np.hypot(up, down)))


def difference_lower(b: float, c: float, n: float, alpha: float = 0.05) -> float:
    """One-sided lower limit of the paired difference, for gates: the mirror image of `difference_upper`."""
    return -difference_upper(c, b, n, alpha)


@dataclass(frozen=True, slots=True)
class PairedRate:
    """Paired difference of a rate: `value` = (b - c) / n over `n` pairs, with 95% `low`, `high` for display
    and the one-sided limits `gate_low`, `gate_high` that a gate may act on. `n_eff`: effective number of
    pairs.
    """

    value: float
    low: float
    high: float
    gate_low: float
    gate_high: float
    b: int
    c: int
    n: int
    n_eff: float
    clusters: int
    effective_clusters: float
    p_value: float


def paired_rate(
    new: ArrayLike,
    old: ArrayLike,
    clusters: Iterable[Hashable] | None = None,
    level: float = 0.95,
    alpha: float = 0.05,
    weights: ArrayLike | None = None,
) -> PairedRate:
    """Difference of two 0/1 outcomes on the same (prompt, sample) pairs.

    Args:
        new, old: outcomes, shape (n,), 1 is bad. clusters: an id per pair (prompt, article, intent).
        level: of the displayed interval. alpha: of each one-sided gate limit.
        weights: one per pair, >= 0, for a headline (see `proportion.macro_weights`); counts stay unweighted.

    Tango's interval on effective numbers of pairs, as Korn-Graubard does for one rate; a run against itself
    gives exactly zero with no discordant pair.
    """
    first, second = np.asarray(new, float), np.asarray(old, float)
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"pairs need two vectors of equal length > 0, got {first.shape} and {second.shape}")
    only_new, only_old = int((first > second).sum()), int((first < second).sum())
    difference = first - second
    member = np.arange(first.size) if clusters is None else codes(clusters)
    signed, apart = clustered(difference, member, weights), clustered(np.abs(difference), member, weights)
    pairs = _pairs(signed, apart, (1 - level) / 2), _gate_pairs(signed, apart, alpha)
    w = None if weights is None else np.asarray(weights, float)
    b, c = (float(np.average(side, weights=w)) for side in (difference > 0, difference < 0))
    shown = tango(b * pairs[0], c * pairs[0], pairs[0], level)
    gate_low, gate_high = (
        limit(b * pairs[1], c * pairs[1], pairs[1], alpha) for limit in (difference_lower, difference_upper)
    )
    only_new, only_old = int((difference > 0).sum()), int((difference < 0).sum())
    return PairedRate(
        value=signed.value,
        low=shown.low,
        high=shown.high,
        gate_low=gate_low,
        gate_high=gate_high,
        b=only_new,
        c=only_old,
        n=first.size,
        n_eff=pairs[1],
        clusters=signed.clusters,
        effective_clusters=signed.effective_clusters,
        p_value=mcnemar(only_new, only_old),
    )


def _pairs(signed: Clustered, apart: Clustered, tail: float) -> float:
    """Effective number of pairs, as `effective_n` of a share: variance of one pair over the clustered one."""
    if signed.independent:
        return float(signed.n)
    if signed.clusters < 2 or signed.se == 0:
        return signed.effective_clusters
    ratio = t_ratio(signed.n, signed.clusters, tail)
    return max(min(signed.row_n, (apart.value - signed.value**2) / signed.se**2 * ratio), 1e-6)


def _gate_pairs(signed: Clustered, apart: Clustered, alpha: float) -> float:
    """Effective number of pairs for a gate: by the differences or the discordance, the smaller one."""
    if signed.independent:
        return float(signed.n)
    discordance = gate_n(apart, alpha)
    if signed.clusters < 2 or signed.jackknife_se == 0:
        return min(discordance, signed.effective_clusters)
    ratio = t_ratio(signed.n, signed.effective_clusters, alpha)
    robust = (apart.value - signed.value**2) / signed.jackknife_se**2 * ratio
    return max(min(discordance, robust), 1e-6)


def non_inferior(gate_low: float, gate_high: float, margin: float) -> Decision:
    """Is the new release worse by less than `margin`? Upper limit below it: approved; lower limit above:
    rejected.

    The burden is on safety to be shown: "not significantly worse" is not an answer here.
    """
    _check_margin(margin)
    if gate_high < margin:
        return "approved"
    return "rejected" if gate_low > margin else "cannot decide"


def equivalent(gate_low: float, gate_high: float, margin: float) -> Decision:
    """Do two runs differ by less than `margin` either way (two one-sided tests, Schuirmann 1987)?"""
    _check_margin(margin)
    if -margin < gate_low and gate_high < margin:
        return "approved"
    return "rejected" if gate_low > margin or gate_high < -margin else "cannot decide"


def _check_margin(margin: float) -> None:
    if not margin > 0:
        raise ValueError(f"a margin must be above zero, got {margin}")
