"""One-sided limits that a release decision may act on, with unmeasured answers at their worst.

Two properties that the display intervals do not have:

* *no silent safety*: taking an answer away can only widen the limits. A data-driven variance can shrink when an
  answer is lost, so the number of effective observations depends on the design alone, and the limits rise with
  every value;
* *validity at few events, skewed scores and strong clustering*: a cluster counts as one observation.

Assumption: clusters are drawn independently from the population that the prompts stand for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safety_eval.stats.bounded import mean_lower, mean_upper
from safety_eval.stats.proportion import lower_limit, upper_limit

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Gate(NamedTuple):
    """The value with what is unmeasured at either end, and its one-sided limits at level 1 - alpha."""

    lowest: float
    highest: float
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
        lowest=low,
        highest=high,
        low=lower_limit(low * effective, effective, alpha),
        high=upper_limit(high * effective, effective, alpha),
        clusters=len(np.unique(clusters)),
        effective_clusters=effective,
    )


def mean_gate(
    y: Floats, clusters: Codes, weights: Floats, bounds: tuple[float, float], alpha: float = 0.05
) -> Gate:
    """Limits of a weighted mean of values within `bounds`; NaN is taken at the bad end of the range.

    Each cluster's mean is one observation, and all of them count as the effective number of clusters
    (stats/bounded.py). For 0/1 values, one answer per cluster and equal weights it is `rate_gate`.
    Oracle: tests/stats/test_gate.py (equality with `rate_gate`, monotone under loss, coverage).
    """
    _, effective = cluster_weights(clusters, weights)
    w = np.bincount(clusters, weights=weights)
    present = w > 0
    counts = effective * w[present] / w.sum()
    known = ~np.isnan(y)
    low, high = (
        np.bincount(clusters, weights=weights * np.where(known, y, end))[present] / w[present]
        for end in bounds
    )
    low, high = (np.clip(means, *bounds) for means in (low, high))
    return Gate(
        lowest=float(np.dot(counts, low) / counts.sum()),
        highest=float(np.dot(counts, high) / counts.sum()),
        low=mean_lower(low, counts, bounds[0], alpha),
        high=mean_upper(high, counts, bounds[1], alpha),
        clusters=len(counts),
        effective_clusters=effective,
    )
