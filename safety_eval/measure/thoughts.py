"""The thoughts before a task's answers, as rows that its metrics can measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safety_eval.core.records import THOUGHT_VALUE, Part
from safety_eval.core.task import Measured, Metric


def of_thoughts(metric: Metric, scorer: str, rows: Sequence[Measured], part: Part) -> list[Measured]:
    """The rows of a part that have a thought, with its values under the names of the answer's, whatever the answer came
    to; none where the scorer reads no thoughts."""
    found = []
    for row in rows:
        if row.output.error or not row.output.reasoning.strip() or (part is Part.LEAK and row.status != "refuse"):
            continue
        given = row.values.get(scorer, {})
        own = {n.removeprefix(THOUGHT_VALUE): v for n, v in given.items() if n.startswith(THOUGHT_VALUE)}
        found.append(replace(row, values={scorer: own}, errors={}))
    return found if any(set(metric.needs) <= set(row.values[scorer]) for row in found) else []
