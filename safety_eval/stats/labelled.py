"""One-sided limits of a rate that people's labels give, as a rule of a policy acts on it.

Two things are not known: the answers that nobody labelled (two-phase sampling, stats/judge.py), and what the prompts at
hand stand for (stats/limits.py, as for any share). Each limit pays for both, a part of its error each (Bonferroni), so
that it holds however the two depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from safety_eval.stats.judge import Review, two_phase
from safety_eval.stats.limits import SeenShare, smallest_alpha

SHARE = 0.75
"""Of the error, for the answers that nobody labelled: they are what is known least of."""


@dataclass(frozen=True, slots=True)
class SeenLabels:
    """A share of bad answers by labels; `lost` answers have none, and count as bad above and as good below.

    Attributes:
        strata: reviews, none of them empty. answers: the effective number that the claim counts on.
        good: the number is the share of good answers.
    """

    strata: Sequence[Review]
    lost: int
    answers: float
    good: bool = False

    @property
    def value(self) -> float:
        """The rate of what was labelled, weighted as it was drawn."""
        return self._turned(two_phase(self.strata, self.lost).value)

    @property
    def low_value(self) -> float:
        return min(self._ends())

    @property
    def high_value(self) -> float:
        return max(self._ends())

    def _ends(self) -> tuple[float, float]:
        """The value with the lost answers good, and with them bad."""
        there = sum(s.total for s in self.strata)
        bad = two_phase(self.strata, self.lost).value * there
        return self._turned(bad / (there + self.lost)), self._turned((bad + self.lost) / (there + self.lost))

    def upper(self, level: float) -> float:
        return 1 - self._bad_below(level) if self.good else self._bad_above(level)

    def lower(self, level: float) -> float:
        return 1 - self._bad_above(level) if self.good else self._bad_below(level)

    def p_exceeds(self, bound: float) -> float:
        return smallest_alpha(lambda alpha: self.lower(1 - alpha) > bound)

    def p_below(self, bound: float) -> float:
        return smallest_alpha(lambda alpha: self.upper(1 - alpha) < bound)

    def grown(self, factor: float) -> SeenLabels:
        return replace(self, answers=self.answers * factor)

    def _turned(self, rate: float) -> float:
        return 1 - rate if self.good else rate

    def _bad_above(self, level: float) -> float:
        unseen, drawn = _parts(level)
        among = two_phase(self.strata, self.lost, 1 - 2 * unseen).high
        return SeenShare(among, among, self.answers).upper(1 - drawn)

    def _bad_below(self, level: float) -> float:
        unseen, drawn = _parts(level)
        among = two_phase(self.strata, self.lost, 1 - 2 * unseen).low
        return SeenShare(among, among, self.answers).lower(1 - drawn)


def _parts(level: float) -> tuple[float, float]:
    return SHARE * (1 - level), (1 - SHARE) * (1 - level)
