"""Which answers were counted against the model, and by which metric of which instrument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from safety_eval.core.task import Measured, Metric, Task

Counted = tuple[str, str]
"""(metric, scorer) whose rate an answer made worse."""


def against(task: Task, measured: Sequence[Measured]) -> list[tuple[Counted, ...]]:
    """For each answer the rates that it made worse, in the order of the task's metrics; () for none.

    Only rates of which one end is better count single answers; a mean has no answer that is the bad one.
    """
    judged = _judged(task)
    return [tuple(_counted(judged, row)) for row in measured]


def rates(task: Task, measured: Sequence[Measured]) -> list[Counted]:
    """The rates that single answers of these can make worse, in the order of the task's metrics."""
    scorers = list(dict.fromkeys(name for row in measured for name in row.values))
    offered = {name: {value for row in measured for value in row.values.get(name, ())} for name in scorers}
    return [
        (metric.name, scorer)
        for metric in _judged(task)
        for scorer in ([s for s in scorers if set(metric.needs) <= offered[s]] if metric.needs else [""])
    ]


def _judged(task: Task) -> list[Metric]:
    return [m for m in task.metrics if m.kind == "rate" and m.better != "neither"]


def _counted(metrics: Sequence[Metric], row: Measured) -> Iterator[Counted]:
    if row.output.error:
        return
    for metric in metrics:
        if metric.where is not None and not metric.where(row.prompt):
            continue
        for scorer, values in row.values.items() if metric.needs else [("", {})]:
            if not set(metric.needs) <= set(values):
                continue
            value = metric.measure(row.prompt, row.output, values)
            if value is not None and (value >= 0.5) == (metric.better == "lower"):
                yield metric.name, scorer
