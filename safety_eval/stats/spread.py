"""Spread between many small groups (descriptors of an axis): the standard deviation of their true means, with limits.

max minus min of noisy means grows with their number and says little of the groups; the variance component does not.
Every group counts once and is a draw from the groups there could be; its values are draws from what could be asked
about it. Sources: Searle, Casella and McCulloch 1992 (variance components by moments); Gaffke 2005 for the limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safety_eval.stats.bounded import mean_lower, mean_upper
from safety_eval.stats.groups import Spread, shrunk
from safety_eval.stats.proportion import upper_limit

Floats = NDArray[np.float64]
LEAST_VALUES = 2
"""Values that a group needs: one alone cannot tell its mean from noise."""
_CENTRES = 33
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Values:
    """What is known of one group: its independent values, and how many more were owed."""

    known: Floats
    missing: int = 0

    @property
    def owed(self) -> int:
        """Values that were asked for, known or not."""
        return len(self.known) + self.missing


@dataclass(frozen=True, slots=True)
class SpreadLimits:
    """The spread with what is missing at either end, and its one-sided limits at level 1 - alpha."""

    lowest: float
    highest: float
    low: float
    high: float


class _Products:
    """Mean product of two different values of a group, both measured from a centre, at either end of what is missing.

    Its expectation is (true mean - centre)^2, whatever the noise; averaged over groups it is smallest, and then the
    variance between groups, where the centre is their mean. The sum is linear in each missing value, so its ends lie
    where every missing value is at an end of the range.
    """

    def __init__(self, groups: Sequence[Values], bounds: tuple[float, float]) -> None:
        self._low, self._high = bounds
        self._count = np.array([len(g.known) for g in groups], float)
        self._sum = np.array([g.known.sum() for g in groups], float)
        self._squares = np.array([np.square(g.known).sum() for g in groups], float)
        self._missing = np.array([g.missing for g in groups], float)
        owed = self._count + self._missing
        self._pairs = owed * (owed - 1)

    def _total(self, centre: float, at_top: Floats) -> Floats:
        down, up = self._low - centre, self._high - centre
        at_bottom = self._missing - at_top
        total = self._sum - self._count * centre + at_top * up + at_bottom * down
        squares = self._squares - 2 * centre * self._sum + self._count * centre**2
        return np.asarray((total**2 - squares - at_top * up**2 - at_bottom * down**2) / self._pairs)

    def high(self, centre: float) -> Floats:
        """Largest possible value of each group; convex in the number of missing values at the top."""
        return np.maximum(self._total(centre, np.zeros_like(self._missing)), self._total(centre, self._missing))

    def low(self, centre: float) -> Floats:
        """Smallest possible value of each group."""
        down, up = self._low - centre, self._high - centre
        rest = self._sum - self._count * centre + self._missing * down
        turn = ((up**2 - down**2) / (up - down) - 2 * rest) / (2 * (up - down))
        ends = [np.clip(near(turn), 0, self._missing) for near in (np.floor, np.ceil)]
        return np.minimum(*(self._total(centre, end) for end in ends))

    def top(self, centre: float) -> float:
        """Largest value that any group could have."""
        return max((self._low - centre) ** 2, (self._high - centre) ** 2) + _ROUNDING

    def bottom(self, centre: float) -> float:
        """Smallest value that any group could have: its values as far apart as the range allows."""
        down, up = self._low - centre, self._high - centre
        owed = self._count + self._missing
        turn = ((up**2 - down**2) / (up - down) - 2 * owed * down) / (2 * (up - down))
        ends = []
        for near in (np.floor, np.ceil):
            at_top = np.clip(near(turn), 0, owed)
            total = at_top * up + (owed - at_top) * down
            ends.append((total**2 - at_top * up**2 - (owed - at_top) * down**2) / self._pairs)
        return float(np.min(ends)) - _ROUNDING


def spread(groups: Sequence[Values]) -> float | None:
    """Standard deviation of the groups' true means, of what is known; None with fewer than two usable groups.

    The moment estimate: the variance of the observed means less the noise in them, 0 where the noise explains all.
    For equal sizes it is the analysis of variance's (mean square between - within) / n. Oracle: tests/stats.
    """
    usable = [g.known for g in groups if len(g.known) >= LEAST_VALUES]
    if len(usable) < 2:
        return None
    means = np.array([values.mean() for values in usable])
    noise = np.array([values.var(ddof=1) / len(values) for values in usable])
    variance = float(means.var(ddof=1) - noise.mean())
    return math.sqrt(variance) if variance > _ROUNDING**2 else 0.0


def spread_limits(groups: Sequence[Values], bounds: tuple[float, float], alpha: float = 0.05) -> SpreadLimits | None:
    """Limits of the spread with everything missing at its worst; None with fewer than two usable groups.

    Each group's mean product of two values is one bounded observation whose mean over groups is at least the variance
    between them, and equal to it at the right centre; its Gaffke limit holds for any shape, and the smallest over a
    grid of centres is taken (for the upper limit a choice among valid ones by the data, which simulation covers:
    benchmarks/fidelity/spread_coverage.py). The grid is fixed and a group counts when at least two of its values were
    owed, so that no loss changes either: losing a value can only widen the limits.
    """
    owed = [g for g in groups if g.owed >= LEAST_VALUES]
    if len(owed) < 2:
        return None
    products, ones = _Products(owed, bounds), np.ones(len(owed))
    width = bounds[1] - bounds[0]
    grid = np.linspace(*bounds, _CENTRES)
    beside = (width / (2 * (_CENTRES - 1))) ** 2  # the right centre lies at most half a step from the grid
    lows = [(float(c), products.low(float(c))) for c in grid]
    highs = [(float(c), products.high(float(c))) for c in grid]

    def root(variance: float) -> float:
        return math.sqrt(min(max(variance, 0.0), (width / 2) ** 2))

    lowest = root(min(float(y.mean()) for _, y in lows) - beside)
    low = 0.0
    if lowest > 0:  # a lower limit lies below its mean
        low = root(min(mean_lower(y, ones, products.bottom(c), alpha) for c, y in lows) - beside)
    high = math.inf
    for c, y in sorted(highs, key=lambda at: float(at[1].mean())):
        if y.mean() >= high:
            break
        high = min(high, mean_upper(y, ones, products.top(c), alpha))
    return SpreadLimits(
        lowest=lowest,
        highest=root(min(float(y.mean()) for _, y in highs)),
        low=low,
        high=root(high),
    )


def shrunk_means(groups: Sequence[Values]) -> list[float | None]:
    """Each group's mean drawn towards that of all by its noise; None where nothing is known of it.

    Source: James and Stein 1961 / empirical Bayes, by stats/groups.py. The noise is pooled over the groups, so that
    a group of a few equal values is not taken as known exactly.
    """
    usable = [g.known for g in groups if len(g.known) >= LEAST_VALUES]
    between = spread(groups)
    if between is None:
        return [float(g.known.mean()) if len(g.known) else None for g in groups]
    freedom = sum(len(values) - 1 for values in usable)
    within = sum(float(np.square(values - values.mean()).sum()) for values in usable) / freedom
    filled = [i for i, g in enumerate(groups) if len(g.known)]
    means = np.array([groups[i].known.mean() for i in filled])
    noise = np.maximum(np.array([within / len(groups[i].known) for i in filled]), 1e-12)
    weight = 1 / (between**2 + noise)
    centre = float((weight * means).sum() / weight.sum())
    drawn = shrunk(means, noise, Spread(centre, between, 0.0, 0.0))
    out: list[float | None] = [None] * len(groups)
    for i, value in zip(filled, drawn, strict=True):
        out[i] = float(value)
    return out


@dataclass(frozen=True, slots=True)
class WorstRange:
    """The true mean of the truly worst group: the value with what is missing at either end, one-sided limits."""

    lowest: float
    highest: float
    low: float
    high: float


def worst_range(groups: Sequence[Values], bounds: tuple[float, float], alpha: float = 0.05) -> WorstRange | None:
    """Range of the highest true mean of any group, everything missing at its worst; None without a group.

    The upper limit is the largest of the groups' own at alpha, uncorrected: the truly worst group is fixed, and its
    own limit covers (Berger 1982). The lower limit is the largest of their own at alpha / groups. Each value is one
    independent observation. For the lowest mean, turn signs.
    """
    owed = [g for g in groups if g.owed]
    if not owed:
        return None
    low, high = ([np.sort(np.append(g.known, np.full(g.missing, end))) for g in owed] for end in bounds)
    return WorstRange(
        lowest=max(float(y.mean()) for y in low),
        highest=max(float(y.mean()) for y in high),
        low=_largest_lower(low, bounds, alpha / len(owed)),
        high=max(_upper(y, bounds, alpha) for y in _undominated(high)),
    )


def _largest_lower(groups: Sequence[Floats], bounds: tuple[float, float], alpha: float) -> float:
    """Largest lower limit; it lies below the group's mean, so groups below the best limit so far are left out."""
    best = bounds[0]
    for y in _undominated(groups):
        if y.mean() <= best:
            break
        best = max(best, _lower(y, bounds, alpha))
    return best


def _undominated(groups: Sequence[Floats]) -> Iterator[Floats]:
    """Sorted values that no other group of the same size exceeds throughout: only they can have the
    largest limit. Highest mean first."""
    kept: dict[int, list[Floats]] = {}
    for y in sorted(groups, key=lambda y: -float(y.mean())):
        same = kept.setdefault(len(y), [])
        if not any(np.all(other >= y) for other in same):
            same.append(y)
            yield y


def _upper(y: Floats, bounds: tuple[float, float], alpha: float) -> float:
    low, high = bounds
    if np.all((y == low) | (y == high)):
        return low + (high - low) * upper_limit(float((y == high).sum()), len(y), alpha)
    return mean_upper(y, np.ones(len(y)), high, alpha)


def _lower(y: Floats, bounds: tuple[float, float], alpha: float) -> float:
    return -_upper(-y, (-bounds[1], -bounds[0]), alpha)
