"""Intervals for a share: independent answers, clustered answers, weighted (macro) means, by one mechanism.

`wilson` is for display, one-sided Clopper-Pearson (`upper_limit`, `lower_limit`) for gates. Where prompts
come in clusters, both work on an effective number of answers: `clustered_interval` for display,
`korn_graubard_upper` and `korn_graubard_lower` for gates. Limits are shares in [0, 1]; k and n may be
non-integer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

# Clusters without a failure that are added, in thought, to the clusters that failed, when the within-cluster
# correlation is learned from failures: with few failing clusters the estimate leans to "a cluster is one
# answer".
PRIOR_CLUSTERS = 2.0


class Interval(NamedTuple):
    """Two limits, low <= high."""

    low: float
    high: float


def normal_quantile(level: float) -> float:
    """z of a two-sided interval: 1.96 at level 0.95."""
    return float(special.ndtri(0.5 + level / 2))


def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t for any df > 0; infinite at df <= 0, where nothing can be said."""
    return float(special.stdtrit(df, probability)) if df > 0 else math.inf


def _check_count(k: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    bad, total = np.broadcast_arrays(np.asarray(k, float), np.asarray(n, float))
    if not (np.all(total > 0) and np.all(bad >= 0) and np.all(bad <= total * (1 + 1e-12) + 1e-12)):
        raise ValueError(f"a count must satisfy 0 <= k <= n and n > 0, got k={bad}, n={total}")
    return np.minimum(bad, total), total


def upper_limits(k: ArrayLike, n: ArrayLike, alpha: float = 0.05) -> Floats:
    """`upper_limit` for arrays of counts (they broadcast)."""
    bad, total = _check_count(k, n)
    good = total - bad
    with np.errstate(invalid="ignore"):
        return np.where(good > 0, special.betaincinv(bad + 1, np.where(good > 0, good, 1.0), 1 - alpha), 1.0)


def lower_limits(k: ArrayLike, n: ArrayLike, alpha: float = 0.05) -> Floats:
    """`lower_limit` for arrays of counts (they broadcast)."""
    bad, total = _check_count(k, n)
    return np.asarray(1.0 - upper_limits(total - bad, total, alpha))


def upper_limit(k: float, n: float, alpha: float = 0.05) -> float:
    """One-sided Clopper-Pearson upper limit of a share at confidence 1 - alpha.

    Source: Clopper and Pearson 1934, as a beta quantile. Assumes independent answers. Never covers less than
    1 - alpha, at any n and rate, which is why gates use it. Oracle: scipy
    `binomtest(...).proportion_ci("exact")`.
    """
    return float(upper_limits(k, n, alpha))


def lower_limit(k: float, n: float, alpha: float = 0.05) -> float:
    """One-sided Clopper-Pearson lower limit of a share at confidence 1 - alpha; see `upper_limit`."""
    return float(lower_limits(k, n, alpha))


def clopper_pearson(k: float, n: float, level: float = 0.95) -> Interval:
    """Two-sided Clopper-Pearson interval ("exact"): both one-sided limits at half the error each."""
    half = (1 - level) / 2
    return Interval(lower_limit(k, n, half), upper_limit(k, n, half))


def wilson_limits(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """`wilson` for arrays of counts (they broadcast): low, high."""
    bad, total = _check_count(k, n)
    z2 = normal_quantile(level) ** 2
    share = bad / total
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = np.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total**2))) / (1 + z2 / total)
    low = np.where(bad == 0, 0.0, np.maximum(0.0, centre - half))
    return low, np.where(bad == total, 1.0, np.minimum(1.0, centre + half))


def wilson(k: float, n: float, level: float = 0.95) -> Interval:
    """Wilson score interval (Wilson 1927): what tables and charts show for independent answers.

    Close to its level on average, not a guarantee; gates use `upper_limit`. Oracle: scipy
    `proportion_ci("wilson")`.
    """
    low, high = wilson_limits(k, n, level)
    return Interval(float(low), float(high))


def mover(
    first: float, first_limits: Interval, second: float, second_limits: Interval, correlation: float = 0.0
) -> Interval:
    """Interval of first - second from each one's own limits (square-and-add).

    Source: Zou and Donner 2008 (MOVER), with the correlation of the two estimates for overlapping groups.
    With Wilson limits and no correlation it is `newcombe`.
    """
    down, up = first - first_limits.low, first_limits.high - first
    down2, up2 = second - second_limits.low, second_limits.high - second
    low = first - second - math.sqrt(max(0.0, down**2 + up2**2 - 2 * correlation * down * up2))
    high = first - second + math.sqrt(max(0.0, up**2 + down2**2 - 2 * correlation * up * down2))
    return Interval(max(-1.0, low), min(1.0, high))


def difference_limit(
    first: float,
    upper: Callable[[float], float],
    second: float,
    lower: Callable[[float], float],
    alpha: float,
    correlation: float = 0.0,
) -> float:
    """One-sided upper limit of first - second at error alpha, for gates.

    Args:
        upper, lower: the one-sided limit of the first (second) at a given error.

    From 5% on: square-and-add at 0.8 alpha; at alpha itself its exact coverage falls to 93.8% instead of 95%,
    and with Wilson limits to 87% (docs/explanation/coverage.md). Below 5%, where a group is named and square-
    and-add fails by more: both limits at alpha / 2 (Bonferroni), which holds whatever the two have in common.
    """
    if alpha < 0.05 - 1e-12:
        return upper(alpha / 2) - lower(alpha / 2)
    up, down = upper(0.8 * alpha) - first, second - lower(0.8 * alpha)
    return first - second + math.sqrt(max(0.0, up**2 + down**2 - 2 * correlation * up * down))


@dataclass(frozen=True, slots=True)
class Clustered:
    """A (weighted) share or mean, with what its clusters say about its precision.

    `value`: the estimate. `se`: its cluster-robust standard error (infinite with one cluster). `n`: rows.
    `clusters`: G. `effective_clusters`: Kish, 1 / sum W_c^2 of the clusters' weights. `n_eff`: the number of
    independent answers that would be as precise. `deff`: n / n_eff. The rest serves the gates: `jackknife_se`
    (delete one cluster; larger where a cluster dominates), `row_n` (Kish over rows), `event_clusters`
    (effective number of clusters with the rarer outcome), `icc` (within-cluster correlation, 1 where
    nothing was learned).
    """

    value: float
    se: float
    n: int
    clusters: int
    effective_clusters: float
    n_eff: float
    deff: float
    jackknife_se: float
    row_n: float
    event_clusters: float
    icc: float

    @property
    def independent(self) -> bool:
        """Every row is its own cluster and all weigh the same, so that the binomial laws hold exactly."""
        return self.clusters == self.n and math.isclose(self.row_n, self.n, rel_tol=1e-9)


def codes(clusters: Iterable[Hashable]) -> NDArray[np.intp]:
    """Number cluster ids 0, 1, ... in order of appearance."""
    if isinstance(clusters, np.ndarray) and clusters.dtype.kind in "iu":
        return np.asarray(np.unique(clusters, return_inverse=True)[1], np.intp)
    seen: dict[Hashable, int] = {}
    return np.fromiter((seen.setdefault(name, len(seen)) for name in clusters), np.intp)


def clustered(y: ArrayLike, clusters: Iterable[Hashable] | None = None, weights: ArrayLike | None = None) -> Clustered:
    """Estimate a share from rows that come in clusters, with weights.

    Args:
        y: outcomes in [0, 1], shape (n,).
        clusters: an id per row; None where every row is its own cluster.
        weights: one per row, >= 0 (default: equal). The macro mean over groups that may overlap is the
        weighted mean
            with w_i = sum over the groups g of row i of 1 / (G n_g): see `macro_weights`.

    Source: linearised variance of a weighted mean, v = G/(G-1) sum_c (sum_{i in c} w_i (y_i - value))^2.
    Oracle: statsmodels `OLS(y, 1).fit(cov_type="cluster")`.
    """
    rows = np.asarray(y, float)
    w = np.ones_like(rows) if weights is None else np.asarray(weights, float)
    if rows.ndim != 1 or rows.size == 0 or w.shape != rows.shape or not w.sum() > 0 or np.any(w < 0):
        raise ValueError("an estimate needs a non-empty vector of outcomes and one weight >= 0 per outcome")
    member = np.arange(rows.size) if clusters is None else codes(clusters)
    if member.shape != rows.shape:
        raise ValueError(f"{rows.size} outcomes but {member.size} cluster ids")
    keep = w > 0
    rows, w, member = rows[keep], w[keep] / w.sum(), np.unique(member[keep], return_inverse=True)[1]
    return _summary(rows, w, member)


def _summary(y: Floats, w: Floats, member: NDArray[Any]) -> Clustered:
    share = np.bincount(member, w)
    first, second = np.bincount(member, w * y), np.bincount(member, w * y * y)
    groups, value = share.size, float(first.sum())
    effective, row_n = 1 / float((share**2).sum()), 1 / float((w**2).sum())
    residual = first - share * value
    spread = value * (1 - value)
    if groups > 1:
        variance = groups / (groups - 1) * float((residual**2).sum())
        jackknife = (groups - 1) / groups * float(((residual / (1 - share)) ** 2).sum())
    else:
        variance = jackknife = math.inf
    no_spread = variance <= 1e-18 * max(spread, 1e-12) or groups == 1
    n_eff = effective if no_spread or spread <= 0 else min(row_n, spread / variance)
    if groups == y.size and math.isclose(row_n, groups, rel_tol=1e-9):
        n_eff = float(groups)
    rare = first if value <= 0.5 else share - first
    events = 0.0 if not rare.sum() > 0 else float(rare.sum() ** 2 / (rare**2).sum())
    pairs = float((share**2).sum() - (w**2).sum())
    apart = float((share * second - first**2).sum()) / pairs if pairs > 1e-15 else spread
    icc = 1.0 if spread <= 0 else float(np.clip(1 - apart / spread, 0, 1))
    return Clustered(
        value=min(max(value, 0.0), 1.0) if y.min() >= 0 and y.max() <= 1 else value,
        se=math.sqrt(variance),
        n=int(y.size),
        clusters=groups,
        effective_clusters=effective,
        n_eff=n_eff,
        deff=y.size / n_eff,
        jackknife_se=math.sqrt(max(variance, jackknife)),
        row_n=row_n,
        event_clusters=events,
        icc=icc,
    )


def t_ratio(n: float, clusters: float, tail: float) -> float:
    """How much the variance of few clusters is discounted: (t with n-1 df / t with clusters-1 df)^2."""
    few = t_quantile(1 - tail, clusters - 1)
    return 0.0 if math.isinf(few) else min(1.0, (t_quantile(1 - tail, max(n, 2.0) - 1) / few) ** 2)


def effective_n(c: Clustered, tail: float) -> float:
    """Effective number of answers of Korn and Graubard 1998, at the error `tail` of one side.

    min(n, p(1-p)/v (t_{n-1}/t_{G-1})^2); where the outcomes show no spread, the effective number of clusters.
    """
    if c.independent:
        return float(c.n)
    if c.se == 0 or c.clusters < 2:
        return c.effective_clusters
    return max(min(c.row_n, c.value * (1 - c.value) / c.se**2 * t_ratio(c.n, c.clusters, tail)), 1e-6)


def gate_n(c: Clustered, alpha: float) -> float:
    """Effective number of answers that a gate may count on: never more than `effective_n`, often fewer.

    Korn-Graubard's own number is too optimistic for a gate in three ways (its one-sided limit covers as
    little as 66% instead of 95% in docs/explanation/coverage.md), each met here: (1) a dominant cluster:
    delete-one-cluster variance and effective, not counted, clusters for t; (2) few clusters with the rarer
    outcome say little of how failures cluster: the number is drawn towards one answer per cluster, as if
    two more such clusters were; (3) large clusters that happen to have no failure hide the correlation from
    the variance: the disagreement within clusters shows it, and gives a second number, 1 / (icc sum W_c^2 +
    (1 - icc) sum w_i^2).
    """
    if c.independent:
        return float(c.n)
    floor = c.effective_clusters
    if c.clusters < 2 or c.jackknife_se == 0 or not 0 < c.value < 1:
        return floor
    ratio = t_ratio(c.n, floor, alpha)
    robust = min(c.row_n, c.value * (1 - c.value) / c.jackknife_se**2 * ratio)
    trust = c.event_clusters / (c.event_clusters + PRIOR_CLUSTERS)
    drawn = trust * robust + (1 - trust) * min(floor, robust)
    exchangeable = ratio / (c.icc / floor + (1 - c.icc) / c.row_n)
    return max(min(drawn, exchangeable), 1e-6)


def korn_graubard_upper(c: Clustered, alpha: float = 0.05) -> float:
    """One-sided upper limit of a clustered share, for gates.

    Clopper-Pearson on `gate_n`, and never below what no failure at all would give: one failure more must
    not make a group look safer. Covers at least 1 - alpha in every setting of docs/explanation/coverage.md
    with 10 effective clusters or more; below 10, a group is descriptive only.
    """
    n = gate_n(c, alpha)
    return max(upper_limit(c.value * n, n, alpha), upper_limit(0, c.effective_clusters, alpha))


def korn_graubard_lower(c: Clustered, alpha: float = 0.05) -> float:
    """One-sided lower limit of a clustered share, for gates: the mirror image of `korn_graubard_upper`."""
    n = gate_n(c, alpha)
    full = c.effective_clusters
    return min(lower_limit(c.value * n, n, alpha), lower_limit(full, full, alpha))


def clustered_interval(c: Clustered, level: float = 0.95) -> Interval:
    """Interval of a clustered share for display: the two one-sided limits, each with half of what may be missed."""
    alpha = (1 - level) / 2
    return Interval(korn_graubard_lower(c, alpha), korn_graubard_upper(c, alpha))


def counts(y: Sequence[float] | Floats) -> tuple[int, int]:
    """k and n of a vector of 0/1 outcomes."""
    rows = np.asarray(y)
    return int(rows.sum()), int(rows.size)
