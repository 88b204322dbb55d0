"""Which answers were counted against the model, and by which metric of which instrument."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from safety_eval.core.task import Measured, Metric, Task
from safety_eval.measure.coded import Coded, Coder, Spooled

Counted = tuple[str, str]
"""(metric, scorer) whose rate an answer made worse."""


class Against:
    """For each answer that is added the rates that it made worse, in the order of the task's metrics; () for none.

    Only rates of which one end is better count single answers; a mean has no answer that is the bad one.
    """

    def __init__(self, task: Task) -> None:
        self._metrics = [m for m in task.metrics if m.kind == "rate" and m.better != "neither"]
        self._coder: Coder[tuple[Counted, ...]] = Coder()
        self._codes = Spooled("i")
        self._offered: dict[str, set[str]] = {}

    def add(self, row: Measured) -> tuple[Counted, ...]:
        """Add an answer; the rates that it made worse."""
        for scorer, values in row.values.items():
            self._offered.setdefault(scorer, set()).update(values)
        counted = self.of(row)
        self._codes.append(self._coder.code(counted, counted))
        return counted

    def of(self, row: Measured) -> tuple[Counted, ...]:
        """The rates that an answer made worse."""
        return tuple(_counted(self._metrics, row))

    def all(self) -> Coded[tuple[Counted, ...]]:
        """The rates that each added answer made worse."""
        return Coded(self._codes.read().astype(np.int32), self._coder.table)

    def rates(self) -> list[Counted]:
        """The rates that single ones of the added answers can make worse, in the order of the task's metrics."""
        return [
            (metric.name, scorer)
            for metric in self._metrics
            for scorer in (
                [s for s, offered in self._offered.items() if set(metric.needs) <= offered] if metric.needs else [""]
            )
        ]


def _counted(metrics: Iterable[Metric], row: Measured) -> Iterator[Counted]:
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
