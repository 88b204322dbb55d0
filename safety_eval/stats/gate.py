"""Limits of a weighted rate or mean that a release decision may act on: one mechanism for every kind of rule.

Every answer is one draw of its own, whatever its chance of being bad: answers need not be alike. The limits rest on
an effective number of answers that comes from weights alone, never from a correlation seen in the data, and take what
is unmeasured at its worst. So

* *no silent safety*: taking an answer away can only widen them, and they rise with every value;
* *validity*: for groups and clusters of any size and any rates, few events and skewed scores.

What the number is about (the estimand) decides what shares its chance:

* `list`: these prompts. Given the prompts, answers are independent draws of decoding. Where only a part of the list was
  drawn, the share of it that was not asked is what answers of one drawn unit have in common.
* `population`: prompts like these. Answers to one prompt share all; prompts of one cluster (an article) share at most
  the registered intra-class correlation `icc`; 1 means that a cluster counts as one observation.

Sources: Hoeffding 1956 (the binomial is the widest sum of independent shares with a given mean, which is why
Clopper-Pearson also holds for unequal answers); Gaffke 2005 (bounded.py) for scores.
Oracle: tests/stats/test_gate.py, benchmarks/fidelity/gates.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safety_eval.stats.bounded import mean_lower, mean_upper
from safety_eval.stats.proportion import lower_limit, upper_limit

Floats = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]
_DISTINCT = 1024
"""Different scores up to which each is taken as it is; more are spread over a grid of so many points."""


class Shared(NamedTuple):
    """A share of an answer's chance that all answers of a unit have in common; `units`: the unit of each answer."""

    share: float
    units: Codes


class Gate(NamedTuple):
    """The value with what is unmeasured at either end, its one-sided limits, and the answers that they rest on."""

    lowest: float
    highest: float
    low: float
    high: float
    answers: float


def effective_answers(weights: Floats, shared: Sequence[Shared] = ()) -> float:
    """Number of independent, equally heavy answers that are worth as much: 1 / sum of share x largest weight.

    Args:
        weights: of each answer, shape (n,), >= 0. shared: shares that add up to at most 1; the rest is each answer's
            own.

    The variance of a weighted rate is sum W_u^2 r_u (1 - r_u) over units with any rates r_u whose mean is r: at most
    max W x r (1 - r), reached where all failures lie in the heaviest unit. Kish's number, 1 / sum W^2, holds only
    where all units have the same rate.
    """
    w = weights / weights.sum()
    own = 1.0 - sum(s.share for s in shared)
    largest = own * float(w.max())
    for s in shared:
        if s.share > 0:
            largest += s.share * float(np.bincount(s.units, weights=w).max())
    return round(min(1.0 / largest, float(np.count_nonzero(w))), 9)


def gate(
    y: Floats, weights: Floats, bounds: tuple[float, float], answers: float, binary: bool, alpha: float = 0.05
) -> Gate:
    """One-sided limits of a weighted mean, each at level 1 - alpha.

    Args:
        y: values within `bounds`, NaN where unmeasured (taken at the end that is worse for the claim), shape (n,).
        weights: shape (n,), > 0. answers: effective number (`effective_answers`). binary: y holds 0, 1 or NaN.

    For a rate: Clopper-Pearson with k = rate x answers. With equal weights of independent answers it is exactly
    Clopper-Pearson; a mean of 0/1 scores gets the same limits.
    """
    w = weights / weights.sum()
    low, high = (np.where(np.isnan(y), end, y) for end in bounds)
    lowest, highest = float(np.dot(w, low)), float(np.dot(w, high))
    if binary:
        k_low, k_high = (min(max(v, 0.0), 1.0) * answers for v in (lowest, highest))
        return Gate(lowest, highest, lower_limit(k_low, answers, alpha), upper_limit(k_high, answers, alpha), answers)
    return Gate(
        lowest,
        highest,
        mean_lower(*_gathered(low, w * answers, bounds), bounds[0], alpha),
        mean_upper(*_gathered(high, w * answers, bounds), bounds[1], alpha),
        answers,
    )


def _gathered(y: Floats, counts: Floats, bounds: tuple[float, float]) -> tuple[Floats, Floats]:
    """Equal scores put together; very many are shared out to the two nearest points of a grid.

    Sharing out keeps the mean and only spreads the scores, so that limits become wider, never narrower, and still
    rise with every score.
    """
    y = np.clip(y, *bounds)
    values, place = np.unique(y, return_inverse=True)
    if values.size <= _DISTINCT:
        return values, np.asarray(np.bincount(place, weights=counts), float)
    grid = np.linspace(bounds[0], bounds[1], _DISTINCT)
    at = np.clip((y - bounds[0]) / (bounds[1] - bounds[0]) * (_DISTINCT - 1), 0, _DISTINCT - 1)
    below = np.minimum(at.astype(np.int64), _DISTINCT - 2)
    upper = at - below
    total = np.bincount(below, counts * (1 - upper), _DISTINCT) + np.bincount(below + 1, counts * upper, _DISTINCT)
    present = total > 0
    return grid[present], np.asarray(total[present], float)
