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
    """Normalised weight of each cluster (sums to 1), and Kish's effective number of clusters 1 / sum w^2."""
    w = np.bincount(clusters, weights=weights)
    w = w[w > 0] / w.sum()
    return w, float(1.0 / np.square(w).sum())


def rate_gate(y: Floats, clusters: Codes, weights: Floats, alpha: float = 0.05) -> Gate:
    """Limits of a weighted rate; `y` holds 0, 1 or NaN (unmeasured: 0 for the lower, 1 for the upper limit).

    One-sided Clopper-Pearson with k = rate x n and n = Kish's effective number of clusters: the most cautious
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

    Cluster t with G - 1 degrees of freedom. The sum of squares is taken about the point that minimises it, and a
    cluster with an unmeasured answer enters with the whole range: losing an answer then never lowers it.
    """
    w, effective = cluster_weights(clusters, weights)
    total = weights.sum()
    known = ~np.isnan(y)
    parts = [float(np.dot(weights, np.where(known, y, end)) / total) for end in bounds]
    half = _t_half_width(y, known, clusters, weights, bounds, alpha)
    return Gate(
        worst_low=parts[0],
        worst_high=parts[1],
        low=max(bounds[0], parts[0] - half),
        high=min(bounds[1], parts[1] + half),
        clusters=len(w),
        effective_clusters=effective,
    )


def _t_half_width(
    y: Floats,
    known: NDArray[np.bool_],
    clusters: Codes,
    weights: Floats,
    bounds: tuple[float, float],
    alpha: float,
) -> float:
    count = int(clusters.max()) + 1
    w = np.bincount(clusters, weights=weights, minlength=count)
    lost = np.bincount(clusters, weights=(~known).astype(float), minlength=count) > 0
    present = w > 0
    groups = int(present.sum())
    width = bounds[1] - bounds[0]
    if groups < 2:
        return width
    sums = np.bincount(clusters, weights=weights * np.where(known, y, 0.0), minlength=count)
    whole = present & ~lost
    share = w[whole] / w.sum()
    means = sums[whole] / w[whole]
    centre = float(np.dot(share**2, means) / np.square(share).sum()) if share.size else 0.0
    squares = float(np.dot(share**2, np.square(means - centre)))
    squares += float(np.square(w[present & lost] / w.sum()).sum()) * width**2
    return float(stats.t.ppf(1 - alpha, groups - 1) * np.sqrt(squares * groups / (groups - 1)))
