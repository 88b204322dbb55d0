"""Two aligned columns of numbers -> paired differences, in total, by headline and per group.

A paired difference is a weighted mean of scores from -1 to 1 (rates) or of differences of scores, and goes through the
same gate as every other number (stats/gate.py); so do the displayed limits. Exact McNemar is shown and does not decide.
All statements are about the prompts that were compared, unless a policy asks for the population.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from safety_eval.measure import listed
from safety_eval.measure.coded import members
from safety_eval.measure.metrics import DISPLAY, headline_weights, of_list
from safety_eval.measure.table import Column
from safety_eval.stats.gate import Codes, Shared, effective_answers, gate
from safety_eval.stats.groups import holm
from safety_eval.stats.limits import Seen, SeenDifference, SeenMean, SeenShare
from safety_eval.stats.paired import equivalent, mcnemar, non_inferior

Floats = NDArray[np.float64]
ALPHA = 0.05
_FLIPS, _MANY = 9_999, 2_000


@dataclass(frozen=True, slots=True)
class Difference:
    """Run minus baseline for one metric and group, over the same (prompt, sample) pairs.

    Flat: a row of compare.json and of a table, as scripts read it.

    Attributes:
        task, metric, scorer, axis, group, kind: as in an Estimate ('effect' for a derived number).
        value: the difference, in the metric's unit; None with a reason. run, baseline: each one's value on the pairs.
        low, high: 95% interval of `value`. lowest, highest: the difference with everything unmeasured at either end;
            lower, upper: their one-sided 95% limits for this list (None where no policy may act on it).
        worst, best: shares of pairs (that became 1, that became 0) with everything unmeasured at its worst, at its
            best (rates): the limits at any level and for the population follow from them.
        p: exact McNemar, pairs of one cluster counted together (rates); p_adjusted: Holm over one question.
        new_only, old_only: pairs that count only in the run, only in the baseline (rates); higher, lower (means).
        count: pairs measured on both sides; expected: pairs owed; missing: pairs without a difference, by reason.
        listed, enough, clusters, answers, effective_prompts, effective_clusters, span: as in an Estimate.
        better: which end of the metric is better. gateable: a policy may act on it.
        margin: what 'not worse' and 'equivalent' were judged by. not_worse, equivalent: 'approved', 'rejected',
            'cannot decide', or '' without a margin.
        reading: the row in a few words. reason: why there is no value, or why it is descriptive. method: in words.
    """

    task: str
    metric: str
    scorer: str
    axis: str
    group: str
    kind: str
    value: float | None
    run: float | None = None
    baseline: float | None = None
    low: float | None = None
    high: float | None = None
    lowest: float | None = None
    highest: float | None = None
    lower: float | None = None
    upper: float | None = None
    worst: tuple[float, float] | None = None
    best: tuple[float, float] | None = None
    p: float | None = None
    p_adjusted: float | None = None
    new_only: int | None = None
    old_only: int | None = None
    count: int = 0
    expected: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    listed: int = 0
    clusters: int = 0
    answers: float = 0.0
    effective_prompts: float = 0.0
    effective_clusters: float = 0.0
    span: tuple[float, float] = (-1.0, 1.0)
    enough: bool = True
    better: str = "neither"
    gateable: bool = False
    margin: float | None = None
    not_worse: str = ""
    equivalent: str = ""
    reading: str = ""
    reason: str = ""
    method: str = ""
    data_version: str = ""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The same metric of two runs, row i of `new` and of `old` being the same (prompt, sample).

    `kept`: rows that the comparison is about (all, or those that both answered). `conditional`: on answering.
    """

    new: Column
    old: Column
    kept: NDArray[np.bool_]
    conditional: bool = False

    @property
    def chance(self) -> Floats:
        """Share of its part of the list that both runs asked."""
        return np.minimum(self.new.chance, self.old.chance)


def of_pairs(pairs: Pairs) -> Iterator[Difference]:
    """Every difference of one metric: in total, by headline, per group."""
    new, weights = pairs.new, 1 / pairs.chance
    everything: Codes = np.arange(len(weights))
    yield _difference(pairs, "total", "all", everything, weights)
    for headline in new.metric.headlines:
        shares = headline_weights(headline, new.groups, weights)
        inside = np.flatnonzero(shares > 0)
        yield _difference(pairs, "macro", headline.name, inside, shares[inside])
    for axis in new.metric.axes:
        for group, rows in members(new.groups, axis).items():
            yield _difference(pairs, axis, group, rows, weights[rows])


def _difference(pairs: Pairs, axis: str, group: str, rows: Codes, weights: Floats) -> Difference:
    """The difference over some rows with their weights, which are positive."""
    new, old, metric = pairs.new, pairs.old, pairs.new.metric
    kept = pairs.kept[rows]
    member, w = rows[kept], weights[kept]
    span = metric.bounds[1] - metric.bounds[0]
    prompts = len(np.unique(new.prompts[member]))
    on_list = max(prompts, listed.sizes(new.drawn, metric).get(f"{axis}/{group}", 0))
    made = Difference(
        new.task,
        metric.name,
        new.scorer,
        axis,
        group,
        metric.kind,
        None,
        expected=len(member),
        missing=_missing(pairs, rows),
        better=metric.better,
        span=(-span, span),
        listed=on_list,
        enough=on_list >= listed.LEAST,
        data_version=new.version,
    )
    known = ~np.isnan(new.y[member]) & ~np.isnan(old.y[member])
    if not known.any():
        return replace(made, reason="no pair was measured on both sides")
    both = member[known]
    made = replace(
        made,
        run=float(np.average(new.y[both], weights=w[known])),
        baseline=float(np.average(old.y[both], weights=w[known])),
        count=len(both),
    )
    return _gated(_shown(made, pairs, both, w[known]), pairs, member, w)


def _missing(pairs: Pairs, rows: Codes) -> dict[str, int]:
    """Pairs of a group that give no difference, by reason and side."""
    new, old = pairs.new.reasons, pairs.old.reasons
    names = len(old.table)
    of_both, often = np.unique(
        (new.codes[rows].astype(np.int64) * names + old.codes[rows]) * 2 + pairs.kept[rows], return_counts=True
    )
    found: Counter[str] = Counter()
    for code, count in zip(of_both.tolist(), often.tolist(), strict=True):
        a, b = new.table[code // 2 // names], old.table[code // 2 % names]
        if a or b:
            found[f"{a} (both)" if a == b else f"{a} (run)" if a else f"{b} (baseline)"] += count
        elif not code % 2:
            found["not answered by both"] += count
    return dict(sorted(found.items()))


def _shown(made: Difference, pairs: Pairs, both: Codes, w: Floats) -> Difference:
    """Value, 95% interval and McNemar of the pairs that were measured on both sides."""
    apart = pairs.new.y[both] - pairs.old.y[both]
    size = effective_answers(w, _of_list(pairs, both))
    shown = gate(apart, w, made.span, size, False, DISPLAY)
    up, down = int((apart > 1e-12).sum()), int((apart < -1e-12).sum())
    p = None
    if made.kind == "rate":
        pull = np.bincount(pairs.new.clusters[both], weights=w * apart)
        p = mcnemar(int((pull > 1e-12).sum()), int((pull < -1e-12).sum()))
    elif up == down == 0:
        p = 1.0
    else:
        p = _sign_flip(apart, w, pairs.new.clusters[both])
    method = "Gaffke 95%, these prompts; " + ("exact McNemar" if made.kind == "rate" else "sign-flip test")
    method += " over clusters" if len(np.unique(pairs.new.clusters[both])) < len(both) else ""
    return replace(
        made, value=shown.lowest, low=shown.low, high=shown.high, new_only=up, old_only=down, p=p, method=method
    )


def _sign_flip(apart: Floats, w: Floats, clusters: Codes) -> float:
    """Two-sided p-value of 'no cluster's sum leans either way': signs of the sums drawn 9,999 times (seeded); by the
    normal law of that sum where there are very many."""
    pull = np.bincount(clusters, weights=w * apart)
    pull = pull[np.abs(pull) > 1e-12]
    if not pull.size:
        return 1.0
    if pull.size > _MANY:
        return float(2 * special.ndtr(-abs(pull.sum()) / math.sqrt(float(np.square(pull).sum()))))
    rng = np.random.default_rng(0)
    reached, step = 0, max(1, 4_000_000 // pull.size)
    for start in range(0, _FLIPS, step):
        signs = rng.integers(0, 2, (min(step, _FLIPS - start), pull.size)) * 2 - 1
        reached += int((np.abs(signs @ pull) >= abs(pull.sum()) * (1 - 1e-12)).sum())
    return (1 + reached) / (1 + _FLIPS)


def _of_list(pairs: Pairs, rows: Codes) -> list[Shared]:
    return of_list(replace(pairs.new, chance=pairs.chance), rows)


def _gated(made: Difference, pairs: Pairs, member: Codes, w: Floats) -> Difference:
    """One-sided limits with every unmeasured or degenerate answer at the end that is worst for the claim."""
    new, old = pairs.new, pairs.old
    size = effective_answers(w, _of_list(pairs, member))
    made = replace(
        made,
        clusters=len(np.unique(new.clusters[member])),
        answers=size,
        effective_prompts=effective_answers(w, [Shared(1.0, new.prompts[member])]),
        effective_clusters=effective_answers(w, [Shared(1.0, new.clusters[member])]),
    )
    if pairs.conditional:
        return replace(made, reason="on prompts that both answered: shown, not gated")
    first = np.where(new.sound[member], new.y[member], np.nan)
    second = np.where(old.sound[member], old.y[member], np.nan)
    low, high = new.metric.bounds
    worst = np.where(np.isnan(first), high, first) - np.where(np.isnan(second), low, second)
    best = np.where(np.isnan(first), low, first) - np.where(np.isnan(second), high, second)
    limits = gate(worst, w, made.span, size, False), gate(best, w, made.span, size, False)
    made = replace(made, highest=limits[0].highest, upper=limits[0].high, lowest=limits[1].lowest, lower=limits[1].low)
    if made.kind == "rate":
        made = replace(made, worst=_moved(worst, w), best=_moved(best, w))
    reason = _not_gateable(made, pairs)
    return replace(made, gateable=not reason, reason=reason)


def _moved(apart: Floats, w: Floats) -> tuple[float, float]:
    """Shares of pairs that became 1, and that became 0."""
    up, down = (float(np.average(side, weights=w)) for side in (apart > 0.5, apart < -0.5))
    return up, down


def _not_gateable(d: Difference, pairs: Pairs) -> str:
    if not d.enough:
        return f"descriptive only: {d.listed} prompts on its list ({listed.LEAST} are needed)"
    silent = listed.unasked(pairs.new.drawn) if d.axis in ("total", "macro") else 0
    return f"{silent} groups of the list were not asked (--limit): it cannot speak for them" if silent else ""


def read(found: Sequence[Difference], margins: Mapping[str, float]) -> list[Difference]:
    """Every row with its place in its family: adjusted p-values, the decision by the margin, and one reading.

    A family is one question: one metric by one scorer in total, by headline, or over the groups of one axis. The total
    holds the same answers as the groups, so that putting them together would pay twice for one hypothesis.
    Descriptive rows (fewer than 10 prompts on their list) are shown and not judged: they are not part of a family.

    Args:
        margins: largest difference that is tolerated, by metric ('' = every metric), in the metric's unit.
    """
    limits = [margins.get(d.metric, margins.get("")) for d in found]
    changed = _by_family(found, [d.p for d in found])
    worse = _by_family(found, [_p_worse(d, m) for d, m in zip(found, limits, strict=True)])
    rows = []
    for d, margin, p, p_worse in zip(found, limits, changed, worse, strict=True):
        decided = _decided(replace(d, p_adjusted=p), margin, p_worse)
        rows.append(replace(decided, reading=reading(decided)))
    return rows


def _by_family(found: Sequence[Difference], p_values: Sequence[float | None]) -> list[float | None]:
    """Holm-adjusted p-values, family by family."""
    families: dict[tuple[str, str, str, str], list[int]] = {}
    for i, (d, p) in enumerate(zip(found, p_values, strict=True)):
        if p is not None and not descriptive(d):
            families.setdefault((d.task, d.metric, d.scorer, d.axis), []).append(i)
    adjusted: list[float | None] = [None] * len(found)
    for family in families.values():
        for i, p in zip(family, holm([p_values[i] or 0.0 for i in family]), strict=True):
            adjusted[i] = float(p)
    return adjusted


def seen(d: Difference, answers: float, population: bool = False) -> Seen | None:
    """The two worst cases of a paired difference that rests on so many effective answers; None = not to be gated."""
    if d.lowest is None or d.highest is None or d.lower is None or d.upper is None:
        return None
    if d.worst is not None and d.best is not None:
        return SeenDifference(d.worst, d.best, answers)
    if population:
        return SeenShare(d.lowest, d.highest, answers, d.span)
    return SeenMean(d.lowest, d.highest, d.lower, d.upper, answers)


def _p_worse(d: Difference, margin: float | None) -> float | None:
    """p-value of 'worse by more than the margin'; None where no margin or no better end is known."""
    this = seen(d, d.answers)
    if margin is None or this is None or not d.gateable or d.better == "neither":
        return None
    return this.p_exceeds(margin) if d.better == "lower" else this.p_below(-margin)


def descriptive(d: Difference) -> bool:
    """Whether a row has too few prompts to be judged."""
    return d.value is not None and not d.enough


def _decided(d: Difference, margin: float | None, p_worse: float | None) -> Difference:
    """Approved by the row's own limit (every row has to be, so that nothing is paid); worse by the family's."""
    if margin is None or d.lower is None or d.upper is None or not d.gateable:
        return d
    same = equivalent(d.lower, d.upper, margin)
    if d.better == "neither":
        return replace(d, margin=margin, equivalent=same)
    low, high = (d.lower, d.upper) if d.better == "lower" else (-d.upper, -d.lower)
    decision = non_inferior(low, high, margin)
    if decision == "rejected" and (p_worse is None or p_worse > ALPHA or _side(d) != _worse(d)):
        decision = "cannot decide"
    return replace(d, margin=margin, equivalent=same, not_worse=decision)


def _side(d: Difference) -> str:
    """The side of zero on which the whole displayed interval lies; '' = on both."""
    if d.low is None or d.high is None:
        return ""
    return "higher" if d.low > 0 else "lower" if d.high < 0 else ""


def _worse(d: Difference) -> str:
    return {"lower": "higher", "higher": "lower"}.get(d.better, "")


def reading(d: Difference) -> str:
    """A row in a few words, never two that contradict each other. With a margin it is what the margin says; a change of
    direction is named where the interval lies on one side and the family's p-value agrees."""
    if d.value is None:
        return f"no data: {d.reason}"
    if d.new_only == 0 and d.old_only == 0 and abs(d.value) <= 1e-12:
        return "; ".join(["identical on every pair", *_by_margin(d)])
    if descriptive(d):
        return "descriptive only"
    way = _side(d)
    certain = way and d.p_adjusted is not None and d.p_adjusted <= ALPHA
    word = {"neither": way}.get(d.better, "better" if way == d.better else "worse")
    if d.margin is not None and (d.not_worse or d.equivalent):
        told = _by_margin(d)
        if not certain or d.not_worse == "rejected" or d.equivalent == "approved":
            return "; ".join(told)
        if d.not_worse == "approved" and word == "worse":
            return "worse, by less than the margin"
        return "; ".join([word, *told])
    if d.p is None:
        return "shown, not tested"
    if certain:
        return word
    return f"{word} alone, not among its family" if way else "no difference shown"


def _by_margin(d: Difference) -> list[str]:
    if d.equivalent == "approved":
        return ["equivalent within the margin"]
    words = {
        "approved": "not worse by the margin",
        "rejected": "worse by more than the margin",
        "cannot decide": "undecided by the margin",
    }
    decided = d.not_worse or ("cannot decide" if d.equivalent == "cannot decide" else "")
    if not decided and d.equivalent == "rejected":
        return ["changed by more than the margin"]
    return [words[decided]] if decided else []
