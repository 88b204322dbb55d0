"""Groups of one axis drawn towards their mean by their noise, the worst first: which differences would stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safety_eval.measure.disparity import Disparity
from safety_eval.show import chart_style as style
from safety_eval.show import words
from safety_eval.show.disparity_table import p_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 0.05
"""p-value up to which groups are said to differ."""
_ROW, _REST = 0.2, 1.5
"""Inches for each group, and for heading, key, axis and fine print."""


def disparity_chart(d: Disparity) -> Figure:
    """Every group as measured (bar) and as drawn towards the mean (dot); filled where it is shown to differ from the
    rest; the band is where the truly worst one lies."""
    names, worst = list(d.shrunk), "lowest" if d.better == "neither" else "worst"
    figure = style.figure(_REST + _ROW * len(names))
    axes = figure.subplots()
    style.plain_axes(axes)
    band = axes.axvspan(d.worst_low, d.worst_high, color="0.93", zorder=0)
    band.set_label(f"where the truly {worst} group lies (95%)")
    rows, measured = range(len(names)), list(d.measured.values())
    axes.hlines(rows, measured, list(d.shrunk.values()), color="0.6", linewidth=1, zorder=2)
    axes.scatter(measured, rows, marker="|", s=50, color=style.INK, zorder=3, label="as measured")
    for named, color, label in (
        (False, "white", "without its noise"),
        (True, "#b2182b", f"the same, {'shown to differ' if d.better == 'neither' else 'shown worse'}"),
    ):
        here = [i for i, name in enumerate(names) if (name in d.named) == named]
        if here:
            drawn = [d.shrunk[names[i]] for i in here]
            axes.scatter(drawn, here, s=22, color=color, edgecolor=style.INK, zorder=4, label=label)
    axes.set_yticks(list(rows), [style.drawable(words.name(name)) for name in names], parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    style.label(axes, words.metric_name(d.metric))
    if d.kind == "rate":
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    style.titles(figure, _heading(d), _fine_print(d))
    return figure


def _heading(d: Disparity) -> str:
    """What a reader takes away, in one line."""
    differ = "groups differ" if d.p_equal <= SHOWN else "no difference between groups is shown"
    return f"{words.name(d.task)}: {words.metric_name(d.metric)} by {words.name(d.axis)}: {differ}"


def _fine_print(d: Disparity) -> str:
    shown = "to differ from" if d.better == "neither" else "worse than"
    return (
        f"Are all {d.groups} groups the same? p = {p_words(d.p_equal)}. Largest gap between two groups: "
        f"{words.gap(d.gap, d.kind)} as measured, at least {words.gap(d.gap_low, d.kind)} (95%). "
        "Without its noise: drawn towards the mean of all by as much as chance explains, so that the worst of many "
        f"does not look worse than it is. Red: shown {shown} all other groups together, right for all red ones at once "
        f"(95%). About these prompts; instrument: {d.scorer or 'none needed'}."
    ).replace("p = <", "p < ")
