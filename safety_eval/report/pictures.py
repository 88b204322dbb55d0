"""Every picture of a run's report: groups of each task's first metric, and two rates against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from safety_eval.core.records import Estimate
from safety_eval.measure.disparity import disparities
from safety_eval.report.drawn_before import RISK, Drawn, has_risk
from safety_eval.runs.opened import RunFolder
from safety_eval.show import chart_style, words
from safety_eval.show.density_chart import density_chart, scored
from safety_eval.show.disparity_chart import disparity_chart
from safety_eval.show.group_chart import alt, of_metric
from safety_eval.show.selection import by_instrument, select
from safety_eval.show.two_axes_chart import Axis, Plane, Point, matched, two_axes


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


LEAST_GROUPS = 2
"""Groups above which their differences are drawn."""
INTENTS = ("stratum", "intent")
"""Design factors or group axes that name the intent, the first that a prompt has."""


def of_task(run: RunFolder, mine: Sequence[Estimate]) -> Iterator[Drawn]:
    """The pictures of one task's estimates, in the order of the report."""
    task = mine[0].task
    chosen = select(mine, task, None, None)
    yield _picture(f"{task}.{chosen[0].metric}", of_metric(run, task), alt(chosen))
    yield from _apart(task, mine, chosen[0])
    for pair in PAIRS:
        points = pair_points(mine, pair)
        if points:
            yield _drawn_pair(run, task, pair, points)
    yield from _densities(run, task)


def _picture(name: str, chart: Figure, seen: str) -> Drawn:
    return Drawn(name, chart_style.png(chart), chart_style.svg(chart), seen)


def _apart(task: str, estimates: Sequence[Estimate], first: Estimate) -> Iterator[Drawn]:
    """Differences between the groups of each axis of the metric that stands first, where there are three or more."""
    for d in disparities(estimates):
        if (d.metric, d.scorer) == (first.metric, first.scorer) and d.groups > LEAST_GROUPS:
            seen = f"{words.name(task)}: groups of {words.name(d.axis)} drawn towards their mean; worst "
            seen += f"{words.name(d.worst)}; gap at least {words.gap(d.gap_low, d.kind)}; p = {d.p_equal:.3g}."
            yield _picture(f"{task}.{d.metric}-by-{d.axis}.disparity", disparity_chart(d), seen)


def _densities(run: RunFolder, task: str) -> Iterator[Drawn]:
    """Risk scores by intent, one picture for each scorer that gave them."""
    if not has_risk(run, task):
        return
    named = run.file.tasks[task].title or words.name(task)
    facts = words.facts(run.file)
    for scorer, curves in scored(run.measured(task), RISK, INTENTS, facts.model or "this model").items():
        own = facts.instruments.get((task, scorer), scorer)
        alone = replace(facts, instruments={(task, scorer): own})
        chart = density_chart(curves, alone, f"{named}: risk of the answers by intent")
        intents = ", ".join(f"{words.name(c.intent)} n={len(c.scores)}" for c in curves)
        seen = f"{named}: densities of risk; {intents}."
        yield _picture(f"{task}.{RISK}-by-intent.{scorer}", chart, seen)


def pair_points(estimates: Sequence[Estimate], pair: Pair) -> list[Point]:
    """Groups with both numbers of a pair, by the first instrument that measured both; [] where none did.

    Args:
        estimates: of one task.
    """
    parts = by_instrument(estimates)
    for (task, metric, scorer), across in parts.items():
        if metric == pair.x and (up := parts.get((task, pair.y, scorer))) is not None:
            return matched(across, up, pair.prefix)
    return []


def _drawn_pair(run: RunFolder, task: str, pair: Pair, points: Sequence[Point]) -> Drawn:
    named = run.file.tasks[task].title or words.name(task)
    title = f"{named}: {pair.title}"
    chart = two_axes(points, words.facts(run.file), title, Plane(pair.across, pair.up, pair.diagonal))
    first = points[0]
    seen = f"{title}; {first.name}: {words.value(first.x)} and {words.value(first.y)}."
    return _picture(f"{task}.{pair.x}-{pair.y}", chart, seen)
