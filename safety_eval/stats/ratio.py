"""Ratio of two means whose rows come in clusters: BBQ's bias score, and every share of a share.

`ratio_interval` is for display, `ratio_gate` for decisions. How often both hold is shown in
docs/explanation/coverage.md (benchmarks/fidelity/ratio_coverage.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import brentq

from safety_eval.stats.bounded import mean_upper
from safety_eval.stats.gate import Gate, Shared, effective_answers
from safety_eval.stats.proportion import t_quantile

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
RARER_END = 5.0
"""Effective clusters' worth of answers at the rarer end of the range from which on a jackknife covers 93%."""


class Ratio(NamedTuple):
    """A ratio with 95% limits (None: not defined) and the name of their method."""

    value: float
    low: float | None
    high: float | None
    method: str


def ratio_interval(top: Floats, bottom: Floats, clusters: Codes, bounds: tuple[float, float]) -> Ratio:
    """sum(top) / sum(bottom) with a 95% interval: the gate's limits at 2.5% on either side.

    Args:
        top, bottom: one value a row, shape (n,), none missing; 0 <= bottom <= 1 and
            bounds[0] * bottom <= top <= bounds[1] * bottom. The sum of `bottom` is positive.
        clusters: code of each row's cluster.

    Method: delete-one-cluster jackknife (Quenouille 1956, Tukey 1958) on a logit scale of the range, t with the
    effective number of clusters - 1 df. It covers far too little where almost all answers lie at one end of the range,
    so that with fewer than five effective clusters' worth at the rarer end the gate's limits are shown, at 2.5% on
    either side.
    """
    value = float(top.sum() / bottom.sum())
    if len(np.unique(clusters)) < 2:
        return Ratio(value, None, None, "one cluster: no interval")
    tops, bottoms = np.bincount(clusters, top), np.bincount(clusters, bottom)
    tops, bottoms = tops[bottoms > 0], bottoms[bottoms > 0]
    effective = bottoms.sum() ** 2 / np.square(bottoms).sum()
    share = (value - bounds[0]) / (bounds[1] - bounds[0])
    if effective * min(share, 1 - share) < RARER_END:
        ones = np.ones(len(top))
        low, high = (_limit(top, bottom, clusters, ones, bounds, side, 0.025) for side in (0, 1))
        return Ratio(value, min(low, value), max(high, value), "inverted bounded mean 95%, clustered")
    left_out = (tops.sum() - tops) / (bottoms.sum() - bottoms)
    variance = (len(tops) - 1) / len(tops) * float(np.square(left_out - left_out.mean()).sum())
    width = bounds[1] - bounds[0]
    half = t_quantile(0.975, effective - 1) * math.sqrt(variance) / (width * share * (1 - share))
    low, high = special.expit([special.logit(share) - half, special.logit(share) + half])
    return Ratio(
        value,
        float(bounds[0] + width * low),
        float(bounds[0] + width * high),
        "delete-one-cluster jackknife 95% (logit)",
    )


def ratio_gate(top: Floats, bottom: Floats, clusters: Codes, weights: Floats, bounds: tuple[float, float]) -> Gate:
    """One-sided 95% limits of E[top] / E[bottom]; NaN in `top` is unmeasured and taken at its worst.

    The ratio lies below r exactly when the mean of top - r * bottom is negative, and that is a bounded mean, whose
    limit (`bounded.mean_upper`) holds for any shape: the limits are the r at which its own limit is 0 (the idea of
    Fieller 1954). An unmeasured answer counts as one that speaks (bottom 1) at the bad end, which raises
    top - r * bottom for every r as far as it can be raised, so that losing an answer never improves a limit. With
    bottom 1 everywhere it is the gate of a mean. Oracle: tests/stats/test_ratio.py.
    """
    known = ~np.isnan(top)
    lowest, highest = (
        float(np.dot(weights, np.where(known, top, end)) / np.dot(weights, np.where(known, bottom, 1.0)))
        if np.dot(weights, np.where(known, bottom, 1.0)) > 0
        else end
        for end in bounds
    )
    low, high = (_limit(top, bottom, clusters, weights, bounds, side, 0.05) for side in (0, 1))
    return Gate(lowest, highest, low, high, effective_answers(weights, [Shared(1.0, clusters)]))


def _limit(
    top: Floats,
    bottom: Floats,
    clusters: Codes,
    weights: Floats,
    bounds: tuple[float, float],
    side: int,
    alpha: float,
) -> float:
    """One limit: side 1 the upper one, 0 the lower one (the upper limit of the mirrored ratio)."""
    sign = 1.0 if side else -1.0
    end, far = sign * bounds[side], sign * bounds[1 - side]
    off = excess(top, bottom, clusters, weights, bounds, side, alpha)
    if off(far) <= 0:
        return sign * far
    edge = end - 1e-9 * (end - far)
    return sign * (end if off(edge) >= 0 else float(brentq(off, far, edge, xtol=1e-10)))


def excess(
    top: Floats,
    bottom: Floats,
    clusters: Codes,
    weights: Floats,
    bounds: tuple[float, float],
    side: int,
    alpha: float,
) -> Callable[[float], float]:
    """Ratio (mirrored for side 0) -> the limit of the mean of top - ratio * bottom; a limit covers a true ratio exactly
    where this is not negative."""
    sign = 1.0 if side else -1.0
    end = sign * bounds[side]
    known = ~np.isnan(top)
    up, below = np.where(known, sign * top, end), np.where(known, bottom, 1.0)
    held = np.bincount(clusters, weights)
    present = held > 0
    counts = effective_answers(weights, [Shared(1.0, clusters)]) * held[present] / held.sum()
    tops, bottoms = (np.bincount(clusters, weights * part)[present] / held[present] for part in (up, below))

    def off(ratio: float) -> float:
        # Of one cluster the mean of top - ratio * bottom is at most end - ratio, reached where every answer speaks.
        highest = end - ratio
        return mean_upper(np.minimum(tops - ratio * bottoms, highest), counts, highest, alpha)

    return off
