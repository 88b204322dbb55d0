"""One-sided limits and p-values of a published number at any level, from its published 95% limits alone.

A verdict must be repeatable by somebody who holds only the results. The gate limits of stats/gate.py are
Clopper-Pearson limits with a known effective number of answers (rates), so each gives back the worst-case value
it belongs to, and that the limit at every other level; those of means and paired differences are moved to another
level by a factor that is at least what their own tails need. Sources: Clopper & Pearson 1934; Holm 1979; Newcombe
1998 (square-and-add).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.stats import beta
from scipy.stats import t as student

from safety_eval.stats.proportion import difference_limit

PUBLISHED = 0.95
_MOST = 1e9
_LEAST_ALPHA = 1e-12


@dataclass(frozen=True, slots=True)
class Seen:
    """A number at its two worst cases, each with its one-sided 95% limit.

    Attributes:
        low_value, high_value: the value with what is unmeasured at the low and at the high end of its range
            (equal when nothing is missing).
        low: lower limit of `low_value`; high: upper limit of `high_value`.
        answers: effective number of independent answers of a rate; 0 = not a rate.
        units: effective number of clusters.
    """

    low_value: float
    high_value: float
    low: float
    high: float
    answers: float = 0.0
    units: float = 0.0

    def upper(self, level: float) -> float:
        """One-sided upper limit at `level`, what is unmeasured taken as high."""
        if math.isclose(level, PUBLISHED):
            return self.high
        if self.answers:
            return beta_upper(self.high_value, self.answers, level)
        return self.high_value + _wider(self.high - self.high_value, self.units, level)

    def lower(self, level: float) -> float:
        """One-sided lower limit at `level`, what is unmeasured taken as low."""
        if math.isclose(level, PUBLISHED):
            return self.low
        if self.answers:
            return 1 - beta_upper(1 - self.low_value, self.answers, level)
        return self.low_value - _wider(self.low_value - self.low, self.units, level)

    def p_exceeds(self, bound: float) -> float:
        """p-value against 'the true value is at most `bound`': small when it is shown to lie above."""
        if self.answers:
            return rate_p_exceeds(self.low_value, self.answers, bound)
        return _beyond(self.low_value - bound, self.low_value - self.low, self.units)

    def p_below(self, bound: float) -> float:
        """p-value against 'the true value is at least `bound`': small when it is shown to lie below."""
        if self.answers:
            return rate_p_exceeds(1 - self.high_value, self.answers, 1 - bound)
        return _beyond(bound - self.high_value, self.high - self.high_value, self.units)

    def grown(self, factor: float) -> Seen:
        """The same values with `factor` times as many prompts (rates: for planning only)."""
        if self.answers:
            n = self.answers * factor
            return Seen(
                self.low_value,
                self.high_value,
                1 - beta_upper(1 - self.low_value, n, PUBLISHED),
                beta_upper(self.high_value, n, PUBLISHED),
                n,
                self.units,
            )
        root = math.sqrt(factor)
        return Seen(
            self.low_value,
            self.high_value,
            self.low_value - (self.low_value - self.low) / root,
            self.high_value + (self.high - self.high_value) / root,
            0.0,
            self.units * factor,
        )


def seen_rate(low: float, high: float, answers: float) -> Seen:
    """A rate from its gate limits: the shares whose Clopper-Pearson limits at `answers` they are."""
    high_value = _share(high, answers)
    return Seen(min(1 - _share(1 - low, answers), high_value), high_value, low, high, answers)


def beta_upper(share: float, answers: float, level: float) -> float:
    """Clopper-Pearson upper limit of `share` of `answers` (neither need be whole)."""
    return 1.0 if share >= 1 else float(beta.ppf(level, share * answers + 1, (1 - share) * answers))


def rate_p_exceeds(share: float, answers: float, bound: float) -> float:
    """p-value of the exact one-sided test that the true share is at most `bound`."""
    if share <= 0 or bound >= 1:
        return 1.0
    return float(beta.cdf(max(bound, 0.0), share * answers, (1 - share) * answers + 1))


def _share(upper: float, answers: float) -> float:
    """The share of which `upper` is the 95% upper limit."""
    if upper >= 1:
        return 1.0
    if beta_upper(0.0, answers, PUBLISHED) >= upper:
        return 0.0
    share = brentq(lambda p: beta_upper(p, answers, PUBLISHED) - upper, 0.0, 1.0, xtol=1e-14)
    whole = round(share * answers)
    return whole / answers if abs(share * answers - whole) < 1e-6 else float(share)


def _wider(published: float, units: float, level: float) -> float:
    """Distance of the limit at `level` from the value, from that of the 95% limit.

    Tails fall at least as fast as an exponential or as t, so the larger of the two ratios is enough (checked over
    shapes in tests/stats/test_limits.py). Below 95% the published limit is kept: it is the cautious one.
    """
    if level <= PUBLISHED:
        return max(published, 0.0)
    freedom = max(units - 1, 1.0)
    by_t = float(student.ppf(level, freedom) / student.ppf(PUBLISHED, freedom))
    return max(published, 0.0) * max(by_t, math.log(1 - level) / math.log(1 - PUBLISHED))


def _beyond(distance: float, published: float, units: float) -> float:
    """p-value of a value so far on the wrong side of a bound: the inverse of `_wider`; linear above 5%."""
    if published <= 0:
        return 0.0 if distance > 0 else 1.0
    share = distance / published
    if share < 1:
        return 1.0 - PUBLISHED * max(share, 0.0)
    freedom = max(units - 1, 1.0)
    by_t = float(student.sf(share * student.ppf(PUBLISHED, freedom), freedom))
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


def gap(one: Seen, other: Seen, level: float) -> tuple[float, float]:
    """One-sided limits (lower, upper) of one - other from their own limits (`difference_limit`).

    Groups that share prompts vary together, so that treating them as independent is wide, never narrow.
    """

    def upper(first: Seen, second: Seen) -> float:
        return difference_limit(
            first.high_value,
            lambda a: first.upper(1 - a),
            second.low_value,
            lambda a: second.lower(1 - a),
            1 - level,
        )

    return -upper(other, one), upper(one, other)


def p_gap_exceeds(one: Seen, other: Seen, bound: float) -> float:
    """Smallest alpha at which the lower limit of one - other lies above `bound`."""
    if one.low_value - other.high_value <= bound:
        return 1.0

    def off(log_alpha: float) -> float:
        return gap(one, other, -math.expm1(log_alpha))[0] - bound

    low, high = math.log(_LEAST_ALPHA), math.log(0.5)
    if off(low) >= 0:
        return _LEAST_ALPHA
    return 1.0 if off(high) <= 0 else math.exp(brentq(off, low, high, xtol=1e-9))
