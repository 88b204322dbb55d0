"""Scores -> estimates: for every metric, in total, per group and by the paper's headline, with honest intervals.

Display intervals describe what was measured. Gate limits (stats/gate.py) take every unmeasured, undecided or
degenerate answer at its worst, so that replacing an answer by nothing never improves a number that a policy acts
on. All numbers here are population statements: prompts like these (clusters of prompts are what is resampled).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from safety_eval.core.faults import told
from safety_eval.core.records import ANSWERED_SUFFIX, Estimate, Reason, Standing, heading
from safety_eval.core.task import ANSWERED, Headline, Measured, Metric, Task, Values
from safety_eval.stats.gate import Gate, mean_gate, rate_gate
from safety_eval.stats.mean import mean_interval
from safety_eval.stats.proportion import clustered, clustered_interval, wilson

Floats = NDArray[np.float64]
MIN_EFFECTIVE_CLUSTERS = 10
"""Below this a group is descriptive only: its limits would not hold (STATISTICS: coverage with few clusters)."""


@dataclass(frozen=True, slots=True)
class Column:
    """One metric by one scorer over all its answers: aligned arrays and lists."""

    metric: Metric
    scorer: str
    y: Floats
    sound: NDArray[np.bool_]
    """Not degenerate: only then does the value count for the gate."""
    clusters: NDArray[np.int64]
    groups: Sequence[Mapping[str, tuple[str, ...]]]
    reasons: Sequence[str]
    version: str
    task: str
    answered_only: bool = False


def estimates(task: Task, measured: Sequence[Measured], version: str) -> list[Estimate]:
    """Every estimate of a task, in the order of its metrics.

    Args:
        task: whose metrics are taken.
        measured: every owed (prompt, sample), also those without an output.
        version: data version, copied into each estimate.
    """
    found = [e for column in columns(task, measured, version) for e in _of_column(column)]
    found += [e for column in status_columns(task, measured, version) for e in _of_column(column)]
    if task.derive is not None:
        found += [replace(e, data_version=version) for e in task.derive(measured, version)]
    return found


def columns(task: Task, measured: Sequence[Measured], version: str) -> Iterator[Column]:
    """Every metric by every scorer that offers it, as one column of numbers, in the order of `measured`."""
    scorers = list(dict.fromkeys(name for m in measured for name in (*m.values, *m.errors)))
    for metric in task.metrics:
        for scorer in scorers if metric.needs else [""]:
            rows = [m for m in measured if metric.where is None or metric.where(m.prompt)]
            if (
                metric.needs
                and not any(set(metric.needs) <= set(m.values.get(scorer, ())) for m in rows)
                and (not _offered(metric, scorer, measured))
            ):
                continue
            if rows:
                yield _column(task, metric, scorer, rows, version)
            if rows and metric.on_answered and any(m.status for m in rows):
                kept = [m for m in rows if m.status != "refuse"]
                named = replace(metric, name=metric.name + ANSWERED_SUFFIX)
                if kept:
                    yield _column(task, named, scorer, kept, version, answered_only=True)


def _offered(metric: Metric, scorer: str, measured: Sequence[Measured]) -> bool:
    """A scorer whose every answer failed still owes its metric: it shows as missing, it does not vanish."""
    return any(scorer in m.errors for m in measured) and not any(m.values.get(scorer) for m in measured)


def _column(
    task: Task,
    metric: Metric,
    scorer: str,
    rows: Sequence[Measured],
    version: str,
    answered_only: bool = False,
) -> Column:
    y, sound, reasons = np.full(len(rows), np.nan), np.ones(len(rows), bool), [""] * len(rows)
    for i, row in enumerate(rows):
        value, reason = _measure(metric, scorer, row)
        degenerate = row.status in ("degenerate", "undecided")
        if answered_only and row.status not in ANSWERED:
            value, reason = None, reason or row.status or "unknown status"
        sound[i] = not degenerate
        reasons[i] = reason
        if value is not None:
            y[i] = value
    units = {unit: i for i, unit in enumerate(dict.fromkeys(r.prompt.unit for r in rows))}
    codes = np.array([units[r.prompt.unit] for r in rows], dtype=np.int64)
    groups = [r.prompt.groups for r in rows]
    return Column(
        metric=metric,
        scorer=scorer,
        y=y,
        sound=sound,
        clusters=codes,
        groups=groups,
        reasons=reasons,
        version=version,
        task=task.name,
        answered_only=answered_only,
    )


def measured_by(metric: Metric, row: Measured, values: Values) -> float | None:
    """The number of one answer.

    Raises:
        PluginError: an exception in somebody's own measure, with its file and line.
    """
    with told(metric.measure, f"measure of metric '{metric.name}' on prompt '{row.prompt.id}'"):
        return metric.measure(row.prompt, row.output, values)


def _measure(metric: Metric, scorer: str, row: Measured) -> tuple[float | None, str]:
    if row.output.error:
        return None, heading(row.output.error)
    values = row.values.get(scorer, {})
    if metric.needs and not set(metric.needs) <= set(values):
        return None, heading(row.errors.get(scorer, Reason.NOT_SCORED))
    value = measured_by(metric, row, values)
    return (None, "undecided") if value is None else (float(value), "")


def _of_column(column: Column) -> Iterator[Estimate]:
    ones = np.ones(len(column.y))
    yield _estimate(column, "total", "all", ones)
    for headline in column.metric.headlines:
        yield _estimate(column, "macro", headline.name, headline_weights(headline, column.groups))
    for axis in column.metric.axes:
        for group, rows in _members(column.groups, axis).items():
            weights = np.zeros(len(column.y))
            weights[rows] = 1.0
            yield _estimate(column, axis, group, weights)


def _members(groups: Sequence[Mapping[str, tuple[str, ...]]], axis: str) -> dict[str, list[int]]:
    """Row numbers of each group of an axis."""
    found: dict[str, list[int]] = {}
    for i, row in enumerate(groups):
        for group in row.get(axis, ()):
            found.setdefault(group, []).append(i)
    return found


def headline_weights(headline: Headline, groups: Sequence[Mapping[str, tuple[str, ...]]]) -> Floats:
    """Weight of each answer so that the weighted mean is the headline (sums to 1; overlap is exact).

    A group's mean weighs 1 / (number of groups in its parent), level by level; an answer in several groups adds
    up its shares.
    """
    members: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(groups):
        for path in _paths(row, headline.levels):
            members.setdefault(path, []).append(i)
    weights = np.zeros(len(groups))
    for path, rows in members.items():
        share = 1.0
        for depth in range(len(path)):
            siblings = {p[: depth + 1] for p in members if p[:depth] == path[:depth]}
            share /= len(siblings)
        np.add.at(weights, rows, share / len(rows))
    return weights


def _paths(row: Mapping[str, tuple[str, ...]], levels: tuple[str, ...]) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = [()]
    for level in levels:
        paths = [(*path, group) for path in paths for group in row.get(level, ())]
    return paths


def _estimate(column: Column, axis: str, group: str, weights: Floats) -> Estimate:
    """One estimate from the answers with a positive weight."""
    member = weights > 0
    metric, y, w = column.metric, column.y[member], weights[member]
    codes = np.unique(column.clusters[member], return_inverse=True)[1].astype(np.int64)
    known = ~np.isnan(y)
    gate = _gate(metric, np.where(column.sound[member], y, np.nan), codes, w)
    missing = Counter(column.reasons[int(i)] for i in np.flatnonzero(member & np.isnan(column.y)))
    value, low, high, method = _display(
        metric, y[known], codes[known], w[known], equal=bool(np.all(w == w[0]))
    )
    standing, reason = _standing(column, value, gate)
    conditional = column.answered_only
    return Estimate(
        task=column.task,
        metric=metric.name,
        scorer=column.scorer,
        axis=axis,
        group=group,
        kind=metric.kind,
        value=value,
        low=low,
        high=high,
        count=int(known.sum()),
        events=int(y[known].sum()) if metric.kind == "rate" else None,
        expected=int(member.sum()),
        missing=dict(sorted(missing.items())),
        clusters=gate.clusters,
        effective_clusters=round(gate.effective_clusters, 6),
        lowest=None if conditional else gate.lowest,
        highest=None if conditional else gate.highest,
        gate_low=None if conditional else gate.low,
        gate_high=None if conditional else gate.high,
        better=metric.better,
        standing=standing,
        method=method,
        reason=reason,
        data_version=column.version,
    )


def _standing(column: Column, value: float | None, gate: Gate) -> tuple[Standing, str]:
    """Whether a policy may act on this number, and why not in words.

    The answered-only rate is not gated: which answers it is about depends on the model, so that losing a refused
    answer would change its population. The rate over all answers and the refusal rate are gated instead.
    """
    if value is None:
        return Standing.UNMEASURED, "nothing was measured"
    if round(gate.effective_clusters, 6) < MIN_EFFECTIVE_CLUSTERS:
        few = f"descriptive only: {gate.effective_clusters:.1f} effective clusters (10 are needed)"
        return Standing.FEW_CLUSTERS, few
    if column.answered_only:
        return Standing.SHOWN, "conditional on answering: shown, not gated"
    return Standing.JUDGED, ""


def _gate(metric: Metric, y: Floats, codes: NDArray[np.int64], weights: Floats) -> Gate:
    if metric.kind == "rate":
        return rate_gate(y, codes, weights)
    return mean_gate(y, codes, weights, metric.bounds)


def _display(
    metric: Metric, y: Floats, codes: NDArray[np.int64], w: Floats, equal: bool
) -> tuple[float | None, float | None, float | None, str]:
    """Value, 95% interval and its name, of what was measured."""
    if not len(y):
        return None, None, None, ""
    codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    if metric.kind == "mean":
        m = mean_interval(y, codes, weights=w, span=metric.bounds)
        return m.value, m.low, m.high, m.method
    if equal and len(np.unique(codes)) == len(codes):
        interval = wilson(int(y.sum()), len(y))
        return float(y.mean()), interval.low, interval.high, "Wilson 95%"
    c = clustered(y, codes, weights=w)
    if c.clusters < 2:
        return float(c.value), None, None, "one cluster: no interval"
    interval = clustered_interval(c)
    return float(c.value), interval.low, interval.high, "cautious Korn-Graubard 95%, clustered"


def status_columns(task: Task, measured: Sequence[Measured], version: str) -> Iterator[Column]:
    """Degenerate rate of every task that generates text; refusal rate where an instrument tells refusals."""
    if task.kind != "generate":
        return
    tells = any(m.status not in ("", "degenerate") and not m.output.error for m in measured)
    axes = tuple(dict.fromkeys(axis for metric in task.metrics for axis in metric.axes))
    for name, status, better in (
        ("refusal_rate", "refuse", "neither"),
        ("degenerate_rate", "degenerate", "lower"),
    ):
        if any(metric.name == name for metric in task.metrics) or not (tells or status == "degenerate"):
            continue
        metric = Metric(name, (), lambda *_: None, kind="rate", better=better, axes=axes)  # type: ignore[arg-type]
        yield _status_column(task, metric, status, measured, version)


def _status_column(task: Task, metric: Metric, status: str, rows: Sequence[Measured], version: str) -> Column:
    known = [not r.output.error if status == "degenerate" else r.status not in ("", "undecided") for r in rows]
    y = np.array([float(r.status == status) if k else np.nan for k, r in zip(known, rows, strict=True)])
    plain = replace(metric, measure=lambda *_: 0.0)
    column = _column(task, plain, "", rows, version)
    reasons = [
        "" if not np.isnan(v) else (r.output.error or "undecided") for v, r in zip(y, rows, strict=True)
    ]
    # A degenerate answer is itself what the degenerate rate counts; for the refusal rate it is unmeasured.
    sound = np.ones(len(rows), bool) if status == "degenerate" else column.sound
    instrument = "" if status == "degenerate" else "refusal"
    return replace(column, y=y, sound=sound, reasons=reasons, scorer=instrument)


def gateable(found: Iterable[Estimate], axis: str) -> list[Estimate]:
    """The groups of an axis that a policy's 'every group' means."""
    return [e for e in found if e.axis == axis and e.gateable]
