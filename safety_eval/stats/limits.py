"""One-sided limits and p-values of a published number at any level, from what is published of it alone.

A verdict must be repeatable by somebody who holds only the results. A share at its worst case and its effective number
of answers give the Clopper-Pearson limit at every level; the shares of pairs that became worse and better give Gaffke's
limit of a paired difference; limits of a list's mean are moved from 95% to another level by a factor that is at least
what their own tails need. Sources: Clopper & Pearson 1934; Gaffke 2005; Newcombe 1998 (square-and-add).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy import special
from scipy.optimize import brentq

from safety_eval.stats.bounded import mean_upper
from safety_eval.stats.proportion import difference_limit

PUBLISHED = 0.95
_LEAST_ALPHA = 1e-9


class Seen(Protocol):
    """A number at its two worst cases: `low_value` (`high_value`) has what is unmeasured at the low (high) end."""

    @property
    def low_value(self) -> float: ...
    @property
    def high_value(self) -> float: ...

    def upper(self, level: float) -> float:
        """One-sided upper limit at `level`, what is unmeasured taken as high."""

    def lower(self, level: float) -> float:
        """One-sided lower limit at `level`, what is unmeasured taken as low."""

    def p_exceeds(self, bound: float) -> float:
        """p-value against 'the true value is at most `bound`': small when it is shown to lie above."""

    def p_below(self, bound: float) -> float:
        """p-value against 'the true value is at least `bound`': small when it is shown to lie below."""

    def grown(self, factor: float) -> Seen:
        """The same values with `factor` times as many prompts (for planning only)."""


@dataclass(frozen=True, slots=True)
class SeenShare:
    """A share of so many effective answers; `span`: its range where it is a mean, whose widest law is two-valued."""

    low_value: float
    high_value: float
    answers: float
    span: tuple[float, float] = (0.0, 1.0)

    def upper(self, level: float) -> float:
        return self._back(beta_upper(self._share(self.high_value), self.answers, level))

    def lower(self, level: float) -> float:
        return self._back(1 - beta_upper(1 - self._share(self.low_value), self.answers, level))

    def p_exceeds(self, bound: float) -> float:
        return rate_p_exceeds(self._share(self.low_value), self.answers, self._share(bound))

    def p_below(self, bound: float) -> float:
        return rate_p_exceeds(1 - self._share(self.high_value), self.answers, 1 - self._share(bound))

    def grown(self, factor: float) -> SeenShare:
        return replace(self, answers=self.answers * factor)

    def _share(self, value: float) -> float:
        return (value - self.span[0]) / (self.span[1] - self.span[0])

    def _back(self, share: float) -> float:
        return self.span[0] + share * (self.span[1] - self.span[0])


@dataclass(frozen=True, slots=True)
class SeenMean:
    """A mean with its 95% limits `low` of `low_value` and `high` of `high_value`; `units`: effective answers.

    Beyond 95% a limit moves on by its distance to the value with what is unmeasured at the *other* end: a loss takes
    the near value along with the limit, and the distance between these two may shrink.
    """

    low_value: float
    high_value: float
    low: float
    high: float
    units: float

    def upper(self, level: float) -> float:
        far = self.high - self.low_value
        return self.high + _wider(far, self.units, level) - max(far, 0.0)

    def lower(self, level: float) -> float:
        far = self.high_value - self.low
        return self.low - _wider(far, self.units, level) + max(far, 0.0)

    def p_exceeds(self, bound: float) -> float:
        return _beyond(self.low_value - bound, self.low_value - self.low, self.units)

    def p_below(self, bound: float) -> float:
        return _beyond(bound - self.high_value, self.high - self.high_value, self.units)

    def grown(self, factor: float) -> SeenMean:
        root = math.sqrt(factor)
        low = self.low_value - (self.low_value - self.low) / root
        high = self.high_value + (self.high - self.high_value) / root
        return SeenMean(self.low_value, self.high_value, low, high, self.units * factor)


@dataclass(frozen=True, slots=True)
class SeenDifference:
    """A paired difference of a rate over so many effective pairs.

    `worst`, `best`: (share of pairs that became bad, share that became good) with what is unmeasured at its worst, at
    its best; the limits are Gaffke's for scores of -1, 0 and 1.
    """

    worst: tuple[float, float]
    best: tuple[float, float]
    pairs: float

    @property
    def low_value(self) -> float:
        return self.best[0] - self.best[1]

    @property
    def high_value(self) -> float:
        return self.worst[0] - self.worst[1]

    def upper(self, level: float) -> float:
        return three_point_upper(*self.worst, self.pairs, 1 - level)

    def lower(self, level: float) -> float:
        return -three_point_upper(self.best[1], self.best[0], self.pairs, 1 - level)

    def p_exceeds(self, bound: float) -> float:
        return smallest_alpha(lambda alpha: self.lower(1 - alpha) > bound)

    def p_below(self, bound: float) -> float:
        return smallest_alpha(lambda alpha: self.upper(1 - alpha) < bound)

    def grown(self, factor: float) -> SeenDifference:
        return replace(self, pairs=self.pairs * factor)


def three_point_upper(up: float, down: float, pairs: float, alpha: float) -> float:
    """Upper limit of up - down, where so large shares of the pairs count +1 and -1 and the others 0."""
    shares = np.array([down, max(0.0, 1.0 - up - down), up])
    present = shares * pairs > 1e-12
    return mean_upper(np.array([-1.0, 0.0, 1.0])[present], (shares * pairs)[present], 1.0, min(alpha, 0.1))


def smallest_alpha(shown: Callable[[float], bool]) -> float:
    """Smallest error at which something is shown, by bisection of its logarithm; 1 where not even at 10%."""
    low, high = math.log(_LEAST_ALPHA), math.log(0.1)
    if not shown(0.1):
        return 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if shown(math.exp(middle)) else (middle, high)
    return math.exp(high)


def beta_upper(share: float, answers: float, level: float) -> float:
    """Clopper-Pearson upper limit of `share` of `answers` (neither need be whole)."""
    return 1.0 if share >= 1 else float(special.betaincinv(share * answers + 1, (1 - share) * answers, level))


def rate_p_exceeds(share: float, answers: float, bound: float) -> float:
    """p-value of the exact one-sided test that the true share is at most `bound`."""
    if share <= 0 or bound >= 1:
        return 1.0
    return float(special.betainc(share * answers, (1 - share) * answers + 1, max(bound, 0.0)))


def _wider(published: float, units: float, level: float) -> float:
    """Distance of the limit at `level` from the value, from that of the 95% limit.

    Tails fall at least as fast as an exponential or as t, so the larger of the two ratios is enough (checked over
    shapes in tests/stats/test_limits.py). Below 95% the published limit is kept: it is the cautious one.
    """
    if level <= PUBLISHED:
        return max(published, 0.0)
    freedom = max(units - 1, 1.0)
    by_t = float(special.stdtrit(freedom, level) / special.stdtrit(freedom, PUBLISHED))
    return max(published, 0.0) * max(by_t, math.log(1 - level) / math.log(1 - PUBLISHED))


def _beyond(distance: float, published: float, units: float) -> float:
    """p-value of a value so far on the wrong side of a bound: the inverse of `_wider`; linear above 5%."""
    if published <= 0:
        return 0.0 if distance > 0 else 1.0
    share = distance / published
    if share < 1:
        return 1.0 - PUBLISHED * max(share, 0.0)
    freedom = max(units - 1, 1.0)
    by_t = float(special.stdtr(freedom, -share * special.stdtrit(freedom, PUBLISHED)))
    return max(by_t, (1 - PUBLISHED) ** share)


def settle(limit: Callable[[float], float], bound: float, below: bool) -> float | None:
    """Smallest growth of the prompts at which a limit passes `bound`, the values staying as they are.

    Args:
        limit: growth factor -> the limit with so many times the prompts.
        below: the limit has to fall below the bound (else rise above it).

    Returns:
        The factor, at least 1, or None when no number of prompts would do.
    """
    sign = 1.0 if below else -1.0

    def off(factor: float) -> float:
        return sign * (limit(factor) - bound)

    if off(1.0) < 0:
        return 1.0
    high = 2.0
    while off(high) >= 0:
        high *= 2
        if high > 1e6:
            return None
    return float(brentq(off, 1.0, high, xtol=1e-6))


def gap_upper(groups: Sequence[Seen], level: float) -> float:
    """Upper limit of the largest difference of two groups: the largest over ordered pairs, uncorrected, since the
    truly extreme pair is fixed (Berger 1982). Groups that share prompts vary together: independence is wide here."""
    return max(_apart(a, b, level) for a in groups for b in groups if a is not b)


def _apart(one: Seen, other: Seen, level: float) -> float:
    first, second = one.high_value, other.low_value
    alpha = 1 - level
    return difference_limit(first, lambda a: one.upper(1 - a), second, lambda a: other.lower(1 - a), alpha)
