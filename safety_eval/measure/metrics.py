"""Scores -> estimates: for every metric, in total, per group and by the paper's headline, with honest intervals.

Every number is about the task's list of prompts: where only a part was drawn, answers are weighted by what they stand
for. Display intervals describe what was measured. Gate limits (stats/gate.py) take every unmeasured, undecided or
degenerate answer at its worst, so that replacing an answer by nothing never improves a number that a policy acts on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safety_eval.core.faults import fault, file_of, told
from safety_eval.core.records import THOUGHT_VALUE, Estimate, Part, Reason, Standing, heading
from safety_eval.core.task import ANSWERED, Drawn, Headline, Measured, Metric, Task, Values, asked_with
from safety_eval.measure import listed
from safety_eval.measure.add_up import problems
from safety_eval.measure.listed import derived_on_list
from safety_eval.measure.thoughts import of_thoughts
from safety_eval.stats.gate import Shared, effective_answers, gate

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
DISPLAY = 0.025
"""Error of each side of a displayed interval."""


@dataclass(frozen=True, slots=True)
class Column:
    """One metric by one scorer over all its answers: aligned arrays and lists."""

    metric: Metric
    scorer: str
    y: Floats
    sound: NDArray[np.bool_]
    """Not degenerate: only then does the value count for the gate."""
    clusters: Codes
    prompts: Codes
    """Number of each answer's prompt: its samples share it."""
    chance: Floats
    """Share of its part of the list that was asked; 1 = all of it."""
    drawn: Drawn | None
    units: Codes
    """What the limit draws together."""
    groups: Sequence[Mapping[str, tuple[str, ...]]]
    reasons: Sequence[str]
    version: str
    task: str
    part: Part = Part.WHOLE


def estimates(task: Task, measured: Sequence[Measured], version: str, drawn: Drawn | None = None) -> list[Estimate]:
    """Every estimate of a task, in the order of its metrics.

    Args:
        task: whose metrics are taken.
        measured: every owed (prompt, sample), also those without an output.
        version: data version, copied into each estimate.
        drawn: what a limit drew from the task's list; None = all of it.

    Raises:
        PluginError: a derived number of somebody's own task that does not add up.
    """
    found = [e for column in columns(task, measured, version, drawn) for e in _of_column(column)]
    found += [e for column in status_columns(task, measured, version, drawn) for e in _of_column(column)]
    if task.derive is not None:
        found += derived_on_list(task, measured, version, drawn)
    for problem in problems(found):
        file = file_of(task.derive) if task.derive is not None else None
        if file is None:
            raise RuntimeError(f"numbers that do not add up: {problem}")
        raise fault(file, task.name, f"derive of task '{task.name}': {problem}", "expected = count + all of missing.")
    return found


def columns(task: Task, measured: Sequence[Measured], version: str, drawn: Drawn | None = None) -> Iterator[Column]:
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
                yield replace(_column(task, metric, scorer, rows, version), **_of_list(task, rows, drawn))
            if rows and metric.on_answered and any(m.status for m in rows):
                kept = [m for m in rows if m.status != "refuse"]
                if kept:
                    column = _column(task, metric, scorer, kept, version, Part.ANSWERED)
                    yield replace(column, **_of_list(task, kept, drawn))
            for part in (Part.THOUGHT, Part.LEAK) if metric.on_thought else ():
                if thoughts := of_thoughts(metric, scorer, rows, part):
                    column = _column(task, metric, scorer, thoughts, version, part)
                    yield replace(column, **_of_list(task, thoughts, drawn))


def _offered(metric: Metric, scorer: str, measured: Sequence[Measured]) -> bool:
    """A scorer whose every answer failed still owes its metric: it shows as missing, it does not vanish."""
    of_answers = (name for m in measured for name in m.values.get(scorer, ()) if not name.startswith(THOUGHT_VALUE))
    return any(scorer in m.errors for m in measured) and not any(of_answers)


def _column(
    task: Task,
    metric: Metric,
    scorer: str,
    rows: Sequence[Measured],
    version: str,
    part: Part = Part.WHOLE,
) -> Column:
    y, sound, reasons = np.full(len(rows), np.nan), np.ones(len(rows), bool), [""] * len(rows)
    for i, row in enumerate(rows):
        value, reason = _measure(metric, scorer, row)
        degenerate = row.status in ("degenerate", "undecided")
        if part is Part.ANSWERED and row.status not in ANSWERED:
            value, reason = None, reason or row.status or "unknown status"
        sound[i] = not degenerate
        reasons[i] = reason
        if value is not None:
            y[i] = value
    return Column(
        metric=replace(metric, name=part.of(metric.name)),
        scorer=scorer,
        y=y,
        sound=sound,
        clusters=_numbered([r.prompt.unit for r in rows]),
        prompts=_numbered([r.prompt.id for r in rows]),
        chance=np.ones(len(rows)),
        drawn=None,
        units=_numbered([asked_with(r.prompt, task.whole) for r in rows]),
        groups=[r.prompt.groups for r in rows],
        reasons=reasons,
        version=version,
        task=task.name,
        part=part,
    )


def _numbered(names: Sequence[str]) -> Codes:
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def _of_list(task: Task, rows: Sequence[Measured], drawn: Drawn | None) -> dict[str, Any]:
    """What a column has to know of the list that its answers speak for."""
    return {"drawn": drawn, "chance": listed.chances([r.prompt for r in rows], drawn, task.whole)}


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
    weights = 1 / column.chance
    yield _estimate(column, "total", "all", weights)
    for headline in column.metric.headlines:
        yield _estimate(column, "macro", headline.name, headline_weights(headline, column.groups, weights))
    for axis in column.metric.axes:
        members = _members(column.groups, axis)
        for group, rows in members.items():
            inside = np.zeros(len(column.y))
            inside[rows] = weights[rows]
            yield _estimate(column, axis, group, inside)
        for place, prompts in listed.sizes(column.drawn, column.metric).items():
            if place.startswith(f"{axis}/") and place.removeprefix(f"{axis}/") not in members:
                yield _not_drawn(column, axis, place.removeprefix(f"{axis}/"), prompts)


def _not_drawn(column: Column, axis: str, group: str, prompts: int) -> Estimate:
    """A group of the list of which the limit drew no prompt: it is there, and nothing is known of it."""
    metric = column.metric
    standing, reason = _unknown(prompts, f"none of its {prompts} prompts was drawn (--limit)")
    return Estimate(
        column.task,
        metric.name,
        column.scorer,
        axis,
        group,
        metric.kind,
        None,
        listed=prompts,
        better=metric.better,
        standing=standing,
        reason=reason,
        data_version=column.version,
    )


def _members(groups: Sequence[Mapping[str, tuple[str, ...]]], axis: str) -> dict[str, list[int]]:
    """Row numbers of each group of an axis."""
    found: dict[str, list[int]] = {}
    for i, row in enumerate(groups):
        for group in row.get(axis, ()):
            found.setdefault(group, []).append(i)
    return found


def headline_weights(
    headline: Headline, groups: Sequence[Mapping[str, tuple[str, ...]]], within: Floats | None = None
) -> Floats:
    """Weight of each answer so that the weighted mean is the headline (sums to 1; overlap is exact).

    A group's mean weighs 1 / (number of groups in its parent), level by level; an answer in several groups adds
    up its shares. `within`: weights of the answers in their group's own mean (None: equal).
    """
    own = np.ones(len(groups)) if within is None else within
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
        np.add.at(weights, rows, share * own[rows] / own[rows].sum())
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
    known = ~np.isnan(y)
    size = effective_answers(w, of_list(column, member))
    worst = gate(np.where(column.sound[member], y, np.nan), w, metric.bounds, size, metric.kind == "rate")
    missing = Counter(column.reasons[int(i)] for i in np.flatnonzero(member & np.isnan(column.y)))
    value, low, high, method = _display(column, member & ~np.isnan(column.y), weights)
    if value is not None:
        # Weights add up to one but for rounding; a mean never leaves the range of its values.
        value = min(max(value, float(y[known].min())), float(y[known].max()))
    if value is not None and missing.get(Reason.NOT_ASKED):
        method += "; not all was asked: where a verdict ended the run, the value leans towards it"
    prompts = len(np.unique(column.prompts[member]))
    on_list = max(prompts, listed.sizes(column.drawn, metric).get(f"{axis}/{group}", 0))
    standing, reason = _standing(column, axis, value, on_list)
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
        listed=on_list,
        clusters=len(np.unique(column.clusters[member])),
        answers=size,
        effective_prompts=effective_answers(w, [Shared(1.0, column.prompts[member])]),
        effective_clusters=effective_answers(w, [Shared(1.0, column.clusters[member])]),
        span=metric.bounds,
        sd=None if value is None else _deviation(y[known], w[known]),
        lowest=None if column.part else worst.lowest,
        highest=None if column.part else worst.highest,
        gate_low=None if column.part else worst.low,
        gate_high=None if column.part else worst.high,
        better=metric.better,
        standing=standing,
        method=method,
        reason=reason,
        data_version=column.version,
    )


def _deviation(y: Floats, weights: Floats) -> float:
    mean = np.average(y, weights=weights)
    return float(np.sqrt(np.average(np.square(y - mean), weights=weights)))


def of_list(column: Column, rows: NDArray[np.bool_]) -> list[Shared]:
    """What answers have in common where the claim is about the list: being drawn, as far as not all was asked."""
    left_out = 1.0 - float(column.chance[rows].min(initial=1.0))
    return [Shared(left_out, column.units[rows])] if left_out > 0 else []


def _standing(column: Column, axis: str, value: float | None, on_list: int) -> tuple[Standing, str]:
    """Whether a policy may act on this number, and why not in words.

    A number of a part of the answers is not gated: which they are depends on the model, so that losing a refused answer
    or a thought would change its population. The rate over all answers and the refusal rate are gated instead.
    """
    if value is None:
        return _unknown(on_list, "nothing was measured")
    if on_list < listed.LEAST:
        return _unknown(on_list, "")
    silent = listed.unasked(column.drawn) if axis in ("total", "macro") else 0
    if silent:
        return Standing.UNMEASURED, f"{silent} groups of the list were not asked (--limit): it cannot speak for them"
    if column.part:
        return Standing.SHOWN, _BESIDE[column.part]
    return Standing.JUDGED, ""


_BESIDE = {
    Part.ANSWERED: "conditional on answering: shown, not gated",
    Part.THOUGHT: "of thoughts, where there are any: shown, not gated",
    Part.LEAK: "of thoughts behind refusals: shown, not gated",
}


def _unknown(on_list: int, reason: str) -> tuple[Standing, str]:
    """Of a group that no policy acts on: too small to be required, or required and not measured."""
    if on_list < listed.LEAST:
        return Standing.FEW, f"descriptive only: {on_list} prompts on its list ({listed.LEAST} are needed)"
    return Standing.UNMEASURED, reason


def _display(
    column: Column, rows: NDArray[np.bool_], weights: Floats
) -> tuple[float | None, float | None, float | None, str]:
    """Value, 95% interval for this list and its name, of what was measured."""
    if not rows.any():
        return None, None, None, ""
    binary, w = column.metric.kind == "rate", weights[rows]
    size = effective_answers(w, of_list(column, rows))
    shown = gate(column.y[rows], w, column.metric.bounds, size, binary, DISPLAY)
    method = f"{'Clopper-Pearson' if binary else 'Gaffke'} 95%, these prompts"
    if size < rows.sum() - 1e-6:
        method += f" (as {size:.4g} answers of equal weight)"
    return shown.lowest, shown.low, shown.high, method


STATUS_RATES = {"refusal_rate": "refuse", "degenerate_rate": "degenerate"}
"""Rates of a status, which tasks that generate text have without saying so."""


def status_columns(
    task: Task, measured: Sequence[Measured], version: str, drawn: Drawn | None = None
) -> Iterator[Column]:
    """Degenerate rate of every task that generates text; refusal rate where an instrument tells refusals."""
    if task.kind != "generate":
        return
    tells = any(m.status not in ("", "degenerate") and not m.output.error for m in measured)
    axes = tuple(dict.fromkeys(axis for metric in task.metrics for axis in metric.axes))
    for (name, status), better in zip(STATUS_RATES.items(), ("neither", "lower"), strict=True):
        if any(metric.name == name for metric in task.metrics) or not (tells or status == "degenerate"):
            continue
        metric = Metric(name, (), lambda *_: None, kind="rate", better=better, axes=axes)  # type: ignore[arg-type]
        column = _status_column(task, metric, status, measured, version)
        yield replace(column, **_of_list(task, measured, drawn))


def _status_column(task: Task, metric: Metric, status: str, rows: Sequence[Measured], version: str) -> Column:
    known = [not r.output.error if status == "degenerate" else r.status not in ("", "undecided") for r in rows]
    y = np.array([float(r.status == status) if k else np.nan for k, r in zip(known, rows, strict=True)])
    plain = replace(metric, measure=lambda *_: 0.0)
    column = _column(task, plain, "", rows, version)
    reasons = ["" if not np.isnan(v) else (r.output.error or "undecided") for v, r in zip(y, rows, strict=True)]
    # A degenerate answer is itself what the degenerate rate counts; for the refusal rate it is unmeasured.
    sound = np.ones(len(rows), bool) if status == "degenerate" else column.sound
    instrument = "" if status == "degenerate" else "refusal"
    return replace(column, y=y, sound=sound, reasons=reasons, scorer=instrument)


def gateable(found: Iterable[Estimate], axis: str) -> list[Estimate]:
    """The groups of an axis that a policy's 'every group' means."""
    return [e for e in found if e.axis == axis and e.gateable]
