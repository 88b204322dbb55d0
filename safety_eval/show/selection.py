"""Which estimates are shown, in which order, and beside which published rows: one choice for every reader.

Terminal, charts and report take their rows from here, so that none of them can show what another one hides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import Estimate
from safety_eval.measure import published
from safety_eval.measure.beside import Beside, Kin, kin
from safety_eval.runs.run_file import TaskRecord
from safety_eval.show import words

if TYPE_CHECKING:
    from safety_eval.runs.opened import RunFolder

WHOLE = ("total", "macro")
"""Axes of the estimates that are about all answers."""
Made = tuple[str, str, str]
"""(task, metric, scorer): numbers that one instrument made, and that may share a column, a row or an axis."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Groups that stand together under one heading, in their order."""

    title: str
    rows: tuple[Estimate, ...]


def by_instrument(estimates: Iterable[Estimate]) -> dict[Made, list[Estimate]]:
    """(task, metric, scorer) -> its estimates, in their order."""
    parts: dict[Made, list[Estimate]] = {}
    for e in estimates:
        parts.setdefault((e.task, e.metric, e.scorer), []).append(e)
    return parts


def ours(facts: words.Facts) -> Kin:
    """What decides which published models are nearest to the run's."""
    return kin(facts.model, facts.parameters)


def made_by(e: Estimate) -> Made:
    """The numbers that this one may share a column, a row or an axis with."""
    return e.task, e.metric, e.scorer


def select(estimates: Iterable[Estimate], task: str, metric: str | None, scorer: str | None) -> list[Estimate]:
    """The estimates of one task, metric and scorer (the first ones that have groups when not said).

    Raises:
        UserError: unknown task, metric or scorer; the nearest is offered.
    """
    everything = list(estimates)
    mine = [e for e in everything if e.task == task]
    if not mine:
        raise UserError(f"no estimates of task '{task}' in this run", nearest(task, {e.task for e in everything}))
    if metric is None:
        metric = next((e.metric for e in mine if e.axis not in WHOLE), mine[0].metric)
    named = [e for e in mine if e.metric == metric]
    if not named:
        raise UserError(f"task '{task}' has no metric '{metric}'", nearest(metric, {e.metric for e in mine}))
    scorer = named[0].scorer if scorer is None else scorer
    chosen = [e for e in named if e.scorer == scorer]
    if not chosen:
        raise UserError(
            f"'{metric}' of task '{task}' was not measured by '{scorer}'",
            nearest(scorer, {e.scorer for e in named}),
        )
    return chosen


def headline(estimates: Iterable[Estimate], task: str) -> Estimate | None:
    """A task's number in one line: the named aggregate of its first metric and scorer, else their total."""
    mine = [e for e in estimates if e.task == task]
    return whole(next(iter(by_instrument(mine).values()))) if mine else None


def whole(estimates: Sequence[Estimate]) -> Estimate:
    """The one number for all answers of one metric and scorer: the papers' aggregate, else the total."""
    for axis in ("macro", "total"):
        for e in estimates:
            if e.axis == axis:
                return e
    return estimates[0]


def worst_first(estimates: Iterable[Estimate]) -> list[Estimate]:
    """By value, worst first (lowest first where neither end is better); groups without data come last."""

    def rank(e: Estimate) -> tuple[bool, float, str]:
        value = e.value if e.value is not None else 0.0
        return e.value is None, -value if e.better == "lower" else value, e.group

    return sorted(estimates, key=rank)


LEAST_NAMED = 10
"""Prompts of equal weight below which no group is named for being the worst: of many groups of one answer each, one is
always at the end of the scale."""


def worst_judgeable(estimates: Iterable[Estimate]) -> Estimate | None:
    """The worst group that a policy may act on and that chance alone hardly names; None where there is none."""
    groups = [
        e for e in estimates if e.axis not in WHOLE and e.gateable and min(e.effective_prompts, e.count) >= LEAST_NAMED
    ]
    return worst_first(groups)[0] if groups else None


def panels(estimates: Sequence[Estimate], sections: Mapping[str, str] | None = None) -> list[Panel]:
    """Groups by axis, and within an axis by section (BOLD: group -> domain), each worst first."""
    rows: dict[tuple[str, str], list[Estimate]] = {}
    for e in estimates:
        if e.axis not in WHOLE:
            rows.setdefault((e.axis, (sections or {}).get(e.group, "")), []).append(e)
    return [
        Panel(words.name(section or axis), tuple(worst_first(members))) for (axis, section), members in rows.items()
    ]


def sections(run: RunFolder, task: str) -> dict[str, str]:
    """Group -> the group that holds it, where a headline of the task nests them (BOLD: group -> domain)."""
    nested = [h.levels[-2:] for m in run.task(task).metrics for h in m.headlines if len(h.levels) > 1]
    if not nested:
        return {}
    outer, inner = nested[0]
    held: dict[str, str] = {}
    for prompt in run.records(task).prompts:
        for group in prompt.groups.get(inner, ()):
            held.setdefault(group, next(iter(prompt.groups.get(outer, ("",)))))
    return held


def with_missing(estimates: Iterable[Estimate]) -> list[str]:
    """Tasks of which some owed answer gave no value."""
    lacking = (e.task for e in estimates if e.axis == "total" and not e.part and words.absent(e))
    return list(dict.fromkeys(lacking))


def published_blocks(run: RunFolder) -> dict[str, Beside]:
    """Task -> the published rows of its block, whether or not they may stand beside anything of this run."""
    named = {task: run.task(task).published for task in run.tasks}
    return {task: published.beside(block) for task, block in named.items() if block}


def comparable(
    estimates: Iterable[Estimate], asked: Mapping[str, TaskRecord], blocks: Mapping[str, Beside]
) -> dict[Made, Beside]:
    """Published rows that may stand beside our numbers: of the same metric, prompts and instrument.

    Args:
        estimates: of a run.
        asked: the run's tasks by name.
        blocks: task -> its published rows.
    """
    kept: dict[Made, Beside] = {}
    for (task, metric, scorer), mine in by_instrument(estimates).items():
        rows, record = blocks.get(task), asked.get(task)
        if rows is None or rows.metric != metric:
            continue
        identity = record.instruments.get(scorer) if record else None
        if all(rows.origin.same(e.data_version, identity) for e in mine):
            kept[task, metric, scorer] = rows
    return kept


def same_prompts(asked: Mapping[str, TaskRecord], blocks: Mapping[str, Beside]) -> dict[str, Beside]:
    """Blocks whose prompts this run asked, by whatever instrument its answers were scored."""
    return {
        task: rows
        for task, rows in blocks.items()
        if task in asked and asked[task].data_version in rows.origin.versions
    }
