"""Scores -> estimates: for every metric, in total, per group and by the paper's headline, with honest intervals.

Every number is about the task's list of prompts: where only a part was drawn, answers are weighted by what they stand
for. Display intervals describe what was measured. Gate limits (stats/gate.py) take every unmeasured, undecided or
degenerate answer at its worst, so that replacing an answer by nothing never improves a number that a policy acts on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from safety_eval.core.faults import fault, file_of
from safety_eval.core.records import Estimate, Part, Reason, Standing
from safety_eval.core.task import Drawn, Headline, Measured, Task
from safety_eval.measure import listed
from safety_eval.measure.add_up import problems
from safety_eval.measure.coded import Groups, members, rows_of
from safety_eval.measure.listed import derived_on_list
from safety_eval.measure.table import Column, Floats, Table
from safety_eval.stats.gate import Codes, Shared, effective_answers, gate

DISPLAY = 0.025
"""Error of each side of a displayed interval."""


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
    table = Table(task, measured, version, drawn)
    found = [e for column in table.columns() for e in _of_column(column)]
    found += [e for column in table.status_columns() for e in _of_column(column)]
    if task.derive is not None:
        found += derived_on_list(task, measured, version, drawn)
    for problem in problems(found):
        file = file_of(task.derive) if task.derive is not None else None
        if file is None:
            raise RuntimeError(f"numbers that do not add up: {problem}")
        raise fault(file, task.name, f"derive of task '{task.name}': {problem}", "expected = count + all of missing.")
    return found


def columns(task: Task, measured: Iterable[Measured], version: str, drawn: Drawn | None = None) -> Iterator[Column]:
    """Every metric by every scorer that offers it, as one column of numbers, in the order of `measured`."""
    return Table(task, measured, version, drawn).columns()


def _of_column(column: Column) -> Iterator[Estimate]:
    weights = 1 / column.chance
    everything: Codes = np.arange(len(weights))
    yield _estimate(column, "total", "all", everything, weights)
    for headline in column.metric.headlines:
        shares = headline_weights(headline, column.groups, weights)
        inside = np.flatnonzero(shares > 0)
        yield _estimate(column, "macro", headline.name, inside, shares[inside])
    for axis in column.metric.axes:
        held = members(column.groups, axis)
        for group, rows in held.items():
            yield _estimate(column, axis, group, rows, weights[rows])
        for place, prompts in listed.sizes(column.drawn, column.metric).items():
            if place.startswith(f"{axis}/") and place.removeprefix(f"{axis}/") not in held:
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


def headline_weights(headline: Headline, groups: Groups, within: Floats | None = None) -> Floats:
    """Weight of each answer so that the weighted mean is the headline (sums to 1; overlap is exact).

    A group's mean weighs 1 / (number of groups in its parent), level by level; an answer in several groups adds
    up its shares. `within`: weights of the answers in their group's own mean (None: equal).
    """
    own = np.ones(len(groups)) if within is None else within
    held = rows_of(groups, lambda row: _paths(row, headline.levels))
    children = Counter(path[:-1] for path in {path[:depth] for path in held for depth in range(1, len(path) + 1)})
    weights = np.zeros(len(groups))
    for path, rows in held.items():
        share = 1.0
        for depth in range(len(path)):
            share /= children[path[:depth]]
        np.add.at(weights, rows, share * own[rows] / own[rows].sum())
    return weights


def _paths(row: Mapping[str, tuple[str, ...]], levels: tuple[str, ...]) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = [()]
    for level in levels:
        paths = [(*path, group) for path in paths for group in row.get(level, ())]
    return paths


def _estimate(column: Column, axis: str, group: str, rows: Codes, w: Floats) -> Estimate:
    """One estimate from some answers; their weights `w` are positive."""
    metric, y = column.metric, column.y[rows]
    known = ~np.isnan(y)
    size = effective_answers(w, of_list(column, rows))
    worst = gate(np.where(column.sound[rows], y, np.nan), w, metric.bounds, size, metric.kind == "rate")
    missing = column.reasons.of(rows[~known]).counts()
    value, low, high, method = _display(column, rows[known], w[known])
    if value is not None:
        # Weights add up to one but for rounding; a mean never leaves the range of its values.
        value = min(max(value, float(y[known].min())), float(y[known].max()))
    if value is not None and missing.get(Reason.NOT_ASKED):
        method += "; not all was asked: where a verdict ended the run, the value leans towards it"
    prompts = len(np.unique(column.prompts[rows]))
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
        expected=len(rows),
        missing=dict(sorted(missing.items())),
        listed=on_list,
        clusters=len(np.unique(column.clusters[rows])),
        answers=size,
        effective_prompts=effective_answers(w, [Shared(1.0, column.prompts[rows])]),
        effective_clusters=effective_answers(w, [Shared(1.0, column.clusters[rows])]),
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


def of_list(column: Column, rows: Codes) -> list[Shared]:
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


def _display(column: Column, rows: Codes, w: Floats) -> tuple[float | None, float | None, float | None, str]:
    """Value, 95% interval for this list and its name, of the rows that were measured."""
    if not len(rows):
        return None, None, None, ""
    binary = column.metric.kind == "rate"
    size = effective_answers(w, of_list(column, rows))
    shown = gate(column.y[rows], w, column.metric.bounds, size, binary, DISPLAY)
    method = f"{'Clopper-Pearson' if binary else 'Gaffke'} 95%, these prompts"
    if size < len(rows) - 1e-6:
        method += f" (as {size:.4g} answers of equal weight)"
    return shown.lowest, shown.low, shown.high, method


def gateable(found: Iterable[Estimate], axis: str) -> list[Estimate]:
    """The groups of an axis that a policy's 'every group' means."""
    return [e for e in found if e.axis == axis and e.gateable]
