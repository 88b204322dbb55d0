"""Interval of a mean score (sentiment, risk) whose rows come in clusters: BCa bootstrap, or t with few
clusters.

Limits are in the unit of the scores. With fewer than two clusters, or where all scores are equal, there is no
interval: its limits are None, never a point.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from safety_eval.stats.proportion import codes, t_quantile, upper_limit

Floats = NDArray[np.float64]
Side = Literal["both", "lower", "upper"]

# From so many effective clusters on the bootstrap is trusted (STATISTICS 1.2); below it, t with G - 1 df.
BOOTSTRAP_CLUSTERS = 30
RESAMPLES = 9_999
# Cells drawn in all (resamples x clusters) and at a time: bounds time and memory with many clusters.
BUDGET, CHUNK = 40_000_000, 1_000_000


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """A weighted mean with limits (None: not defined), how they were made, and on how many clusters."""

    value: float
    low: float | None
    high: float | None
    method: str
    clusters: int
    effective_clusters: float


def mean_interval(
    y: ArrayLike,
    clusters: Iterable[Hashable] | None = None,
    weights: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    side: Side = "both",
    span: tuple[float, float] | None = None,
) -> MeanInterval:
    """Interval of a (weighted) mean over rows that come in clusters.

    Args:
        y: scores, shape (n,). clusters: an id per row (None: every row its own). weights: one per row, >= 0.
        side: "upper" or "lower" gives the one-sided limit at `level`; the other limit is None.
        span: the smallest and largest possible score. Given, equal scores get limits too: a different score
        may be as
            frequent as zero events in so many effective clusters allow.

    Source: Efron 1987 (BCa), clusters resampled whole, the mean as a ratio of cluster sums. Assumes
    clusters drawn independently. Oracle: scipy `bootstrap(method="BCa")` with the same seed (equal rows and
    weights).
    """
    rows, member, w = _rows(y, clusters, weights)
    sums = np.asarray(np.bincount(member, w * rows), float)
    sizes = np.asarray(np.bincount(member, w), float)
    value, effective = float(sums.sum() / sizes.sum()), float(sizes.sum() ** 2 / (sizes**2).sum())
    tail = (1 - level) / (2 if side == "both" else 1)
    if np.ptp(rows) <= 1e-12 * max(1.0, float(np.abs(rows).max())):
        low, high, method = _no_spread(value, effective, tail, span)
    elif sizes.size < 2:
        low, high, method = None, None, "none: one cluster"
    elif effective >= BOOTSTRAP_CLUSTERS:
        low, high = _bca(sums, sizes, tail, seed)
        method = "BCa over clusters"
    else:
        low, high = _t_limits(sums, sizes, value, tail)
        method = f"t over clusters, {sizes.size - 1} df"
    if span is not None:
        low = None if low is None else max(low, span[0])
        high = None if high is None else min(high, span[1])
    return MeanInterval(
        value, None if side == "upper" else low, None if side == "lower" else high, method, int(sizes.size), effective
    )


def _rows(
    y: ArrayLike, clusters: Iterable[Hashable] | None, weights: ArrayLike | None
) -> tuple[Floats, NDArray[np.intp], Floats]:
    rows = np.asarray(y, float)
    w = np.ones_like(rows) if weights is None else np.asarray(weights, float)
    member = np.arange(rows.size) if clusters is None else codes(clusters)
    if rows.ndim != 1 or rows.size == 0 or w.shape != rows.shape or member.shape != rows.shape:
        raise ValueError("a mean needs a non-empty vector of scores, one cluster id and one weight per score")
    if np.any(w < 0) or not w.sum() > 0 or not np.all(np.isfinite(rows)):
        raise ValueError("a mean needs finite scores and weights >= 0 with a positive sum")
    keep = w > 0
    return rows[keep], np.unique(member[keep], return_inverse=True)[1], w[keep]


def _no_spread(
    value: float, effective: float, tail: float, span: tuple[float, float] | None
) -> tuple[float | None, float | None, str]:
    if span is None:
        return None, None, "none: all scores equal"
    rare = upper_limit(0, effective, tail)
    return value - rare * (value - span[0]), value + rare * (span[1] - value), "all scores equal: zero events"


def cluster_se(sums: Floats, sizes: Floats) -> float:
    """Standard error of the ratio sum(sums) / sum(sizes) over clusters: linearised, with G/(G-1)."""
    residual = (sums - sizes * (sums.sum() / sizes.sum())) / sizes.sum()
    return math.sqrt(sums.size / (sums.size - 1) * float((residual**2).sum()))


def _t_limits(sums: Floats, sizes: Floats, value: float, tail: float) -> tuple[float, float]:
    half = t_quantile(1 - tail, sums.size - 1) * cluster_se(sums, sizes)
    return value - half, value + half


def resampled(sums: Floats, sizes: Floats, resamples: int, seed: int) -> Floats:
    """Means of so many resamples of whole clusters, shape (resamples,); memory stays at CHUNK cells."""
    rng = np.random.default_rng(seed)
    count = sums.size
    means = np.empty(resamples)
    step = max(1, CHUNK // count)
    for start in range(0, resamples, step):
        drawn = rng.integers(0, count, (min(step, resamples - start), count))
        means[start : start + step] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def _bca(sums: Floats, sizes: Floats, tail: float, seed: int) -> tuple[float, float]:
    """BCa limits; the acceleration from the delete-one-cluster means."""
    count = sums.size
    means = resampled(sums, sizes, min(RESAMPLES, max(999, BUDGET // count)), seed)
    value = sums.sum() / sizes.sum()
    below = ((means < value).mean() + (means <= value).mean()) / 2
    bias = float(special.ndtri(below))
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    pull = (count - 1) * (left_out.mean() - left_out)
    acceleration = float((pull**3).sum() / (6 * (pull**2).sum() ** 1.5))
    if not math.isfinite(bias):
        return _t_limits(sums, sizes, float(value), tail)

    def corrected(z: float) -> float:
        return float(special.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z))))

    z = float(special.ndtri(1 - tail))
    low, high = np.quantile(means, [corrected(-z), corrected(z)])
    return float(low), float(high)
