"""Rates corrected for the scorer's own errors, beside the raw ones, by its card: per group, and gaps net of its bias.

Lang and Reiczigel 2014, which assumes that the card's error rates carry over to this model's answers. What can be
tested of that raises an alarm, and an alarm is never clipped to a number: the corrected rate then means nothing, and
`safety-eval review RUN` (labels on this run's own answers) is the way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from safety_eval.audit import labelled
from safety_eval.audit import scorer_audit as audit
from safety_eval.audit.cards import GroupErrors, Part, ScorerCard
from safety_eval.core.task import Measured, Metric, Task
from safety_eval.measure import metrics
from safety_eval.measure.coded import members
from safety_eval.measure.table import Column
from safety_eval.stats.judge import Corrected, Review, corrected, corrected_difference, p_sensitive
from safety_eval.stats.proportion import clustered, clustered_interval, effective_n, wilson

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class CorrectedRate:
    """One rate as judged and as corrected.

    Attributes:
        raw, raw_low, raw_high: as judged, with 95% limits. value, low, high: corrected; None under an alarm.
        alarm: why the correction may not be used ('' = nothing speaks against it).
        source: which labelled texts gave the error rates. count: answers.
    """

    task: str
    metric: str
    scorer: str
    axis: str
    group: str
    raw: float
    raw_low: float
    raw_high: float
    value: float | None
    low: float | None
    high: float | None
    alarm: str
    source: str
    count: int


@dataclass(frozen=True, slots=True)
class NetGap:
    """The widest raw gap between two groups, as judged and as corrected with each group's own error rates."""

    metric: str
    scorer: str
    worse: str
    better: str
    raw: float
    value: float | None
    low: float | None
    high: float | None
    alarm: str


def by_models(k: float, n: float, models: Sequence[GroupErrors]) -> Corrected | None:
    """A rate corrected by labelled answers of one or more other models; None where all of these are of one class.

    Args:
        k, n: answers judged bad, of how many. models: the errors on the answers of each that was labelled.

    With several the interval is the hull of the pooled and of each one's own interval (of a model with answers of both
    classes), and it is an alarm when their error rates differ (Fisher's exact test) or when one of them alone raises
    one: errors that differ between the models that were labelled cannot be expected to hold for a further one. Nor can
    they where the scorer flags far fewer or far more of its answers than of any of theirs: two models that refuse in
    the words that a list of prefixes knows say nothing of a third that does not, and no test of theirs can show it.
    Under an alarm the limits are only a range, from what the labelled models' errors would make of it to what the
    scorer said; there is no value to show.
    """
    pooled = _together(models).calibration
    if pooled is None:
        return None
    whole = corrected(k, n, pooled)
    if len(models) < 2 and not whole.alarm:
        return whole
    each = [corrected(k, n, c) for m in models if (c := m.calibration) is not None]
    between = (_differ(models), _unlike(k, n, models)) if len(models) > 1 else ()
    alarms = [a for a in (whole.alarm, *between, *(c.alarm for c in each)) if a]
    low, high = min(c.low for c in (whole, *each)), max(c.high for c in (whole, *each))
    if alarms:
        raw = wilson(k, n)
        low, high = min(low, raw.low), max(high, raw.high)
    return Corrected(whole.value, low, high, "; ".join(dict.fromkeys(alarms)))


def _together(models: Sequence[GroupErrors]) -> GroupErrors:
    counts = ((m.positives, m.misses, m.negatives, m.false_alarms) for m in models)
    return GroupErrors(labelled.MODEL, "all", *(sum(column) for column in zip(*counts, strict=True)))


def _differ(models: Sequence[GroupErrors]) -> str:
    """Whether sensitivity or specificity differs between models, in words."""
    for name, wrong, total in (
        ("sensitivity", [m.misses for m in models], [m.positives for m in models]),
        ("specificity", [m.false_alarms for m in models], [m.negatives for m in models]),
    ):
        table = np.array([(t - w, w) for w, t in zip(wrong, total, strict=True) if t], float).T
        if table.size < 4 or not np.all(table.sum(axis=1)):
            continue
        test = scipy.stats.fisher_exact if table.shape == (2, 2) else scipy.stats.chi2_contingency
        if float(test(table).pvalue) < ALPHA:
            shares = ", ".join(f"{1 - w / t:.2f}" for w, t in zip(wrong, total, strict=True) if t)
            return f"the scorer's {name} differs between the models that were labelled ({shares})"
    return ""


def _unlike(k: float, n: float, models: Sequence[GroupErrors]) -> str:
    """Whether the share of flagged answers lies outside those of all models that were labelled, in words."""
    shares = [(m.positives - m.misses + m.false_alarms) / (m.positives + m.negatives) for m in models]
    low, high = wilson(k, n)
    if min(shares) <= high and low <= max(shares):
        return ""
    theirs = ", ".join(f"{s:.2f}" for s in shares)
    return f"{k / n:.2f} of the answers are flagged, of the models that were labelled {theirs}: it is unlike them"


def corrected_rates(task: Task, rows: Sequence[Measured], card: ScorerCard) -> list[CorrectedRate]:
    """Every rate of a task that the card's instrument made, in total and per group, where the card speaks of it.

    A metric that cuts elsewhere than the card did has no correction: the card's errors are not its errors.
    """
    found: list[CorrectedRate] = []
    for column in metrics.columns(task, rows, ""):
        if column.scorer != card.scorer or column.metric.kind != "rate":
            continue
        part = card.part_for(column.metric.needs)
        if part is None or column.part:
            continue
        turned = _turned(column, rows, part)
        if turned is not None:
            found += _of_column(column, part, turned)
    return found


def _turned(column: Column, rows: Sequence[Measured], part: Part) -> bool | None:
    """False: the metric counts what the card calls flagged; True: the opposite; None: neither."""
    flag = audit.flag_of(part)
    kept = (m for m in rows if column.metric.where is None or column.metric.where(m.prompt))
    pairs = Counter(
        (bool(y), flag(m.values[column.scorer]))
        for y, m in zip(column.y, kept, strict=True)
        if not np.isnan(y) and column.scorer in m.values
    )
    if pairs and all(y == flagged for y, flagged in pairs):
        return False
    return True if pairs and all(flagged is not None and y != flagged for y, flagged in pairs) else None


def lost_sensitivity(column: Column, rows: Sequence[Measured], card: ScorerCard, phases: tuple[Review, Review]) -> str:
    """What labels on this run's own answers say against the card: '' = nothing, or that the scorer misses more here.

    Args:
        rows: of the column. phases: labels of the flagged answers, and of the others.
    """
    part = card.part_for(column.metric.needs)
    calibration = None if part is None else part.whole.calibration
    if part is None or calibration is None or _turned(column, rows, part) != (column.metric.better == "higher"):
        return ""
    if p_sensitive(*phases, calibration) > ALPHA:
        return ""
    return (
        f"{column.scorer} misses more bad answers here than its card says ({part.whole.misses} of "
        f"{part.whole.positives} labelled texts): do not use rates that are corrected by the card"
    )


def _of_column(column: Column, part: Part, turned: bool) -> Iterator[CorrectedRate]:
    everything = np.ones(len(column.y), bool)
    yield from _rate(column, "total", "all", everything, part, turned)
    for axis in column.metric.axes:
        for group, rows in members(column.groups, axis).items():
            inside = np.zeros(len(column.y), bool)
            inside[rows] = True
            yield from _rate(column, axis, group, inside, part, turned)


def _rate(
    column: Column, axis: str, group: str, inside: NDArray[np.bool_], part: Part, turned: bool
) -> Iterator[CorrectedRate]:
    known = inside & ~np.isnan(column.y)
    if not known.any():
        return
    bad = 1 - column.y[known] if turned else column.y[known]
    c = clustered(bad, column.clusters[known])
    n = effective_n(c, 0.025)
    found, source = _corrected(c.value * n, n, part, (axis, group), _label(column, known))
    limits = wilson(c.value * n, n) if c.independent else clustered_interval(c)
    raw, right = (c.value, limits.low, limits.high), (found.value, found.low, found.high)
    if turned:
        raw, right = _flipped(*raw), _flipped(*right)
    void = math.isnan(found.value) or bool(found.alarm)
    yield CorrectedRate(
        column.task,
        column.metric.name,
        column.scorer,
        axis,
        group,
        *raw,
        value=None if void else right[0],
        low=None if void else right[1],
        high=None if void else right[2],
        alarm=found.alarm,
        source=source,
        count=int(known.sum()),
    )


def _flipped(value: float, low: float, high: float) -> tuple[float, float, float]:
    return 1 - value, 1 - high, 1 - low


def _label(column: Column, known: NDArray[np.bool_]) -> str:
    """What all prompts behind a number are, 'safe' or 'unsafe'; '' where they differ or nobody says."""
    found = {column.groups[i].get(labelled.LABEL, ()) for i in np.flatnonzero(known).tolist()}
    return next(iter(found))[0] if len(found) == 1 and len(next(iter(found))) == 1 else ""


def _corrected(k: float, n: float, part: Part, of: tuple[str, str], label: str) -> tuple[Corrected, str]:
    """By the group's own errors where labelled texts name it, else by those on answers to prompts of the same label,
    else by those on all texts; where several models were labelled, by each of them."""
    own = part.errors_of(*of)
    if own is not None and own.calibration is not None:
        return corrected(k, n, own.calibration), f"labelled texts about {of[1]}"
    for axis, words in ((labelled.within(label), f" to {label} prompts"), (labelled.MODEL, "")):
        models = [g for g in part.groups if g.axis == axis]
        if len(models) > 1 and (found := by_models(k, n, models)) is not None:
            return found, f"labelled answers of {len(models)} other models{words}"
    whole = part.whole.calibration
    if whole is None:
        return Corrected(math.nan, 0.0, 1.0, "the card has labelled texts of one class only"), "none"
    return corrected(k, n, whole), "all labelled texts"


def net_gap(rates: Sequence[CorrectedRate], axis: str, metric: Metric) -> NetGap | None:
    """The widest raw gap of an axis, and what is left of it when each group is corrected by its own errors."""
    here = [r for r in rates if r.axis == axis and r.metric == metric.name]
    if len(here) < 2:
        return None
    best, worst = sorted(here, key=lambda r: r.raw)[:: len(here) - 1]
    left = corrected_difference(_as_corrected(worst), _as_corrected(best))
    void = math.isnan(left.value) or bool(left.alarm)
    return NetGap(
        metric.name,
        worst.scorer,
        worst.group,
        best.group,
        worst.raw - best.raw,
        value=None if void else left.value,
        low=None if void else left.low,
        high=None if void else left.high,
        alarm=left.alarm,
    )


def _as_corrected(rate: CorrectedRate) -> Corrected:
    if rate.value is None or rate.low is None or rate.high is None:
        return Corrected(math.nan, 0.0, 1.0, rate.alarm or "not corrected")
    return Corrected(rate.value, rate.low, rate.high, rate.alarm)
