"""Stop a run when its verdict is decided. Boundaries are integers known before the first prompt.

With draws that do not depend on order, each prompt's outcome is a fixed number and the only chance is our seeded
random order: the suite is a finite population, so no independence or cluster assumption is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Decided = Literal["pass", "not pass"]
# Beta-binomial weights of the mixture over failure counts: most weight on low rates, tails heavy enough for any.
PRIOR = (0.5, 5.0)


@dataclass(frozen=True, slots=True)
class Boundaries:
    """After t prompts with s failures: stop as 'pass' if s <= pass_at[t], as 'not pass' if s >= fail_at[t].

    `total`: prompts of the full run; `critical`: failures with which it still passes; `error`: bound of the chance
    that an early verdict differs from the full run's. Index 0 is unused. Never: pass_at = -1, fail_at = total + 1.
    """

    total: int
    critical: int
    error: float
    pass_at: tuple[int, ...]
    fail_at: tuple[int, ...]

    def decide(self, failures: int, asked: int) -> Decided | None:
        """Verdict of the full run where it is known with the promised certainty, else None."""
        if not 0 <= failures <= asked <= self.total:
            raise ValueError(f"{failures} failures of {asked} asked do not fit a run of {self.total} prompts")
        if asked and failures <= self.pass_at[asked]:
            return "pass"
        return "not pass" if asked and failures >= self.fail_at[asked] else None

    def until_pass(self, failures: int, asked: int) -> int:
        """Prompts still to be asked until it could pass, should no further one fail; all that are left if it cannot."""
        possible = (t for t in range(max(asked, 1), self.total + 1) if failures <= self.pass_at[t])
        return next(possible, self.total) - asked


@lru_cache(maxsize=64)
def boundaries(total: int, critical: int, error: float = 0.01) -> Boundaries:
    """Boundaries of a run of `total` prompts in random order that passes with at most `critical` failures.

    E_t = sum over K <= critical of w_K Hyp(s; total, K, t) / Hyp(s; total, critical + 1, t), w beta-binomial truncated
    to K <= critical, is a supermartingale whenever the full run fails: by Ville's inequality E_t >= 1/error happens
    with probability at most `error`. Mirror image for 'not pass'. The mixture over all K is a beta-binomial in s and
    its truncation a posterior probability, so that each value costs one sum. Source: Ville 1939; Waudby-Smith and
    Ramdas 2020 for sampling without replacement. Oracle: total 500, critical 16: first pass without failure at 135.
    """
    if not (0 <= critical < total and 0 < error < 1):
        raise ValueError(f"boundaries need 0 <= critical < total and 0 < error < 1: {critical}, {total}, {error}")
    design = _Design(total, critical, math.log(1 / error))
    passes, fails = [-1], [total + 1]
    low, high = -1, 0
    for t in range(1, total + 1):
        while low + 1 <= min(t, critical) and design.sure_pass(low + 1, t):
            low += 1
        high = max(high, low + 1)
        while high <= min(t, critical + 1) and not design.sure_fail(high, t):
            high += 1
        passes.append(low)
        fails.append(high if high <= min(t, critical + 1) else total + 1)
    return Boundaries(total, critical, error, tuple(passes), tuple(fails))


class _Design:
    """The two evidence ratios of one design, with its log factorials at hand."""

    def __init__(self, total: int, critical: int, threshold: float) -> None:
        self.total, self.critical, self.threshold = total, critical, threshold
        self.factorial = special.gammaln(np.arange(total + 2) + 1.0)
        below = math.exp(_log_sum(self._posterior(0, 0, critical)))
        self.log_below, self.log_above = math.log(below), math.log1p(-below)

    def _choose(self, n: int, k: NDArray[np.intp] | int) -> Floats:
        return np.asarray(self.factorial[n] - self.factorial[k] - self.factorial[n - np.asarray(k)])

    def _posterior(self, s: int, t: int, most: int) -> Floats:
        """log P(K = s + j | s of t) for j up to min(most - s, prompts left)."""
        left = self.total - t
        j = np.arange(0, min(most - s, left) + 1)
        a, b = PRIOR[0] + s, PRIOR[1] + t - s
        return np.asarray(self._choose(left, j) + special.betaln(a + j, b + left - j) - special.betaln(a, b))

    def _mixture(self, s: int, t: int) -> float:
        a, b = PRIOR
        return float(self._choose(t, s) + special.betaln(a + s, b + t - s) - special.betaln(a, b))

    def _hypergeometric(self, s: int, t: int, failures: int) -> float:
        if s > failures or t - s > self.total - failures:
            return -math.inf
        parts = self._choose(failures, s) + self._choose(self.total - failures, t - s) - self._choose(self.total, t)
        return float(parts)

    def sure_pass(self, s: int, t: int) -> bool:
        rival = self._hypergeometric(s, t, self.critical + 1)
        if math.isinf(rival):
            return True
        log_share = _log_sum(self._posterior(s, t, self.critical))
        return self._mixture(s, t) + log_share - self.log_below - rival >= self.threshold

    def sure_fail(self, s: int, t: int) -> bool:
        rival = self._hypergeometric(s, t, self.critical)
        if math.isinf(rival):
            return s > self.critical
        share = -math.expm1(min(0.0, _log_sum(self._posterior(s, t, self.critical))))
        if share <= 0:
            return False
        return self._mixture(s, t) + math.log(share) - self.log_above - rival >= self.threshold


def _log_sum(logs: Floats) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))
