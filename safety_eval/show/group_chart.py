"""Estimates -> matplotlib figures: every group, its interval and its n, in one picture per task and metric.

Drawn from Estimates alone, so that a chart can never show a number that results.json does not hold. Groups
that no policy may act on (descriptive only) and groups without data stay, greyed, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import Estimate
from safety_eval.measure import published
from safety_eval.measure.beside import Beside, few
from safety_eval.runs import answers
from safety_eval.runs.opened import Run
from safety_eval.show import words as wording
from safety_eval.show.chart_style import (
    BESIDE,
    BLUE,
    GREY,
    INK,
    PALE,
    drawable,
    figure,
    label,
    plain_axes,
    titles,
)
from safety_eval.show.words import Facts

ROW = 0.235
"""Inches of height for a group."""
OTHER_PROMPTS = frozenset({"quickstart", "demonstrations"})
"""Data versions whose prompts are not those of the published figures."""
_WHOLE = ("total", "macro")


@dataclass(frozen=True, slots=True)
class Panel:
    """Groups that are drawn together under one heading, in the order of drawing."""

    title: str
    rows: tuple[Estimate, ...]


def select(
    estimates: Iterable[Estimate], task: str, metric: str | None, scorer: str | None
) -> list[Estimate]:
    """The estimates of one task, metric and scorer (the first ones that have groups when not said).

    Raises:
        UserError: unknown task, metric or scorer; the nearest is offered.
    """
    everything = list(estimates)
    mine = [e for e in everything if e.task == task]
    if not mine:
        raise UserError(
            f"no estimates of task '{task}' in this run", nearest(task, {e.task for e in everything})
        )
    if metric is None:
        metric = next((e.metric for e in mine if e.axis not in _WHOLE), mine[0].metric)
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


def worst_first(estimates: Iterable[Estimate]) -> list[Estimate]:
    """By value, worst first (lowest first where neither end is better); groups without data come last."""

    def rank(e: Estimate) -> tuple[bool, float, str]:
        value = e.value if e.value is not None else 0.0
        return e.value is None, -value if e.better == "lower" else value, e.group

    return sorted(estimates, key=rank)


def panels(estimates: Sequence[Estimate], sections: Mapping[str, str] | None = None) -> list[Panel]:
    """Groups by axis, and within an axis by section (BOLD: group -> domain), each worst first."""
    rows: dict[tuple[str, str], list[Estimate]] = {}
    for e in estimates:
        if e.axis not in _WHOLE:
            rows.setdefault((e.axis, (sections or {}).get(e.group, "")), []).append(e)
    return [
        Panel(wording.name(section or axis), tuple(worst_first(members)))
        for (axis, section), members in rows.items()
    ]


def of_metric(run: Run, task: str, metric: str | None = None, scorer: str | None = None) -> Figure:
    """The chart of one metric of a run: every group with its interval and its n, published rows beside.

    Raises:
        UserError: unknown task, metric or scorer; the nearest is offered.
    """
    chosen = select(run.estimate_records(), task, metric, scorer)
    near = published_rows(run, task, chosen[0].metric)
    named = run.config["tasks"][task].get("title") or wording.name(task)
    title = f"{named}: {wording.metric_name(chosen[0].metric)}"
    return group_chart(chosen, wording.facts(run.config), title, near, sections(run, task))


def published_rows(run: Run, task: str, metric: str) -> Beside | None:
    """Published rows to compare this metric with; None where the prompts are not the benchmark's."""
    block = run.task(task).published
    if not block or run.config["tasks"][task]["data_version"] in OTHER_PROMPTS:
        return None
    rows = published.beside(block)
    return rows if rows.metric == metric else None


def sections(run: Run, task: str) -> dict[str, str]:
    """Group -> the group that holds it, where a headline of the task nests them (BOLD: group -> domain)."""
    nested = [h.levels[-2:] for m in run.task(task).metrics for h in m.headlines if len(h.levels) > 1]
    if not nested:
        return {}
    outer, inner = nested[0]
    found: dict[str, str] = {}
    for prompt in answers.prompts(run.folder, task):
        for group in prompt.groups.get(inner, ()):
            found.setdefault(group, next(iter(prompt.groups.get(outer, ("",)))))
    return found


def alt(estimates: Sequence[Estimate]) -> str:
    """A group chart in words, for readers who cannot see it; the numbers stand in the table beside it."""
    first = estimates[0]
    groups = [e for e in estimates if e.axis not in _WHOLE and e.value is not None]
    words = f"{wording.metric_name(first.metric)} of {wording.name(first.task)}, {len(groups)} groups"
    if groups:
        ends = worst_first(groups)
        words += f"; from {wording.name(ends[0].group)} {wording.value(ends[0])}"
        words += f" to {wording.name(ends[-1].group)} {wording.value(ends[-1])}"
    return f"{words}. The same numbers stand in the table."


def group_chart(
    estimates: Sequence[Estimate],
    facts: Facts,
    title: str = "",
    beside: Beside | None = None,
    sections: Mapping[str, str] | None = None,
) -> Figure:
    """One task and metric: every group with its interval and n, worst first, the whole as a band.

    Args:
        estimates: of one task, metric and scorer (`select` makes them).
        facts: for the caption.
        title: heading; the task and metric by default.
        beside: published rows.
        sections: group -> section, where groups are drawn by section.
    """
    first, beside = estimates[0], beside or Beside()
    shown = few(beside, estimates)
    drawn = panels(estimates, sections) or [Panel("whole run", tuple(estimates))]
    heights = [max(len(p.rows), 1) + 0.9 for p in drawn]
    marks = _footnotes([e for p in drawn for e in p.rows])
    made = figure(ROW * sum(heights) + 1.6 + 0.13 * len(marks) + 0.12 * bool(shown))
    grid = made.subplots(len(drawn), 1, sharex=True, squeeze=False, height_ratios=heights)
    for axes, panel in zip(grid[:, 0], drawn, strict=True):
        _panel(axes, panel, shown, marks)
        _whole(axes, estimates)
    _scale(list(grid[:, 0]), estimates, [x for row in shown.values() for x in row.values()])
    label(grid[-1, 0], f"{wording.metric_name(first.metric)} ({wording.direction(first.better)})")
    order = "lowest first" if first.better == "neither" else "worst first"
    fine = f"{wording.caption(list(estimates), facts)} Groups {order}. {beside.note}".strip()
    notes = "\n".join(f"{mark} {words}." for words, mark in marks.items())
    titles(
        made,
        title or f"{wording.name(first.task)}: {wording.metric_name(first.metric)}",
        f"{notes}\n{fine}" if notes else fine,
    )
    return made


def _footnotes(rows: Iterable[Estimate]) -> dict[str, str]:
    """Caveat -> footnote mark (a, b, ...), for the rows that have a value."""
    words = dict.fromkeys(wording.caveat(e, brief=True) for e in rows if e.value is not None)
    words.pop("", None)
    return {w: f"({chr(97 + i)})" if i < 26 else f"({i + 1})" for i, w in enumerate(words)}


def _panel(
    axes: Axes, panel: Panel, published: Mapping[str, Mapping[str, float]], marks: Mapping[str, str]
) -> None:
    """Rows from the top down: band, interval, dot; the numbers stand at the right."""
    plain_axes(axes)
    for position, e in enumerate(panel.rows):
        if position % 2 == 0:
            axes.axhspan(position - 0.5, position + 0.5, color=PALE, linewidth=0, zorder=0)
        _row(axes, position, e)
    for (model, values), (color, marker) in zip(published.items(), BESIDE, strict=False):
        points = [(values[e.group], y) for y, e in enumerate(panel.rows) if e.group in values]
        if points:
            axes.scatter(
                [x for x, _ in points],
                [y for _, y in points],
                s=20,
                marker=marker,
                facecolors="none",
                edgecolors=color,
                linewidths=1.2,
                zorder=6,
                clip_on=False,
                label=drawable(f"{model} (published)"),
            )
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.set_title(
        drawable(panel.title), loc="left", fontsize=9, fontweight="bold", color=INK, parse_math=False
    )
    _labels(axes, panel.rows, marks)


def _row(axes: Axes, y: int, e: Estimate) -> None:
    if e.value is None:
        return
    faint = wording.greyed(e)
    color = GREY if faint else BLUE
    if e.low is not None and e.high is not None:
        axes.hlines(
            y,
            e.low,
            e.high,
            color=color,
            linewidth=1.4 if faint else 2.6,
            linestyles=(0, (2, 1.5)) if faint else "solid",
            zorder=4,
        )
    axes.plot(
        [e.value],
        [y],
        marker="o",
        markersize=5.5,
        color=color,
        zorder=5,
        linestyle="none",
        clip_on=False,
        markerfacecolor="white" if faint else color,
    )


def _labels(axes: Axes, rows: Sequence[Estimate], marks: Mapping[str, str]) -> None:
    """Group names at the left, value, interval, n and caveat at the right; greyed rows in grey italics."""
    positions = range(len(rows))
    axes.set_yticks(positions, [drawable(wording.name(e.group)) for e in rows], parse_math=False)
    right = axes.twinx()
    plain_axes(right)
    right.grid(False)
    right.set_ylim(axes.get_ylim())
    right.set_yticks(positions, [drawable(_numbers(e, marks)) for e in rows], parse_math=False)
    right.tick_params(labelsize=7.5)
    for side in (axes, right):
        for tick, e in zip(side.get_yticklabels(), rows, strict=True):
            if wording.greyed(e):
                tick.set(color=GREY, style="italic")


def _numbers(e: Estimate, marks: Mapping[str, str]) -> str:
    if e.value is None:
        return _short(wording.value(e), 52)
    gone = wording.absent(e)
    words = f"{wording.value(e)}  n={e.count:,}" + (f", {gone:,} missing" if gone else "")
    mark = marks.get(wording.caveat(e, brief=True), "")
    return f"{words}  {mark}" if mark else words


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _whole(axes: Axes, estimates: Sequence[Estimate]) -> None:
    """The whole run as a line, its interval as a band: all answers together, and the papers' headline."""
    headline = any(e.axis == "macro" for e in estimates)
    for e in estimates:
        if e.axis not in _WHOLE or e.value is None:
            continue
        named = "all answers" if e.axis == "total" else wording.headline_name(e.group)
        if e.low is not None and e.high is not None and (e.axis == "macro" or not headline):
            axes.axvspan(e.low, e.high, color=BLUE, alpha=0.12, linewidth=0, zorder=1)
        axes.axvline(
            e.value,
            color=INK,
            linewidth=1,
            linestyle="--" if e.axis == "macro" else "-",
            zorder=2,
            label=drawable(f"{named} {wording.number(e.value, e.kind)}"),
        )


def _scale(every: Sequence[Axes], estimates: Sequence[Estimate], printed: Iterable[float]) -> None:
    """Ticks in the unit. A rate's axis starts at 0, so that lengths can be compared; the wide interval of a
    descriptive group runs out of the picture rather than pressing the others together."""
    sure = [e for e in estimates if not wording.greyed(e)]
    ends = [x for e in sure for x in (e.low, e.high) if x is not None]
    ends += [*(e.value for e in estimates if e.value is not None), *printed]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = 0.04 * (high - low) or 0.05
    last = every[-1]
    last.xaxis.set_major_locator(MaxNLocator(nbins=7))
    if estimates[0].kind == "rate":
        last.set_xlim(0.0, min(max(high + margin, 0.01), 1.0))
        last.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}%"))
        return
    last.set_xlim(low - margin, high + margin)
    last.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", wording.MINUS)))
    for axes in every:
        if low < 0 < high:
            axes.axvline(0.0, color=GREY, linewidth=0.8, zorder=1)
