"""What a committee sees first: a card for each task, and what of the run was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from safety_eval.audit.known_errors import Quality, Trust
from safety_eval.core.records import Estimate
from safety_eval.measure.disparity import disparities
from safety_eval.report.first_screen import headline_quality, not_measured
from safety_eval.report.parts import Spark, slug
from safety_eval.runs.opened import RunFolder
from safety_eval.runs.run_file import RunFile
from safety_eval.show import words
from safety_eval.show.selection import by_instrument, headline, worst_judgeable

_ALL_EQUAL = 0.05
"""p-value below which groups are said to differ."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What the first screen needs to know beside the estimates.

    Attributes:
        trust: by task, how far the instrument of its headline can be trusted.
        unmeasured: sentences on what no instrument of this run measured.
    """

    trust: Mapping[str, Quality]
    unmeasured: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskCard:
    """A task in large type.

    Attributes:
        title, anchor: of the task. metric: with the better end. value, interval: in words; `none` = there is no value.
        counts: n, and what is missing. spark: the interval on its scale. instrument: its name.
        trust: how far it can be trusted; `weak` = a reader must be warned. groups: the worst one, and the gap.
        estimate: whose card it is.
    """

    title: str
    anchor: str
    metric: str
    value: str
    none: bool
    interval: str
    counts: str
    spark: Spark | None
    instrument: str
    trust: str
    weak: bool
    groups: tuple[str, ...]
    estimate: Estimate


def of_run(run: RunFolder) -> Glance:
    """What the first screen of a run folder's report needs."""
    estimates = run.estimate_records()
    tasks = dict.fromkeys(e.task for e in estimates)
    trust = {task: headline_quality(run, estimates, task) for task in tasks}
    sentences = []
    for task, metrics in not_measured(run, estimates).items():
        title = run.file.tasks[task].title or words.name(task)
        if not any(e.task == task and e.value is not None for e in estimates):
            sentences.append(f"{title}: nothing at all.")
            continue
        named = ", ".join(map(words.metric_name, metrics))
        sentences.append(
            f"{title}: {named}; no instrument of this run measures {'it' if len(metrics) == 1 else 'them'}."
        )
    return Glance(trust, tuple(sentences))


def task_cards(file: RunFile, estimates: Sequence[Estimate], glance: Glance) -> list[TaskCard]:
    """A card for each task that has numbers, in their order."""
    facts = words.facts(file)
    cards = []
    for task in dict.fromkeys(e.task for e in estimates):
        e = headline(estimates, task)
        assert e is not None
        same = by_instrument(estimates)[e.task, e.metric, e.scorer]
        known = glance.trust.get(task)
        arrow = {"lower": "lower is better", "higher": "higher is better"}.get(e.better, "neither end is better")
        cards.append(
            TaskCard(
                title=file.tasks[task].title or words.name(task),
                anchor=f"task-{slug(task)}",
                metric=f"{_metric(e)}; {arrow}",
                value=words.NO_DATA if e.value is None else words.number(e.value, e.kind),
                none=e.value is None,
                interval=f"95% interval {words.interval(e)}" if words.interval(e) else words.value(e),
                counts=f"n = {e.count:,}" + (f"; missing {words.missing(e)}" if words.absent(e) else ""),
                spark=_spark(e),
                instrument=words.instrument(e, facts),
                trust=_trust(known),
                weak=known is not None and known.trust in (Trust.WEAK, Trust.UNAUDITED),
                groups=_groups(same),
                estimate=e,
            )
        )
    return cards


def _metric(e: Estimate) -> str:
    return words.metric_name(e.metric) + (f", {words.headline_name(e.group)}" if e.axis == "macro" else "")


def _spark(e: Estimate) -> Spark | None:
    """A rate with its interval between 0% and 100%."""
    if e.value is None or e.kind != "rate":
        return None
    value, low, high = (None if x is None else round(5 + 140 * x, 1) for x in (e.value, e.low, e.high))
    return Spark(value or 0.0, low, high)


def _trust(known: Quality | None) -> str:
    """An instrument's quality in a sentence."""
    if known is None:
        return ""
    rates = [
        f"{verb} {rate:.0%} of {kind}"
        for verb, rate, kind in (
            ("misses", known.miss_rate, "bad answers"),
            ("flags", known.false_alarm_rate, "harmless ones"),
        )
        if rate is not None
    ]
    shown = f": {' and '.join(rates)}" if rates else ""
    return {
        Trust.EXACT: "Exact: it has no errors of its own.",
        Trust.AUDITED: f"Audited{shown}.",
        Trust.WEAK: f"WEAK instrument{shown}.",
        Trust.UNAUDITED: "Unaudited: how often it errs is not known.",
    }[known.trust]


def _groups(estimates: Sequence[Estimate]) -> tuple[str, ...]:
    """The worst group that can be judged, and the gap between groups that noise does not explain."""
    lines = []
    worst = worst_judgeable(estimates)
    if worst is not None:
        lines.append(f"Worst group: {words.name(worst.group)} {words.value(worst)}.")
    elif any(e.axis not in ("total", "macro") for e in estimates):
        lines.append("Too few prompts in every group to judge one.")
    for d in disparities(estimates):
        if d.p_equal < _ALL_EQUAL:
            lines.append(f"Groups of {words.name(d.axis)} differ by at least {words.gap(d.gap_low, d.kind)}.")
    return tuple(lines)
