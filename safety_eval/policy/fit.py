"""Does a policy fit the tasks that it speaks of? Asked before hours are spent: by `plan`, and by `run --policy`."""

from __future__ import annotations

from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import parted
from safety_eval.core.task import Metric, Task
from safety_eval.policy.file import Policy, Rule

OF_ANSWERS = {"refusal_rate": "refusal", "degenerate_rate": ""}
"""Shares that are measured of every task that generates, by which scorer ('' = by none)."""


def check(policy: Policy, task: Task) -> None:
    """Every rule on a task names one of its metrics and a limit that can decide.

    Raises:
        UserError: it does not.
    """
    for rule in policy.rules:
        if rule.task == task.name:
            _check(rule, task)


def _check(rule: Rule, task: Task) -> None:
    whole, part = parted(rule.metric)
    if part.thinks:
        raise UserError(
            f"rule '{rule.id}': {rule.metric} is about thoughts, which are shown and never judged",
            f"Set the limit on {whole}, or remove the rule.",
        )
    metric = next((m for m in task.metrics if m.name == whole), None)
    if metric is None and (rule.metric not in OF_ANSWERS or rule.corrected):
        if task.derive is None:
            known = [m.name for m in task.metrics]
            raise UserError(
                f"rule '{rule.id}': task '{task.name}' has no metric '{rule.metric}'",
                nearest(rule.metric, (*known, *OF_ANSWERS)),
            )
        return  # what `derive` gives is known only once it was measured
    if rule.corrected and (metric is None or metric.kind != "rate" or rule.metric != metric.name):
        raise UserError(
            f"rule '{rule.id}': {rule.metric} is no rate of the task's own answers: people's labels cannot correct it",
            "Leave out `corrected`, or name a rate of the task.",
        )
    low, high = _bounds(metric)
    wide = high - low
    inside = low <= rule.bound <= high if rule.limit in ("max", "min") else rule.bound <= wide
    if inside:
        return
    share = metric is None or metric.kind == "rate"
    hint = f"Write 5% as 0.05 (did you mean {rule.bound / 100:g}?)." if share else "Give a limit within its range."
    raise UserError(
        f"rule '{rule.id}': {rule.limit} {rule.bound:g} on {rule.metric}, which lies between {low:g} and {high:g}", hint
    )


def _bounds(metric: Metric | None) -> tuple[float, float]:
    return (0.0, 1.0) if metric is None or metric.kind == "rate" else metric.bounds
