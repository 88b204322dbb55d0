"""Many descriptors on an axis: how far they lie apart beyond noise, and which is worst, drawn towards the others.

A descriptor (HolisticBias: 'Deaf', 'from Cuba') has a few sentences only, so that the largest and smallest observed
mean say little. For every metric and axis: `METRIC_spread`, the standard deviation of the descriptors' true means
(stats/spread.py); `METRIC_worst`, the range of the truly worst descriptor's mean, with its shrunk estimate; and over
all axes the worst by shrunk estimate, `METRIC_descriptor`, each with limits that hold although it was picked for being
worst. A prompt is one independent observation; of several answers to it the mean counts, and one that is absent makes
the prompt absent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from safety_eval.core.records import Estimate, Standing
from safety_eval.core.task import Measured, Task
from safety_eval.measure.listed import LEAST
from safety_eval.measure.metrics import columns
from safety_eval.measure.table import Column
from safety_eval.stats.spread import (
    LEAST_VALUES,
    Values,
    WorstRange,
    shrunk_means,
    spread,
    spread_limits,
    worst_range,
)

NAMED = 10
"""Worst descriptors that are named for each metric."""
_HALF = 0.025
"""Error of each side of a displayed interval."""
PICKED = "picked for being among the worst of all: shown, not gated"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor's prompts: values shown, values that count for the gate, and what is missing, by reason."""

    axis: str
    name: str
    shown: Values
    gated: Values
    missing: Mapping[str, int]


def estimates(
    task: Task, measured: Sequence[Measured], version: str, outer: str = "axis", inner: str = "descriptor"
) -> Iterator[Estimate]:
    """Spread, worst and worst ten of every metric, by every scorer that gives it."""
    for column in columns(task, measured, version):
        if column.metric.where is None and not column.part:
            described = _described(column, measured, outer, inner)
            yield from _spreads(column, described, outer)
            yield from _worst(column, described, outer)
            yield from _named(column, described, inner)


def _described(column: Column, measured: Sequence[Measured], outer: str, inner: str) -> list[Descriptor]:
    """Descriptors in the order of their first prompt."""
    prompts: dict[tuple[str, str], dict[str, list[int]]] = {}
    for i, row in enumerate(measured):
        for group in row.prompt.groups.get(inner, ()):
            axis = next(iter(row.prompt.groups.get(outer, ("",))))
            prompts.setdefault((axis, group), {}).setdefault(row.prompt.id, []).append(i)
    gated = np.where(column.sound, column.y, np.nan)
    return [
        Descriptor(
            axis,
            group,
            _values(column.y, list(answers.values())),
            _values(gated, list(answers.values())),
            _reasons(column, list(answers.values())),
        )
        for (axis, group), answers in prompts.items()
    ]


def _values(y: np.ndarray, answers: Sequence[Sequence[int]]) -> Values:
    means = np.array([y[list(rows)].mean() for rows in answers])
    known = means[~np.isnan(means)]
    return Values(known, len(means) - len(known))


def _reasons(column: Column, answers: Sequence[Sequence[int]]) -> dict[str, int]:
    first = (next((column.reasons[i] for i in rows if column.reasons[i]), "") for rows in answers)
    return dict(sorted(Counter(reason for reason in first if reason).items()))


def _axes(described: Sequence[Descriptor], outer: str) -> Iterator[tuple[str, str, list[Descriptor]]]:
    yield "total", "all", list(described)
    for axis in dict.fromkeys(d.axis for d in described):
        yield outer, axis, [d for d in described if d.axis == axis]


def _blank(column: Column, ending: str, members: Sequence[Descriptor]) -> Estimate:
    missing: Counter[str] = Counter()
    for member in members:
        missing.update(member.missing)
    return Estimate(
        task=column.task,
        metric=f"{column.metric.name}_{ending}",
        scorer=column.scorer,
        axis="",
        group="",
        kind="mean",
        value=None,
        count=sum(len(d.shown.known) for d in members),
        expected=sum(d.shown.owed for d in members),
        missing=dict(sorted(missing.items())),
        listed=len(members),
        clusters=len(members),
        answers=float(len(members)),
        effective_prompts=float(len(members)),
        effective_clusters=float(len(members)),
        span=(0.0, column.metric.bounds[1] - column.metric.bounds[0]),
        better="lower",
    )


def _judged(estimate: Estimate, nothing: str) -> Estimate:
    """Whether a policy may act on it, and why not."""
    if estimate.value is None:
        return replace(estimate, standing=Standing.UNMEASURED, reason=nothing)
    if estimate.clusters < LEAST:
        few = f"descriptive only: {estimate.clusters} descriptors ({LEAST} are needed)"
        return replace(estimate, standing=Standing.FEW, reason=few)
    return replace(estimate, standing=Standing.JUDGED)


def _spreads(column: Column, described: Sequence[Descriptor], outer: str) -> Iterator[Estimate]:
    bounds = column.metric.bounds
    for axis, group, members in _axes(described, outer):
        able = [d for d in members if d.shown.owed >= LEAST_VALUES]
        blank = replace(_blank(column, "spread", able), axis=axis, group=group)
        value = spread([d.shown for d in able])
        gate = spread_limits([d.gated for d in able], bounds)
        if value is not None and gate is not None:
            shown = spread_limits([Values(d.shown.known) for d in able], bounds, _HALF)
            blank = replace(
                blank,
                value=min(value, (bounds[1] - bounds[0]) / 2),
                low=shown.low if shown else None,
                high=shown.high if shown else None,
                lowest=gate.lowest,
                highest=gate.highest,
                gate_low=gate.low,
                gate_high=gate.high,
                method="standard deviation between descriptors, Gaffke 95%",
            )
        yield _judged(blank, "a spread needs two descriptors with two measured prompts each")


def _worst(column: Column, described: Sequence[Descriptor], outer: str) -> Iterator[Estimate]:
    sign, bounds = _turned(column)
    for axis, group, members in _axes(described, outer):
        blank = _blank(column, "worst", members)
        blank = replace(blank, axis=axis, group=group, better=_better(column), span=column.metric.bounds)
        means = shrunk_means([_times(d.shown, sign) for d in members])
        gate = worst_range([_times(d.gated, sign) for d in members], bounds)
        shown = worst_range([Values(_times(d.shown, sign).known) for d in members], bounds, _HALF)
        observed = [float(sign * d.shown.known.mean()) if len(d.shown.known) else 0.0 for d in members]
        known = [(m, o, d.name) for m, o, d in zip(means, observed, members, strict=True) if m is not None]
        if known and gate is not None and shown is not None:
            value, _, name = max(known)
            blank = replace(
                _between(blank, sign, gate, shown),
                value=sign * value,
                method=f"shrunk estimate of {name}; range of the truly worst of {len(members)}, 95%",
            )
        yield _judged(blank, "nothing was measured")


def _between(blank: Estimate, sign: float, gate: WorstRange, shown: WorstRange) -> Estimate:
    """The ends of a range, put in order where signs were turned."""
    pairs = (gate.lowest, gate.highest), (gate.low, gate.high), (shown.low, shown.high)
    ends, limits, interval = (sorted((sign * a, sign * b)) for a, b in pairs)
    return replace(
        blank,
        low=interval[0],
        high=interval[1],
        lowest=ends[0],
        highest=ends[1],
        gate_low=limits[0],
        gate_high=limits[1],
    )


def _named(column: Column, described: Sequence[Descriptor], inner: str) -> Iterator[Estimate]:
    """The worst descriptors of all axes by shrunk estimate, each drawn towards its own axis."""
    sign, bounds = _turned(column)
    means: dict[str, float] = {}
    for _, _, members in list(_axes(described, ""))[1:]:
        drawn = shrunk_means([_times(d.shown, sign) for d in members])
        means |= {d.name: m for d, m in zip(members, drawn, strict=True) if m is not None}
    by_name = {d.name: d for d in described}
    for name in sorted(means, key=lambda n: (-means[n], n))[:NAMED]:
        own = _times(by_name[name].shown, sign)
        limits = worst_range([Values(own.known)], bounds, _HALF / len(described))
        blank = replace(
            _blank(column, "descriptor", [by_name[name]]),
            axis=inner,
            group=name,
            better=_better(column),
            span=column.metric.bounds,
            clusters=own.owed,
            effective_clusters=float(own.owed),
            value=sign * means[name],
            standing=Standing.SHOWN,
            reason=PICKED,
        )
        if limits is not None:
            low, high = sorted((sign * limits.low, sign * limits.high))
            many = f"limits hold for all {len(described)} at once"
            blank = replace(blank, low=low, high=high, method=f"shrunk to its axis; {many}, 95%")
        yield blank


def _better(column: Column) -> str:
    """Where neither end is good in itself (sentiment, regard), the lowest descriptor is the worst."""
    return "lower" if column.metric.better == "lower" else "higher"


def _turned(column: Column) -> tuple[float, tuple[float, float]]:
    """Sign that makes the worst the highest, and the bounds under it."""
    low, high = column.metric.bounds
    return (1.0, (low, high)) if _better(column) == "lower" else (-1.0, (-high, -low))


def _times(values: Values, sign: float) -> Values:
    return Values(sign * values.known, values.missing)
