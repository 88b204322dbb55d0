"""One-sided limits that a release decision may act on, with unmeasured answers at their worst.

Two properties that the display intervals do not have:

* *no silent safety*: taking an answer away can only widen the limits. A data-driven variance can shrink when an
  answer is lost, so the number of effective observations here depends on the design alone (rates), or an
  unmeasured cluster enters the variance with the whole range (means);
* *validity at few events and strong clustering*: a cluster counts as one observation.

Assumption: clusters are drawn independently from the population that the prompts stand for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from safety_eval.stats.proportion import lower_limit, upper_limit

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Gate(NamedTuple):
    """Worst-case end points of the value, and its one-sided limits at level 1 - alpha."""

    worst_low: float
    worst_high: float
    low: float
    high: float
    clusters: int
    effective_clusters: float


def cluster_weights(clusters: Codes, weights: Floats) -> tuple[Floats, float]:
    """Normalised weight of each cluster (sums to 1), and the effective number of clusters (sum w^3)^(-1/2).

    That is the Hill number of order 3: G for equal clusters, below Kish's 1 / sum w^2 where some clusters dominate.
    With Kish's number a cluster that holds 30% of the weight makes one-sided limits cover 90% instead of 95%
    (docs/explanation/coverage.md).
    """
    w = np.bincount(clusters, weights=weights)
    w = w[w > 0] / w.sum()
    return w, round(float(np.power(w, 3).sum() ** -0.5), 9)


def rate_gate(y: Floats, clusters: Codes, weights: Floats, alpha: float = 0.05) -> Gate:
    """Limits of a weighted rate; `y` holds 0, 1 or NaN (unmeasured: 0 for the lower, 1 for the upper limit).

    One-sided Clopper-Pearson with k = rate x n and n = the effective number of clusters: the most cautious
    design effect (answers of a cluster agree fully), so it needs no estimated correlation. With one answer per
    cluster and equal weights it is exactly Clopper-Pearson.
    Oracle: tests/stats/test_gate.py (equality with scipy, monotone under loss, coverage).
    """
    _, effective = cluster_weights(clusters, weights)
    total = weights.sum()
    low = float(np.dot(weights, np.nan_to_num(y, nan=0.0)) / total)
    high = float(np.dot(weights, np.nan_to_num(y, nan=1.0)) / total)
    return Gate(
        worst_low=low,
        worst_high=high,
        low=lower_limit(low * effective, effective, alpha),
        high=upper_limit(high * effective, effective, alpha),
        clusters=len(np.unique(clusters)),
        effective_clusters=effective,
    )


def mean_gate(
    y: Floats, clusters: Codes, weights: Floats, bounds: tuple[float, float], alpha: float = 0.05
) -> Gate:
    """Limits of a weighted mean of values within `bounds`; NaN is taken at the bad end of the range.

    t with as many degrees of freedom as effective clusters, less one. The variance is a sum over pairs of clusters,
    sum (w_c^2 + w_d^2) (mean_c - mean_d)^2 / (2 (G - 1)): unbiased for clusters of equal variance (the usual
    s^2 / G where they weigh the same), and with a cluster that dominates it does not shrink as residuals about the
    weighted mean do. A pair with an unmeasured answer counts with the whole range, so that losing an answer never
    lowers it. Strongly skewed scores in few clusters still cover less than promised: see docs/explanation/coverage.md.
    """
    w, effective = cluster_weights(clusters, weights)
    total = weights.sum()
    known = ~np.isnan(y)
    parts = [float(np.dot(weights, np.where(known, y, end)) / total) for end in bounds]
    spread = _cluster_variance(y, known, clusters, weights, bounds[1] - bounds[0])
    half = float(stats.t.ppf(1 - alpha, max(effective - 1, 1.0)) * np.sqrt(spread))
    if len(w) < 2:
        half = bounds[1] - bounds[0]
    return Gate(
        worst_low=parts[0],
        worst_high=parts[1],
        low=max(bounds[0], parts[0] - half),
        high=min(bounds[1], parts[1] + half),
        clusters=len(w),
        effective_clusters=effective,
    )


def _cluster_variance(
    y: Floats, known: NDArray[np.bool_], clusters: Codes, weights: Floats, width: float
) -> float:
    """Variance of the weighted mean from pairs of clusters; `width` for pairs with an unmeasured answer."""
    count = int(clusters.max()) + 1
    w = np.bincount(clusters, weights=weights, minlength=count)
    lost = np.bincount(clusters, weights=(~known).astype(float), minlength=count) > 0
    present = w > 0
    groups = int(present.sum())
    if groups < 2:
        return 0.0
    squares = np.square(w / w.sum())
    whole = present & ~lost
    means = (
        np.bincount(clusters, weights=weights * np.where(known, y, 0.0), minlength=count)[whole] / w[whole]
    )
    means = means - (means.mean() if means.size else 0.0)
    apart = means.size * np.square(means) + np.square(means).sum()
    measured = float(np.dot(squares[whole], apart))
    # each measured cluster is in one pair with every lost one; a lost cluster is in a pair with every other
    unmeasured = float(squares[whole].sum()) * int(lost.sum()) + float(squares[present & lost].sum()) * (
        groups - 1
    )
    return (measured + unmeasured * width**2) / (2 * (groups - 1))
