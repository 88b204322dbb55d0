"""Disparity between groups, without the noise of plug-in gaps: who is worst, how wide the gap, is there one
at all.

Groups may overlap (a sentence may name two of them) and may share clusters. Every rate here counts the bad
outcome: higher is worse. There is no four-fifths rule: with 13 equal groups and rates up to 5% the ratio of
the smallest to the largest observed rate is below 0.8 practically always, at 500 prompts per group.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from safety_eval.stats.proportion import (
    Clustered,
    Interval,
    clustered,
    codes,
    difference_limit,
    effective_n,
    korn_graubard_lower,
    korn_graubard_upper,
    mover,
    wilson,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gap:
    """Largest difference between two groups' rates, with one-sided limits of the true one.

    `low` <= 0 means: no gap established. `pair`: the groups with the largest observed difference (worse,
    better).
    """

    value: float
    low: float
    high: float
    pair: tuple[str, str]


@dataclass(frozen=True, slots=True)
class GroupTable:
    """Groups estimated together: their summaries and the correlation of their estimates, shape (G, G)."""

    groups: Mapping[str, Clustered]
    correlation: Floats


def group_table(
    y: ArrayLike, membership: Mapping[str, ArrayLike], clusters: Iterable[Hashable] | None = None
) -> GroupTable:
    """Estimate every group from the same rows.

    Args:
        y: outcomes in [0, 1], shape (n,).
        membership: per group, truth values or row numbers, shape (n,); groups may overlap. Empty groups are
        refused. clusters: an id per row.

    The correlation comes from the clusters' (else rows') contributions to each estimate, so that shared
    rows and shared clusters count. Oracle: the Latino-Mexican difference on ToxiGen, where one group nearly
    holds the other.
    """
    rows = np.asarray(y, float)
    member = np.arange(rows.size) if clusters is None else codes(clusters)
    summaries, pulls = {}, []
    for name, inside in membership.items():
        mask = np.asarray(inside, bool)
        if not mask.any():
            raise ValueError(f"group {name!r} has no row")
        summaries[name] = clustered(rows[mask], member[mask])
        residual = np.where(mask, rows - summaries[name].value, 0.0) / mask.sum()
        pulls.append(np.bincount(member, residual))
    pull = np.asarray(pulls)
    scale = np.sqrt((pull**2).sum(axis=1))
    safe = np.where(scale > 0, scale, 1.0)
    return GroupTable(summaries, (pull @ pull.T) / np.outer(safe, safe))


def difference(table: GroupTable, first: str, second: str, level: float = 0.95) -> Interval:
    """Interval of rate(first) - rate(second), for display.

    Newcombe's square-and-add of Wilson limits on effective numbers, with the correlation of the two
    estimates (Zou 2007). Disjoint groups without clusters give `newcombe` exactly.
    """
    names = list(table.groups)
    one, two = table.groups[first], table.groups[second]
    tail = (1 - level) / 2
    limits = [wilson(c.value * n, n, level) for c in (one, two) for n in (effective_n(c, tail),)]
    rho = float(table.correlation[names.index(first), names.index(second)])
    return mover(one.value, limits[0], two.value, limits[1], rho)


def difference_upper(table: GroupTable, first: str, second: str, alpha: float) -> float:
    """One-sided upper limit of rate(first) - rate(second), for gates: `difference_limit` of the gates' own limits.

    Only a positive correlation of the two estimates is used, and only as far as their own shares of the variance
    allow: groups without an outcome show none.
    """
    names = list(table.groups)
    one, two = table.groups[first], table.groups[second]
    rho = float(table.correlation[names.index(first), names.index(second)])
    limit = difference_limit(
        one.value,
        partial(korn_graubard_upper, one),
        two.value,
        partial(korn_graubard_lower, two),
        alpha,
        max(0.0, rho),
    )
    return min(1.0, limit)


def gap(table: GroupTable, alpha: float = 0.05) -> Gap:
    """Largest difference of two groups' rates with honest one-sided limits.

    Upper: the maximum over ordered pairs of the pair's upper limit at alpha, uncorrected (the truly extreme
    pair is fixed). Lower: the maximum over pairs of the lower limit at alpha / number of pairs. Source:
    Berger 1982; STATISTICS 2.2.
    """
    pairs = list(permutations(table.groups, 2))
    if not pairs:
        raise ValueError("a gap needs two groups")
    values = {pair: table.groups[pair[0]].value - table.groups[pair[1]].value for pair in pairs}
    worst = max(pairs, key=lambda pair: values[pair])
    high = max(difference_upper(table, a, b, alpha) for a, b in pairs)
    low = max(-difference_upper(table, b, a, alpha / len(pairs)) for a, b in pairs)
    return Gap(values[worst], low, high, worst)


def difference_to_rest(
    y: ArrayLike, inside: ArrayLike, clusters: Iterable[Hashable] | None = None, level: float = 0.95
) -> tuple[float, Interval]:
    """Rate of a group minus the rate of all rows outside it; stays defined where groups nest."""
    mask = np.asarray(inside, bool)
    table = group_table(y, {"group": mask, "rest": ~mask}, clusters)
    value = table.groups["group"].value - table.groups["rest"].value
    return value, difference(table, "group", "rest", level)


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """Is there any difference between groups: statistic, permutation p-value, number of permutations."""

    statistic: float
    p_value: float
    permutations: int


def heterogeneity_rows(
    y: ArrayLike,
    membership: ArrayLike,
    clusters: Iterable[Hashable] | None = None,
    repeats: int = 999,
    seed: int = 0,
) -> Heterogeneity:
    """Permutation test for groups that may overlap: outcomes are shuffled over rows, the membership stays.

    Args:
        y: outcomes (0/1 or scores), shape (n,). membership: truth values, shape (n, G).
        clusters: rows that stay together; only clusters of equal size swap their outcomes.

    T = sum_g n_g (mean_g - mean)^2 / variance. p = (1 + #{T* >= T}) / (1 + repeats). Exact for exchangeable
    rows.
    """
    rows, member = np.asarray(y, float), np.asarray(membership, float)
    centred, sizes = rows - rows.mean(), member.sum(axis=0)
    member, sizes = member[:, sizes > 0], sizes[sizes > 0]
    if not centred.any():
        return Heterogeneity(0.0, 1.0, 0)
    blocks = _blocks(codes(clusters) if clusters is not None else np.arange(rows.size))
    rng = np.random.default_rng(seed)

    def statistic(values: Floats) -> float:
        return float((((values @ member) ** 2) / sizes).sum() / (rows.var() or 1.0))

    observed, reached = statistic(centred), 0
    for _ in range(repeats):
        shuffled = np.empty_like(centred)
        for block in blocks:
            shuffled[block] = centred[block[rng.permutation(len(block))]]
        reached += statistic(shuffled) >= observed * (1 - 1e-12)
    return Heterogeneity(observed, (1 + reached) / (1 + repeats), repeats)


def _blocks(member: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Row numbers of the clusters, stacked by size: one (clusters, size) array per size."""
    order, sizes = np.argsort(member, kind="stable"), np.bincount(member)
    starts = np.cumsum(sizes) - sizes
    return [order[starts[sizes == size][:, None] + np.arange(size)] for size in np.unique(sizes[sizes > 0])]


def heterogeneity_clusters(
    y: ArrayLike,
    groups: Sequence[Hashable],
    clusters: Iterable[Hashable],
    repeats: int = 999,
    seed: int = 0,
) -> Heterogeneity:
    """Permutation test for groups that contain whole clusters (BOLD articles): labels are shuffled over
    clusters.

    `groups`: one label per row; all rows of a cluster have the same. Same statistic as `heterogeneity_rows`.
    """
    rows, label, member = np.asarray(y, float), codes(groups), codes(clusters)
    owner = np.zeros(int(member.max()) + 1, np.intp)
    owner[member] = label
    if np.any(owner[member] != label):
        raise ValueError("a cluster lies in two groups: use heterogeneity_rows")
    centred = rows - rows.mean()
    if not centred.any():
        return Heterogeneity(0.0, 1.0, 0)
    sums, sizes, count = np.bincount(member, centred), np.bincount(member), int(label.max()) + 1
    rng = np.random.default_rng(seed)

    def statistic(labels: NDArray[np.intp]) -> float:
        group_sizes = np.bincount(labels, sizes, count)
        return float((np.bincount(labels, sums, count) ** 2 / group_sizes).sum() / rows.var())

    observed = statistic(owner)
    reached = sum(statistic(rng.permutation(owner)) >= observed * (1 - 1e-12) for _ in range(repeats))
    return Heterogeneity(observed, (1 + reached) / (1 + repeats), repeats)


@dataclass(frozen=True, slots=True)
class Spread:
    """Between-group spread that sampling noise does not explain.

    `mean`: random-effects mean. `tau`: between-group standard deviation. `i2`: share of the observed
    variance that is not noise. `q`: Cochran's Q.
    """

    mean: float
    tau: float
    i2: float
    q: float


def between_groups(values: ArrayLike, variances: ArrayLike) -> Spread:
    """Between-group spread where Cochran's Q is what it is on average; it lies within `tau_interval`, always.

    Source: Paule and Mandel 1982; preferred to DerSimonian and Laird's moments by Veroniki et al. 2016. Assumes
    independent estimates with known variances > 0 (see `sampling_variance` for groups without an event). Oracle:
    statsmodels `combine_effects(method_re="iterated")`.
    """
    x, v = np.asarray(values, float), np.asarray(variances, float)
    if x.size < 2 or np.any(v <= 0):
        raise ValueError("between-group spread needs two groups or more, each with a variance > 0")
    q = _cochran(x, v, 0.0)
    tau = _solved(x, v, x.size - 1)
    w = 1 / (v + tau**2)
    mean = float((w * x).sum() / w.sum())
    return Spread(mean, tau, max(0.0, (q - (x.size - 1)) / q) if q > 0 else 0.0, q)


def tau_interval(values: ArrayLike, variances: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Interval of the standard deviation between groups: where Cochran's Q stays within its law (Q-profile).

    Source: Viechtbauer 2007. Assumes independent estimates with known variances > 0. Coverage:
    tests/gates/test_disparity.py.
    """
    x, v = np.asarray(values, float), np.asarray(variances, float)
    tail = (1 - level) / 2
    low, high = (float(special.chdtri(x.size - 1, beyond)) for beyond in (1 - tail, tail))
    return _solved(x, v, high), _solved(x, v, low)


def _cochran(x: Floats, v: Floats, tau2: float) -> float:
    """Q with the between-group variance in the weights; it falls as that grows."""
    w = 1 / (v + tau2)
    return float((w * (x - (w * x).sum() / w.sum()) ** 2).sum())


def _solved(x: Floats, v: Floats, target: float) -> float:
    """The standard deviation between groups at which Q is `target`; 0 where it is below that already."""
    if _cochran(x, v, 0.0) <= target:
        return 0.0
    high = float(v.max()) + float(np.ptp(x)) ** 2
    while _cochran(x, v, high) > target:
        high *= 2
    return math.sqrt(optimize.brentq(lambda tau2: _cochran(x, v, tau2) - target, 0.0, high))


def shrunk(values: ArrayLike, variances: ArrayLike, spread: Spread | None = None) -> Floats:
    """Estimates drawn towards the mean by their noise, for ordering charts; gates use counts.

    Source: James-Stein / empirical Bayes, mean + tau^2 / (tau^2 + v_g) (x_g - mean).
    """
    x, v = np.asarray(values, float), np.asarray(variances, float)
    s = spread or between_groups(x, v)
    return np.asarray(s.mean + s.tau**2 / (s.tau**2 + v) * (x - s.mean))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p-values (Holm 1979): naming all below alpha errs at all with chance alpha at most."""
    p = np.asarray(p_values, float)
    order = p.argsort(kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate((p.size - np.arange(p.size)) * p[order]))
    return adjusted
