"""Which group is worse than others, and by how much: simultaneous lower limits of differences between groups.

The error is that of a whole family of claims: the chance that any lower limit lies above its true difference. The
largest of all studentised differences has one law under equal rates (max-T), so that nothing is paid for differences
that hang together, as Bonferroni does. Two families share the error: each group against all others together (four
fifths; it sees one group that stands out), and each group against each (one fifth; it sees two ends far apart).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
DRAWS = 20_000
REST_SHARE = 0.8
"""Share of the error that the comparisons with the rest get."""
_HALVINGS = 45
_LEAST_PART = 1e-9
_TRIPLE = 1e-30
"""Below it the cubic equation of the likelihood has one root three times over, and no angle leads to it."""


class GapLimits(NamedTuple):
    """Lower limits that hold all at once; each is of a true difference, positive where the first is worse.

    `above`: group - rest. `below`: rest - group, shape (G,). `pairs`: group a - group b, shape (G, G), diagonal -1.
    `largest`: of the gap between the worst and the best group, which none of the differences exceeds.
    """

    above: Floats
    below: Floats
    pairs: Floats
    largest: float


def gap_limits(rates: ArrayLike, answers: ArrayLike, alpha: float = 0.05) -> GapLimits:
    """Simultaneous lower limits of the differences between two groups or more, at level 1 - alpha together.

    Args:
        rates: of each group, shape (G,). answers: effective number of independent answers behind each, shape (G,).

    A limit is the difference at which the score statistic (Farrington and Manning 1990, with half an answer of
    continuity correction) falls to the quantile of the largest in its family. The rest is the mean of the others,
    weighted by answers. Groups that share answers vary together: taking them as independent is wide, never narrow.
    Oracle: benchmarks/fidelity/disparity.py (family error, power).
    """
    p, n = np.asarray(rates, float), np.asarray(answers, float)
    rest, many = _rest(p, n)
    by_rest, by_pair = _critical(n, alpha)
    above = _limit(p, n, rest, many, by_rest)
    below = _limit(rest, many, p, n, by_rest)
    p1, n1, p2, n2 = np.broadcast_arrays(p[:, None], n[:, None], p, n)
    pairs = _limit(p1, n1, p2, n2, by_pair)
    np.fill_diagonal(pairs, -1.0)
    return GapLimits(above, below, pairs, float(max(above.max(), below.max(), pairs.max())))


def p_gap(rates: ArrayLike, answers: ArrayLike, bound: float = 0.0) -> float:
    """p-value against 'no difference of two groups exceeds `bound`', over both families; at least 1 / 20,000."""
    p, n = np.asarray(rates, float), np.asarray(answers, float)
    rest, many = _rest(p, n)
    delta = np.full(p.shape, bound)
    single = max(_score(p, n, rest, many, delta).max(), _score(rest, many, p, n, delta).max())
    square = np.full((p.size, p.size), bound)
    p1, n1, p2, n2 = np.broadcast_arrays(p[:, None], n[:, None], p, n)
    double = _score(p1, n1, p2, n2, square)
    np.fill_diagonal(double, -np.inf)
    return _p_of(n, (float(single), float(double.max())))


def mean_gap_limits(means: ArrayLike, variances: ArrayLike, alpha: float = 0.05) -> GapLimits:
    """As `gap_limits` for means with known sampling variances > 0; by the normal law."""
    x, n = np.asarray(means, float), 1 / np.asarray(variances, float)
    rest, many = _rest(x, n)
    by_rest, by_pair = _critical(n, alpha)
    half = np.sqrt(1 / n + 1 / many)
    above, below = x - rest - by_rest * half, rest - x - by_rest * half
    pairs = x[:, None] - x[None, :] - by_pair * np.sqrt(1 / n[:, None] + 1 / n[None, :])
    np.fill_diagonal(pairs, -np.inf)
    return GapLimits(above, below, pairs, float(max(above.max(), below.max(), pairs.max())))


def p_mean_gap(means: ArrayLike, variances: ArrayLike) -> float:
    """As `p_gap` for means, against 'there is no difference'."""
    x, n = np.asarray(means, float), 1 / np.asarray(variances, float)
    rest, many = _rest(x, n)
    single = float(np.abs((x - rest) / np.sqrt(1 / n + 1 / many)).max())
    double = float(((x[:, None] - x[None, :]) / np.sqrt(1 / n[:, None] + 1 / n[None, :])).max())
    return _p_of(n, (single, double))


def _p_of(n: Floats, scores: tuple[float, float]) -> float:
    """p-value of the largest score of each family, each with its share of the error."""
    shares = (REST_SHARE, 1 - REST_SHARE) if n.size > 2 else (0.5, 0.5)
    families = _largest(_parts(n))
    each = [
        (1 + (family >= score).sum()) / (1 + DRAWS) / share
        for family, score, share in zip(families, scores, shares, strict=True)
    ]
    return float(min(1.0, *each))


def _rest(p: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Rate and answers of all groups but one, for each."""
    if p.size < 2 or np.any(n <= 0):
        raise ValueError("a gap needs two groups with answers")
    many = n.sum() - n
    return (np.dot(n, p) - n * p) / many, many


def _limit(p1: Floats, n1: Floats, p2: Floats, n2: Floats, critical: float) -> Floats:
    low, high = np.full(p1.shape, -1.0), np.array(p1 - p2)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = _score(p1, n1, p2, n2, middle) > critical
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return low


def _score(p1: Floats, n1: Floats, p2: Floats, n2: Floats, delta: Floats) -> Floats:
    """Score statistic of 'the first rate minus the second is delta', at the constrained maximum likelihood."""
    ratio = n2 / n1
    a = 1 + ratio
    b = -(1 + ratio + p1 + ratio * p2 + delta * (ratio + 2))
    c = delta**2 + delta * (2 * p1 + ratio + 1) + p1 + ratio * p2
    d = -p1 * delta * (1 + delta)
    v = b**3 / (3 * a) ** 3 - b * c / (6 * a**2) + d / (2 * a)
    u = np.where(v >= 0, 1.0, -1.0) * np.sqrt(np.maximum((b / (3 * a)) ** 2 - c / (3 * a), 0.0))
    cube = u**3
    triple = np.abs(cube) < _TRIPLE
    angle = (np.pi + np.arccos(np.clip(np.where(triple, 0.0, v) / np.where(triple, 1.0, cube), -1, 1))) / 3
    first = np.clip(2 * u * np.cos(angle) - b / (3 * a), np.maximum(delta, 0.0), np.minimum(1.0, 1 + delta))
    second = np.clip(first - delta, 0.0, 1.0)
    variance = first * (1 - first) / n1 + second * (1 - second) / n2
    step = p1 - p2 - delta - 0.5 * (1 / n1 + 1 / n2)
    return np.asarray(step / np.sqrt(np.maximum(variance, 1e-12)))


def _parts(n: Floats) -> tuple[float, ...]:
    """Answers as parts of the largest number: the law of the largest difference depends on nothing else."""
    return tuple(np.maximum(np.round(n / n.max(), 9), _LEAST_PART))


@lru_cache(maxsize=64)
def _largest(answers: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Draws of the largest studentised difference to the rest, and between two groups, under equal rates."""
    n = np.asarray(answers)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((DRAWS, n.size)) / np.sqrt(n)
    rest, many = (z @ n)[:, None] - z * n, n.sum() - n
    single = np.abs((z - rest / many) / np.sqrt(1 / n + 1 / many)).max(axis=1)
    scale = np.sqrt(1 / n[:, None] + 1 / n[None, :])
    step = max(1, 2_000_000 // n.size**2)
    double = [
        ((part[:, :, None] - part[:, None, :]) / scale).max(axis=(1, 2))
        for part in (z[start : start + step] for start in range(0, DRAWS, step))
    ]
    return single, np.concatenate(double)


def _critical(n: Floats, alpha: float) -> tuple[float, float]:
    single, double = _largest(_parts(n))
    share = REST_SHARE if n.size > 2 else 0.5
    return float(np.quantile(single, 1 - share * alpha)), float(np.quantile(double, 1 - (1 - share) * alpha))
