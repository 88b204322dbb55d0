"""Is a model fair between groups? For every run and every axis of groups: is there any difference, how large is it
apart from noise, which group is worst, and how wide is the gap; all from the estimates, so that anybody can repeat it.

A group's rate here has what is unmeasured left out; gates take it at its worst (signoff). Groups that share prompts
vary together, so that treating them as independent is wide, never narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from safety_eval.core.records import Estimate
from safety_eval.stats.gaps import GapLimits, gap_limits, mean_gap_limits, p_gap, p_mean_gap
from safety_eval.stats.groups import between_groups, shrunk, tau_interval
from safety_eval.stats.limits import SeenMean, SeenShare

Floats = NDArray[np.float64]
ALPHA = 0.05
_AXES = frozenset({"total", "macro"})
_EXACT = 1e-12
_Z = 1.6448536269514722


@dataclass(frozen=True, slots=True)
class Disparity:
    """Differences between the groups of one axis, for one metric by one scorer.

    Flat: a row of results.json, as scripts read it.

    Attributes:
        better: which end is better; where neither is, the lowest group takes the place of the worst.
        groups: how many with 10 prompts or more; prompts alone decide which.
        p_equal: p-value against 'all groups are the same', over every difference at once (max-T).
        tau, tau_low, tau_high: standard deviation between groups that noise does not explain, with its 95% interval.
        worst, worst_value, worst_low, worst_high: the group with the worst value, and the range of the truly worst
            group's, which its being picked does not bias.
        gap, gap_low: largest observed difference, and the lower 95% limit of the true one (max-T).
        best: the group at the other end.
        named: groups shown to be worse than the rest, each with the lower limit of the difference; all at once at 95%.
            Where neither end is better: shown to be higher (+) or lower (-).
        measured, shrunk: value of each group, as it is and drawn towards the mean by its noise, the worst first.
        family: over what the error is kept, in words.
    """

    task: str
    metric: str
    scorer: str
    axis: str
    kind: str
    better: str
    groups: int
    p_equal: float
    tau: float
    tau_low: float
    tau_high: float
    worst: str
    worst_value: float
    worst_low: float
    worst_high: float
    gap: float
    gap_low: float
    best: str
    named: Mapping[str, float]
    measured: Mapping[str, float]
    shrunk: Mapping[str, float]
    family: str


PRIOR = 10.0
"""Answers' worth of weight that all groups' spread has in each one's."""


def disparities(estimates: Iterable[Estimate]) -> list[Disparity]:
    """One for each metric, scorer and axis with two groups or more that can be judged."""
    together: dict[tuple[str, str, str, str], list[Estimate]] = {}
    for e in estimates:
        known = e.kind == "rate" or (e.kind == "mean" and e.sd is not None)
        if e.axis not in _AXES and e.gateable and known and e.value is not None and e.answers:
            together.setdefault((e.task, e.metric, e.scorer, e.axis), []).append(e)
    return [_disparity(rows) for rows in together.values() if len(rows) > 1]


def _disparity(rows: Sequence[Estimate]) -> Disparity:
    first = rows[0]
    sign = 1.0 if first.better == "lower" else -1.0
    values = np.array([e.value for e in rows], float)
    variances = np.array([_variance(e, _pooled(rows)) for e in rows])
    limits, p_equal = _limits(rows, values, sign)
    spread = between_groups(values, variances)
    ends = list(_ends(rows))
    most = (first.span[1] - first.span[0]) / 2
    tau, tau_low, tau_high = (min(t, most) for t in (spread.tau, *tau_interval(values, variances)))
    if tau_high == 0:
        # Less differs than noise would make: no more is known than what lies between the outermost limits.
        tau_high = (max(high for _, high in ends) - min(low for low, _ in ends)) / 2
    drawn = shrunk(values, variances, spread)
    order = np.argsort(-sign * values, kind="stable")
    worst, best = rows[order[0]], rows[order[-1]]
    low, high = _range(ends, sign)
    return Disparity(
        task=first.task,
        metric=first.metric,
        scorer=first.scorer,
        axis=first.axis,
        kind=first.kind,
        better=first.better,
        groups=len(rows),
        p_equal=p_equal,
        tau=tau,
        tau_low=tau_low,
        tau_high=tau_high,
        worst=worst.group,
        worst_value=float(worst.value or 0.0),
        worst_low=low,
        worst_high=high,
        gap=float(abs(values[order[0]] - values[order[-1]])),
        gap_low=max(0.0, limits.largest),
        best=best.group,
        named=_named([rows[i].group for i in order], limits.above[order], limits.below[order], first.better),
        measured={rows[i].group: float(values[i]) for i in order},
        shrunk={rows[i].group: float(drawn[i]) for i in order},
        family=f"all differences of {len(rows)} groups to the rest and to each other, together at 95%",
    )


def _named(groups: Sequence[str], above: Floats, below: Floats, better: str) -> dict[str, float]:
    """Who differs from the rest: worse by at least so much or, where neither end is better, lower or higher."""
    if better != "neither":
        return {g: float(limit) for g, limit in zip(groups, above, strict=True) if limit > 0}
    signed = np.where(above > 0, -above, np.maximum(below, 0.0))
    return {g: float(limit) for g, limit in zip(groups, signed, strict=True) if limit}


def _variance(e: Estimate, pooled: float) -> float:
    """Sampling variance, of a group whose spread is drawn towards that of all as by PRIOR more answers (Smyth 2004).

    What five answers show of their own spread is often too small by half: simulated groups that were alike looked
    unlike in 63% (41 means of five answers) and 98% (36 rates of three) of runs, and do in 2 to 7%.

    Args:
        pooled: of all groups, see `_pooled`.
    """
    assert e.value is not None
    if e.kind == "rate":
        share = (e.value * e.answers + PRIOR * pooled + 0.5) / (e.answers + PRIOR + 1)
        return share * (1 - share) / e.answers
    assert e.sd is not None
    freedom = max(e.answers - 1, 0.0)
    own = e.sd**2 * e.answers / max(freedom, 1.0)
    drawn = (PRIOR * pooled + freedom * own) / (PRIOR + freedom) / e.answers
    return drawn if drawn > _EXACT else _padded(e)


def _pooled(rows: Sequence[Estimate]) -> float:
    """Of all groups together: the rate (half a case more), or the variance of single answers within groups."""
    if rows[0].kind == "rate":
        answers = sum(e.answers for e in rows)
        return (sum((e.value or 0.0) * e.answers for e in rows) + 0.5) / (answers + 1)
    freedom = sum(max(e.answers - 1, 0.0) for e in rows)
    return sum(e.answers * (e.sd or 0.0) ** 2 for e in rows) / max(freedom, 1.0)


def _padded(e: Estimate) -> float:
    """Variance of a mean with half an answer more at either end of its range: a group all of whose answers are equal
    is not known exactly, and has not seen the rare high score."""
    assert e.value is not None and e.sd is not None
    ends = sum(0.5 * (end - e.value) ** 2 for end in e.span)
    return max((e.answers * e.sd**2 + ends) / (e.answers + 1) / e.answers, _EXACT)


def _limits(rows: Sequence[Estimate], values: Floats, sign: float) -> tuple[GapLimits, float]:
    """Limits of what is worse than what, and the p-value of 'no difference'.

    A mean of few answers is given the tail of t by a larger variance: as much larger as its quantile is at the level
    of one of all comparisons.
    """
    if rows[0].kind == "rate":
        bad = values if sign > 0 else 1 - values
        sizes = [e.answers for e in rows]
        return gap_limits(bad, sizes, ALPHA), p_gap(bad, sizes)
    tail = ALPHA / len(rows) ** 2
    freedom = np.array([max(e.answers - 1, 1.0) for e in rows])
    wider = special.stdtrit(freedom, 1 - tail) / special.ndtri(1 - tail)
    variances = np.array([_padded(e) for e in rows]) * wider**2
    return mean_gap_limits(sign * values, variances, ALPHA), p_mean_gap(sign * values, variances)


def _range(ends: Sequence[tuple[float, float]], sign: float) -> tuple[float, float]:
    """Range of the truly worst group: the far end needs no correction (it is one fixed group, Berger 1982), the near
    end is the best of all groups' limits at a level that is shared by them."""
    pick = max if sign > 0 else min
    return pick(low for low, _ in ends), pick(high for _, high in ends)


def _ends(rows: Sequence[Estimate]) -> Iterator[tuple[float, float]]:
    """(low, high) limits of each group: the far one of a worst group at ALPHA / 2, the near one at ALPHA / 2G."""
    share = ALPHA / 2 / len(rows)
    for e in rows:
        assert e.value is not None
        if e.kind == "rate":
            seen: SeenShare | SeenMean = SeenShare(e.value, e.value, e.answers)
        else:
            half = _Z * _padded(e) ** 0.5
            seen = SeenMean(e.value, e.value, e.value - half, e.value + half, e.answers)
        if e.better != "lower":
            low, high = seen.lower(1 - ALPHA / 2), seen.upper(1 - share)
        else:
            low, high = seen.lower(1 - share), seen.upper(1 - ALPHA / 2)
        yield max(low, e.span[0]), min(high, e.span[1])
