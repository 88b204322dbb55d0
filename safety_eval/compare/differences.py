"""Two aligned columns of numbers -> paired differences, in total, by headline and per group.

Source: Tango 1998 (rates), cluster t (means), exact McNemar (shown, it does not decide), Holm 1979 over the whole
comparison. All statements are about prompts like these: clusters of prompts are what is resampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from safety_eval.measure.metrics import MIN_EFFECTIVE_CLUSTERS, Column, headline_weights
from safety_eval.stats.gate import cluster_weights, mean_gate
from safety_eval.stats.groups import holm
from safety_eval.stats.mean import mean_interval
from safety_eval.stats.paired import equivalent, mcnemar, non_inferior, paired_rate
from safety_eval.stats.proportion import clustered, t_quantile

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """Run minus baseline for one metric and group, over the same (prompt, sample) pairs.

    Attributes:
        task, metric, scorer, axis, group, kind: as in an Estimate ('effect' for a derived number).
        value: the difference, in the metric's unit; None with a reason. run, baseline: each one's value on the pairs.
        low, high: 95% interval of `value`. lower, upper: one-sided 95% limits with everything unmeasured at its
            worst, the only numbers that a policy may act on (None where it may not).
        p: exact McNemar over clusters (rates) or cluster t (means); p_adjusted: Holm over the whole comparison.
        new_only, old_only: pairs that count only in the run, only in the baseline (rates); higher, lower (means).
        count: pairs measured on both sides; expected: pairs owed; missing: pairs without a difference, by reason.
        clusters, effective_clusters: resampling units among the pairs.
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
    lower: float | None = None
    upper: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    new_only: int | None = None
    old_only: int | None = None
    count: int = 0
    expected: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    clusters: int = 0
    effective_clusters: float = 0.0
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


def of_pairs(pairs: Pairs) -> Iterator[Difference]:
    """Every difference of one metric: in total, by headline, per group."""
    new, ones = pairs.new, np.ones(len(pairs.new.y))
    yield _difference(pairs, "total", "all", ones)
    for headline in new.metric.headlines:
        yield _difference(pairs, "macro", headline.name, headline_weights(headline, new.groups))
    for axis in new.metric.axes:
        for group in dict.fromkeys(g for row in new.groups for g in row.get(axis, ())):
            inside = np.array([float(group in row.get(axis, ())) for row in new.groups])
            yield _difference(pairs, axis, group, inside)


def _difference(pairs: Pairs, axis: str, group: str, weights: Floats) -> Difference:
    new, old, metric = pairs.new, pairs.old, pairs.new.metric
    member = (weights > 0) & pairs.kept
    made = Difference(
        new.task, metric.name, new.scorer, axis, group, metric.kind, None, expected=int(member.sum()),
        missing=_missing(pairs, weights > 0), better=metric.better, data_version=new.version,
    )  # fmt: skip
    both = member & ~np.isnan(new.y) & ~np.isnan(old.y)
    if not both.any():
        return replace(made, reason="no pair was measured on both sides")
    w = weights[both]
    made = replace(
        made,
        run=float(np.average(new.y[both], weights=w)),
        baseline=float(np.average(old.y[both], weights=w)),
        count=int(both.sum()),
    )
    measure = _rate if metric.kind == "rate" else _mean
    made = measure(made, new.y[both], old.y[both], new.clusters[both], w, metric.bounds)
    return _gated(made, pairs, member, weights)


def _missing(pairs: Pairs, inside: NDArray[np.bool_]) -> dict[str, int]:
    """Pairs of a group that give no difference, by reason and side."""
    found: Counter[str] = Counter()
    for i in np.flatnonzero(inside).tolist():
        a, b = pairs.new.reasons[i], pairs.old.reasons[i]
        if a or b:
            found[f"{a} (both)" if a == b else f"{a} (run)" if a else f"{b} (baseline)"] += 1
        elif not pairs.kept[i]:
            found["not answered by both"] += 1
    return dict(sorted(found.items()))


def _rate(
    made: Difference, new: Floats, old: Floats, codes: Codes, w: Floats, _: tuple[float, float]
) -> Difference:
    found = paired_rate(new, old, codes, weights=w)
    pull = np.bincount(codes, weights=w * (new - old))
    up, down = int((pull > 1e-12).sum()), int((pull < -1e-12).sum())
    plain = found.clusters == found.n and bool(np.all(w == w[0]))
    return replace(
        made, value=found.value, low=found.low, high=found.high, new_only=found.b, old_only=found.c,
        p=mcnemar(up, down), clusters=found.clusters, effective_clusters=cluster_weights(codes, w)[1],
        method="Tango 95%; exact McNemar" if plain else "Tango 95% on effective pairs; McNemar over clusters",
    )  # fmt: skip


def _mean(
    made: Difference, new: Floats, old: Floats, codes: Codes, w: Floats, bounds: tuple[float, float]
) -> Difference:
    difference, span = new - old, bounds[1] - bounds[0]
    c = clustered(difference, codes, w)
    up, down = int((difference > 1e-12).sum()), int((difference < -1e-12).sum())
    made = replace(made, value=c.value, new_only=up, old_only=down)
    made = replace(made, clusters=c.clusters, effective_clusters=cluster_weights(codes, w)[1])
    if np.ptp(difference) <= 1e-12:
        m = mean_interval(difference, codes, w, span=(-span, span))
        p = 1.0 if abs(c.value) <= 1e-12 else None
        return replace(made, low=m.low, high=m.high, p=p, method=m.method)
    if c.clusters < 2:
        return replace(made, method="one cluster: no interval")
    half = t_quantile(0.975, c.clusters - 1) * c.se
    p = float(2 * stats.t.sf(abs(c.value) / c.se, c.clusters - 1)) if c.se > 0 else None
    low, high = max(-span, c.value - half), min(span, c.value + half)
    return replace(made, low=low, high=high, p=p, method=f"cluster t 95%, {c.clusters - 1} df")


def _gated(made: Difference, pairs: Pairs, member: NDArray[np.bool_], weights: Floats) -> Difference:
    """One-sided limits with every unmeasured or degenerate answer at the end that is worst for the claim."""
    if pairs.conditional:
        return replace(made, reason="on prompts that both answered: shown, not gated")
    new, old, w = pairs.new, pairs.old, weights[member]
    codes = np.unique(new.clusters[member], return_inverse=True)[1].astype(np.int64)
    first = np.where(new.sound[member], new.y[member], np.nan)
    second = np.where(old.sound[member], old.y[member], np.nan)
    if new.metric.kind == "rate":
        high = paired_rate(np.nan_to_num(first, nan=1.0), np.nan_to_num(second, nan=0.0), codes, weights=w)
        low = paired_rate(np.nan_to_num(first, nan=0.0), np.nan_to_num(second, nan=1.0), codes, weights=w)
        limits = low.gate_low, high.gate_high
    else:
        span = new.metric.bounds[1] - new.metric.bounds[0]
        gate = mean_gate(first - second, codes, w, (-span, span))
        limits = gate.low, gate.high
    effective = cluster_weights(codes, w)[1]
    few = round(effective, 6) < MIN_EFFECTIVE_CLUSTERS
    reason = f"descriptive only: {effective:.1f} effective clusters (10 are needed)" if few else ""
    return replace(made, lower=limits[0], upper=limits[1], gateable=not few, reason=reason)


def read(found: Sequence[Difference], margins: Mapping[str, float]) -> list[Difference]:
    """The family together: Holm-adjusted p-values, decisions by margin, and each row in words.

    Descriptive rows (fewer than 10 effective clusters) are shown and not judged: they are no part of the family.

    Args:
        margins: largest difference that is tolerated, by metric ('' = every metric), in the metric's unit.
    """
    tested = [i for i, d in enumerate(found) if d.p is not None and not descriptive(d)]
    adjusted = dict(zip(tested, map(float, holm([found[i].p or 0.0 for i in tested])), strict=True))
    rows = []
    for i, d in enumerate(found):
        margin = margins.get(d.metric, margins.get(""))
        decided = _decided(replace(d, p_adjusted=adjusted.get(i)), margin)
        rows.append(replace(decided, reading=reading(decided)))
    return rows


def descriptive(d: Difference) -> bool:
    """Whether a row has too few effective clusters to be judged."""
    return d.value is not None and round(d.effective_clusters, 6) < MIN_EFFECTIVE_CLUSTERS


def _decided(d: Difference, margin: float | None) -> Difference:
    if margin is None or d.lower is None or d.upper is None or not d.gateable:
        return d
    same = equivalent(d.lower, d.upper, margin)
    if d.better == "neither":
        return replace(d, margin=margin, equivalent=same)
    low, high = (d.lower, d.upper) if d.better == "lower" else (-d.upper, -d.lower)
    return replace(d, margin=margin, equivalent=same, not_worse=non_inferior(low, high, margin))


def reading(d: Difference) -> str:
    """A row in a few words. 'No difference shown' is not 'shown to be no different': that needs a margin."""
    if d.value is None:
        return f"no data: {d.reason}"
    by_margin = {
        "approved": "not worse by the margin",
        "rejected": "worse by more than the margin",
        "cannot decide": "undecided by the margin",
    }
    tail = f"; {by_margin[d.not_worse]}" if d.not_worse else ""
    if d.equivalent == "approved":
        tail = "; equivalent within the margin"
    if d.new_only == 0 and d.old_only == 0 and abs(d.value) <= 1e-12:
        return "identical on every pair" + tail
    if descriptive(d):
        return "descriptive only"
    if d.p is None:
        return "shown, not tested" + tail
    if d.p_adjusted is None or d.p_adjusted > ALPHA:
        return "no difference shown" + tail
    way = "higher" if d.value > 0 else "lower"
    return {"neither": way}.get(d.better, "better" if way == d.better else "worse") + tail
