"""Estimates -> matplotlib figures: every group, its interval and its n, in one picture per task and metric.

Drawn from Estimates alone, so that a chart can never show a number that results.json does not hold. Groups
that no policy may act on (descriptive only) and groups without data stay, greyed, with the reason. An interval
that is longer than the axis ends in an arrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from safety_eval.core.records import Estimate
from safety_eval.measure.beside import Beside, nearest, with_groups
from safety_eval.show import words
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
from safety_eval.show.selection import (
    WHOLE,
    Panel,
    comparable,
    made_by,
    ours,
    panels,
    published_blocks,
    sections,
    select,
    worst_first,
)
from safety_eval.show.words import Facts

if TYPE_CHECKING:
    from safety_eval.runs.opened import RunFolder

ROW = 0.235
"""Inches of height for a group."""
CUT = "Arrow: the interval goes on beyond the axis; both of its ends stand at the right."


@dataclass(frozen=True, slots=True)
class Scale:
    """Ends of the value axis, in the estimates' unit."""

    low: float
    high: float

    def cuts(self, e: Estimate) -> bool:
        """Whether an estimate's interval is longer than the axis."""
        return e.low is not None and e.high is not None and (e.low < self.low or e.high > self.high)


def of_metric(run: RunFolder, task: str, metric: str | None = None, scorer: str | None = None) -> Figure:
    """The chart of one metric of a run: every group with its interval and its n, published rows beside.

    Raises:
        UserError: unknown task, metric or scorer; the nearest is offered.
    """
    chosen = select(run.estimate_records(), task, metric, scorer)
    near = comparable(chosen, run.file.tasks, published_blocks(run)).get(made_by(chosen[0]))
    named = run.file.tasks[task].title or words.name(task)
    title = f"{named}: {words.metric_name(chosen[0].metric)}"
    return group_chart(chosen, words.facts(run.file), title, near, sections(run, task))


def alt(estimates: Sequence[Estimate]) -> str:
    """A group chart in words, for readers who cannot see it; the numbers stand in the table beside it."""
    first = estimates[0]
    groups = [e for e in estimates if e.axis not in WHOLE and e.value is not None]
    sentence = f"{words.metric_name(first.metric)} of {words.name(first.task)}, {len(groups)} groups"
    if groups:
        ends = worst_first(groups)
        sentence += f"; from {words.name(ends[0].group)} {words.value(ends[0])}"
        sentence += f" to {words.name(ends[-1].group)} {words.value(ends[-1])}"
    return f"{sentence}. The same numbers stand in the table."


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
        beside: published rows that may stand beside them; the nearest models are drawn.
        sections: group -> section, where groups are drawn by section.
    """
    first, beside = estimates[0], beside or Beside()
    models = nearest(with_groups(beside, estimates), ours(facts))
    printed = {model: beside.groups(model) for model in models}
    drawn = panels(estimates, sections) or [Panel("whole run", tuple(estimates))]
    rows = [e for p in drawn for e in p.rows]
    heights = [max(len(p.rows), 1) + 0.9 for p in drawn]
    scale = _scale(estimates, [x for values in printed.values() for x in values.values()])
    marks = _footnotes(rows)
    chart = figure(ROW * sum(heights) + 1.6 + 0.13 * len(marks) + 0.12 * bool(printed))
    grid = chart.subplots(len(drawn), 1, sharex=True, squeeze=False, height_ratios=heights)
    for axes, panel in zip(grid[:, 0], drawn, strict=True):
        _panel(axes, panel, scale, marks)
        _published(axes, panel.rows, printed)
        _whole(axes, estimates)
    _ticks(list(grid[:, 0]), scale, first.kind)
    label(grid[-1, 0], f"{words.metric_name(first.metric)} ({words.direction(first.better)})")
    order = "Groups lowest first." if first.better == "neither" else "Groups worst first."
    cut = CUT if any(scale.cuts(e) for e in rows) else ""
    fine = " ".join(filter(None, (words.caption(list(estimates), facts), order, cut, beside.note)))
    notes = [f"{mark} {caveat}." for caveat, mark in marks.items()]
    heading = title or f"{words.name(first.task)}: {words.metric_name(first.metric)}"
    titles(chart, heading, "\n".join([*notes, fine]))
    return chart


def _footnotes(rows: Iterable[Estimate]) -> dict[str, str]:
    """Caveat -> footnote mark (a, b, ...), for the rows that have a value."""
    caveats = dict.fromkeys(words.caveat(e, brief=True) for e in rows if e.value is not None)
    caveats.pop("", None)
    return {caveat: f"({chr(97 + i)})" if i < 26 else f"({i + 1})" for i, caveat in enumerate(caveats)}


def _panel(axes: Axes, panel: Panel, scale: Scale, marks: Mapping[str, str]) -> None:
    """Rows from the top down: band, interval, dot; the numbers stand at the right."""
    plain_axes(axes)
    for position, e in enumerate(panel.rows):
        if position % 2 == 0:
            axes.axhspan(position - 0.5, position + 0.5, color=PALE, linewidth=0, zorder=0)
        _row(axes, position, e, scale)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.set_title(drawable(panel.title), loc="left", fontsize=9, fontweight="bold", color=INK, parse_math=False)
    _labels(axes, panel.rows, marks)


def _published(axes: Axes, rows: Sequence[Estimate], printed: Mapping[str, Mapping[str, float]]) -> None:
    """Open shapes, one kind for each published model."""
    for (model, values), (color, marker) in zip(printed.items(), BESIDE, strict=False):
        points = [(values[e.group], y) for y, e in enumerate(rows) if e.group in values]
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


def _row(axes: Axes, y: int, e: Estimate, scale: Scale) -> None:
    if e.value is None:
        return
    faint = words.greyed(e)
    color = GREY if faint else BLUE
    if e.low is not None and e.high is not None:
        axes.hlines(
            y,
            max(e.low, scale.low),
            min(e.high, scale.high),
            color=color,
            linewidth=1.4 if faint else 2.6,
            linestyles=(0, (2, 1.5)) if faint else "solid",
            zorder=4,
        )
        if e.high > scale.high:
            _arrow(axes, scale.high, y, ">", color)
        if e.low < scale.low:
            _arrow(axes, scale.low, y, "<", color)
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


def _arrow(axes: Axes, x: float, y: int, shape: str, color: str) -> None:
    """The interval goes on: an arrowhead on the edge of the axis."""
    axes.plot([x], [y], marker=shape, markersize=6.5, color=color, linestyle="none", clip_on=False, zorder=5)


def _labels(axes: Axes, rows: Sequence[Estimate], marks: Mapping[str, str]) -> None:
    """Group names at the left, value, interval, n and caveat at the right; greyed rows in grey italics."""
    positions = range(len(rows))
    axes.set_yticks(positions, [drawable(words.name(e.group)) for e in rows], parse_math=False)
    right = axes.twinx()
    plain_axes(right)
    right.grid(False)
    right.set_ylim(axes.get_ylim())
    right.set_yticks(positions, [drawable(_numbers(e, marks)) for e in rows], parse_math=False)
    right.tick_params(labelsize=7.5)
    for side in (axes, right):
        for tick, e in zip(side.get_yticklabels(), rows, strict=True):
            if words.greyed(e):
                tick.set(color=GREY, style="italic")


def _numbers(e: Estimate, marks: Mapping[str, str]) -> str:
    if e.value is None:
        return _short(words.value(e), 52)
    gone = words.absent(e)
    numbers = f"{words.value(e)}  n={e.count:,}" + (f", {gone:,} missing" if gone else "")
    mark = marks.get(words.caveat(e, brief=True), "")
    return f"{numbers}  {mark}" if mark else numbers


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _whole(axes: Axes, estimates: Sequence[Estimate]) -> None:
    """The whole run as a line, its interval as a band: all answers together, and the papers' headline."""
    headline = any(e.axis == "macro" for e in estimates)
    for e in estimates:
        if e.axis not in WHOLE or e.value is None:
            continue
        named = "all answers" if e.axis == "total" else words.headline_name(e.group)
        label = f"{named} {words.number(e.value, e.kind)}"
        if e.low is not None and e.high is not None and (e.axis == "macro" or not headline):
            axes.axvspan(e.low, e.high, color=BLUE, alpha=0.12, linewidth=0, zorder=1)
            label += ", with its 95% interval"
        axes.axvline(
            e.value,
            color=INK,
            linewidth=1,
            linestyle="--" if e.axis == "macro" else "-",
            zorder=2,
            label=drawable(label),
        )


def _scale(estimates: Sequence[Estimate], printed: Iterable[float]) -> Scale:
    """A rate's axis starts at 0, so that lengths can be compared. Every value, the whole run's interval and the
    intervals of judged groups fit; a descriptive group's may be cut rather than press the others together, unless
    there are no others."""
    judged = [e for e in estimates if e.axis not in WHOLE and not words.greyed(e)]
    kept = [*judged, *(e for e in estimates if e.axis in WHOLE)] if judged else estimates
    ends = [x for e in kept for x in (e.low, e.high) if x is not None]
    ends += [*(e.value for e in estimates if e.value is not None), *printed]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = 0.04 * (high - low) or 0.05
    if estimates[0].kind == "rate":
        return Scale(0.0, min(max(high + margin, 0.01), 1.0))
    return Scale(low - margin, high + margin)


def _ticks(every: Sequence[Axes], scale: Scale, kind: str) -> None:
    """Ticks in the unit, and a line at zero where values lie on both sides of it."""
    last = every[-1]
    last.xaxis.set_major_locator(MaxNLocator(nbins=7))
    last.set_xlim(scale.low, scale.high)
    if kind == "rate":
        last.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}%"))
        return
    last.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", words.MINUS)))
    for axes in every:
        if scale.low < 0 < scale.high:
            axes.axvline(0.0, color=GREY, linewidth=0.8, zorder=1)
