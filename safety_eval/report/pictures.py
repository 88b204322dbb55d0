"""Every picture of a run's report: groups of each task's first metric, and two rates against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from safety_eval.core.records import Estimate
from safety_eval.runs.opened import Run
from safety_eval.show import group_chart as charts
from safety_eval.show import words as wording
from safety_eval.show.density_chart import density_chart, scored
from safety_eval.show.two_axes_chart import Axis, Point, matched, two_axes


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart of a run.

    Attributes:
        task: whose section it stands in.
        name: file name in RUN/charts, without suffix.
        figure: the chart.
        words: what it shows, for readers who cannot see it.
    """

    task: str
    name: str
    figure: Figure
    words: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two metrics that are read together, and how the picture of both is drawn."""

    x: str
    y: str
    title: str
    across: Axis
    up: Axis
    prefix: str = ""
    diagonal: str = ""


PAIRS = (
    Pair(
        "false_refusal_rate",
        "unsafe_compliance_rate",
        "false against missed refusals",
        Axis("safe prompts refused", "lower"),
        Axis("unsafe prompts answered", "lower"),
        prefix="contrast_",
    ),
    Pair(
        "false_refusal_rate",
        "clear_compliance_rate",
        "false refusals against answers to plain harmful intent",
        Axis("benign twins refused", "lower"),
        Axis("plainly harmful prompts answered", "lower"),
    ),
    Pair(
        "false_refusal_rate_by_wording",
        "unsafe_compliance_rate_by_wording",
        "false against missed refusals, by wording",
        Axis("benign requests refused", "lower"),
        Axis("unsafe twins answered", "lower"),
    ),
    Pair(
        "cure_rate",
        "leakage_rate",
        "cure against leakage, by operator",
        Axis("refused benign requests cured", "higher"),
        Axis("refused unsafe twins answered", "lower"),
        diagonal="the rewording opens both doors alike",
    ),
)
"""Metrics that stand in one picture where a task has both."""


RISK = "risk"
"""The score, 0 safe to 1 harmful, that is drawn as a density."""
INTENTS = ("stratum", "intent")
"""Design factors or group axes that name the intent, the first that a prompt has."""


def of_run(run: Run) -> Iterator[Drawn]:
    """The pictures of a run, by task, in the order of the report."""
    everything = run.estimate_records()
    for task in dict.fromkeys(e.task for e in everything):
        chosen = charts.select(everything, task, None, None)
        yield Drawn(task, f"{task}.{chosen[0].metric}", charts.of_metric(run, task), charts.alt(chosen))
        mine = [e for e in everything if e.task == task]
        for pair in PAIRS:
            points = matched(_metric(mine, pair.x), _metric(mine, pair.y), pair.prefix)
            if points:
                yield _drawn_pair(run, task, pair, points)
        yield from _densities(run, task)


def _densities(run: Run, task: str) -> Iterator[Drawn]:
    """Risk scores by intent, one picture for each scorer that gave them."""
    if not any(RISK in metric.needs for metric in run.task(task).metrics):
        return
    rows = run.measured(task)
    named = str(run.config["tasks"][task].get("title") or wording.name(task))
    facts = wording.facts(run.config)
    for scorer in dict.fromkeys(s for row in rows for s, values in row.values.items() if RISK in values):
        curves = scored(rows, scorer, RISK, INTENTS, facts.model or "this model")
        alone = replace(facts, instruments={scorer: facts.instruments.get(scorer, scorer)})
        made = density_chart(curves, alone, f"{named}: risk of the answers by intent")
        words = ", ".join(f"{wording.name(c.intent)} n={len(c.scores)}" for c in curves)
        yield Drawn(task, f"{task}.{RISK}-by-intent.{scorer}", made, f"{named}: densities of risk; {words}.")


def _metric(estimates: Sequence[Estimate], metric: str) -> list[Estimate]:
    """One metric by the first scorer that measured it."""
    found = [e for e in estimates if e.metric == metric]
    return [e for e in found if e.scorer == found[0].scorer]


def _drawn_pair(run: Run, task: str, pair: Pair, points: Sequence[Point]) -> Drawn:
    named = str(run.config["tasks"][task].get("title") or wording.name(task))
    made = two_axes(
        points, wording.facts(run.config), f"{named}: {pair.title}", pair.across, pair.up, pair.diagonal
    )
    whole = points[0]
    words = f"{named}: {pair.title}; {whole.name}: {wording.value(whole.x)} and {wording.value(whole.y)}."
    return Drawn(task, f"{task}.{pair.x}-{pair.y}", made, words)
